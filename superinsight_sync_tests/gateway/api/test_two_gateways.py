"""Two gateways on one PostgreSQL: what one of them did the other knows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.security.access import AccessRules
from superinsight_sync_tests.gateway.api.served import API, bearer, serving, settings_for
from superinsight_sync_tests.gateway.doors import PUSH


def test_what_one_gateway_did_the_other_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_server: Any
) -> None:
    settings = settings_for(tmp_path, monkeypatch)
    settings = replace(settings, database_url=postgres_server.create_database())
    rules = AccessRules(remembered_s=0.0)
    with serving(settings, rules) as one, serving(settings, rules) as two:
        key = one.key("admin")
        with one.client(bearer(key)) as here, two.client(bearer(key)) as there:
            made = [
                here.post(f"{PUSH}/batch?source=till", json=[{"n": n, "text": "é🛒\u0001"}]).json()["id"]
                for n in range(5)
            ]
            page = there.get(f"{API}/inbox/deliveries", params={"limit": 3}).json()
            assert [d["id"] for d in page["deliveries"]] == made[:1:-1]
            older = there.get(
                f"{API}/inbox/deliveries", params={"before": page["next"], "source": "till"}
            ).json()
            assert [d["id"] for d in older["deliveries"]] == made[1::-1] and older["next"] is None
            assert there.get(f"{API}/inbox/deliveries", params={"source": "till\x00"}).status_code == 422
            one.inbox.mark_landed("acme", "till", "sales", seq=one.inbox.newest(), load_id="load-1")
            whole = {"all": True}
            again = there.post(f"{API}/inbox/deliveries/{made[0]}/replay", params=whole).json()["id"]
            assert here.get(f"{API}/inbox/deliveries/{again}").json()["replay_of"] == made[0]
            bodies = [
                c.get(f"{API}/inbox/deliveries/{i}/body").content
                for c in (here, there)
                for i in (made[0], again)
            ]
            assert len(set(bodies)) == 1
            form = {"grant_type": "client_credentials", "client_id": key.id, "client_secret": key.secret}
            tokens = here.post(f"{API}/auth/token", data=form).json()
            assert there.get(f"{API}/me", headers=bearer(tokens["access_token"])).status_code == 200
            refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
            statuses = [c.post(f"{API}/auth/token", data=refresh).status_code for c in (there, here)]
            assert statuses == [200, 400]
            made_key = here.post(f"{API}/keys", json={"name": "é🛒", "role": "viewer"}).json()
            assert there.delete(f"{API}/keys/{made_key['id']}").status_code == 204
            assert here.get(f"{API}/me", headers=bearer(made_key["key"])).status_code == 401
