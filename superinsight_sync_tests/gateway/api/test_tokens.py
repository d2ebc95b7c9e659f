"""Tokens by HTTP: given, renewed, used twice, revoked, out of time, and not set up."""

import base64
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from superinsight_sync.core import clock
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.gateway.serving import open_gateway
from superinsight_sync.security.api_keys import Credential
from superinsight_sync_tests.gateway.api.served import API, Served, bearer, serving, settings_for

TOKEN, REVOKE = f"{API}/auth/token", f"{API}/auth/revoke"


def ask(client: httpx.Client, key: Credential, **more: str) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_id": key.id, "client_secret": key.secret}
    return client.post(TOKEN, data={**form, **more})


def renew(client: httpx.Client, token: str) -> httpx.Response:
    return client.post(TOKEN, data={"grant_type": "refresh_token", "refresh_token": token})


def test_a_key_is_exchanged_for_tokens_in_the_form_or_as_basic(served: Served) -> None:
    key = served.key("viewer")
    basic = {"authorization": "Basic " + base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()}
    with served.client() as client:
        for answer in (
            ask(client, key),
            client.post(TOKEN, data={"grant_type": "client_credentials"}, headers=basic),
        ):
            assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
            told = answer.json()
            assert set(told) == {"access_token", "token_type", "expires_in", "refresh_token"}
            assert (told["token_type"], told["expires_in"]) == ("Bearer", 900)
            me = client.get(f"{API}/me", headers=bearer(told["access_token"])).json()
            assert (me["key_id"], me["tenant"], me["role"], me["actions"]) == (
                key.id,
                "acme",
                "viewer",
                ["read"],
            )


def test_a_refresh_token_is_used_once_and_reuse_ends_its_family_alone(served: Served) -> None:
    with served.client() as client:
        key = served.key("viewer")
        first, bystander = ask(client, key).json(), ask(client, key).json()
        second = renew(client, first["refresh_token"]).json()
        third = renew(client, second["refresh_token"]).json()
        assert len({t["refresh_token"] for t in (first, second, third)}) == 3
        stolen = renew(client, first["refresh_token"])
        assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
        assert renew(client, third["refresh_token"]).status_code == 400, "the thief's session has ended too"
        assert renew(client, bystander["refresh_token"]).status_code == 200


def test_of_many_uses_at_once_one_is_answered(served: Served) -> None:
    with served.client() as client:
        token = ask(client, served.key("viewer")).json()["refresh_token"]
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(renew(client, token).status_code))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert Counter(statuses) == {200: 1, 400: 7}


def test_revoking_ends_the_session_and_is_told_alike_for_any_token(served: Served) -> None:
    with served.client() as client:
        tokens = ask(client, served.key("viewer")).json()
        for token in (tokens["refresh_token"], tokens["refresh_token"], "sis_refresh_" + "A" * 43, "x"):
            answer = client.post(REVOKE, data={"token": token, "token_type_hint": "refresh_token"})
            assert (answer.status_code, answer.content) == (200, b"")
        assert renew(client, tokens["refresh_token"]).status_code == 400
        answer = client.post(REVOKE, data={"token": tokens["access_token"]})
        assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_token_type")


def test_a_revoked_key_ends_its_tokens_at_once_on_the_gateway_that_revoked_it(served: Served) -> None:
    admin, key = served.key("admin"), served.key("viewer")
    with served.client() as client:
        tokens = ask(client, key).json()
        assert client.get(f"{API}/me", headers=bearer(tokens["access_token"])).status_code == 200
        assert client.delete(f"{API}/keys/{key.id}", headers=bearer(admin)).status_code == 204
        assert client.get(f"{API}/me", headers=bearer(tokens["access_token"])).status_code == 401
        assert renew(client, tokens["refresh_token"]).status_code == 400
        assert ask(client, key).status_code == 401


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, 400, "invalid_request"),
        (
            {"grant_type": "client_credentials", "client_id": "0" * 8, "client_secret": "x" * 43},
            401,
            "invalid_client",
        ),
        (
            {"grant_type": "client_credentials", "client_id": "\0é", "client_secret": "\n"},
            401,
            "invalid_client",
        ),
        ({"grant_type": "refresh_token"}, 400, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "sis_refresh_" + "A" * 43}, 400, "invalid_grant"),
        ({"grant_type": ["refresh_token", "client_credentials"]}, 400, "invalid_request"),
    ],
)
def test_what_is_no_grant_is_told_by_its_code(
    served: Served, form: dict[str, Any], status: int, code: str
) -> None:
    with served.client() as client:
        answer = client.post(TOKEN, data=form, headers={"content-type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.json().get("error")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_bodies_that_are_no_form_are_refused(served: Served) -> None:
    urlencoded = {"content-type": "application/x-www-form-urlencoded"}
    with served.client() as client:
        assert client.post(TOKEN, json={"grant_type": "client_credentials"}).status_code == 415
        for body in (b"\xff=\xff", b"a=%ff", b"nothing", b"&".join(b"a%d=1" % n for n in range(99))):
            assert client.post(TOKEN, content=body, headers=urlencoded).status_code == 400, body[:20]
        assert client.post(TOKEN, content=b"a=" + b"x" * 70_000, headers=urlencoded).status_code == 413
        both = {"authorization": "Basic YTpi"}
        form = {"grant_type": "client_credentials", "client_id": "a", "client_secret": "b"}
        assert client.post(TOKEN, data=form, headers=both).json()["error"] == "invalid_request"
        for coded in ("", "YQ", "é".encode().hex(), "////"):
            answer = client.post(
                TOKEN,
                data={"grant_type": "client_credentials"},
                headers={"authorization": f"Basic {coded}".strip()},
            )
            assert answer.status_code == 401


def test_guesses_from_one_address_are_slowed_and_others_are_not(served: Served) -> None:
    key = served.key("viewer")
    wrong = Credential("00000000", "x" * 43)
    with served.client() as guesser, served.client() as other:
        statuses = [ask(guesser, wrong).status_code for _ in range(40)]
        assert set(statuses) == {401, 429} and statuses[:30] == [401] * 30
        slowed = ask(guesser, wrong)
        assert int(slowed.headers["retry-after"]) >= 1
        assert renew(guesser, "x").status_code == 429
        assert guesser.post(REVOKE, data={"token": "x"}).status_code == 429
        assert guesser.get(f"{API}/me", headers=bearer(wrong)).status_code == 429
        assert ask(other, key).status_code == 200


def test_clocks_that_jump(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    shift = timedelta()

    def now() -> datetime:
        return datetime.now(UTC) + shift

    class AnyDatetime(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime)

    class Jumping(metaclass=AnyDatetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + shift

    monkeypatch.setattr(clock, "utc_now", now)
    for module in ("state.keys", "security.grants", "security.jwt_tokens", "gateway.api.keys"):
        monkeypatch.setattr(f"superinsight_sync.{module}.utc_now", now)
    monkeypatch.setattr("jwt.api_jwt.datetime", Jumping)
    with served.client() as client:
        ending = bearer(served.key("viewer", not_after=now() + timedelta(hours=1)))
        tokens = ask(client, served.key("viewer")).json()

        def status() -> int:
            return client.get(f"{API}/me", headers=bearer(tokens["access_token"])).status_code

        for jump, expected in (
            (timedelta(0), 200),
            (timedelta(minutes=14), 200),
            (timedelta(minutes=16), 401),
            (timedelta(seconds=-20), 200),
            (timedelta(hours=-1), 401),
            (timedelta(days=365), 401),
        ):
            shift = jump
            assert status() == expected, jump
        shift = timedelta(minutes=61)
        assert client.get(f"{API}/me", headers=ending).status_code == 401
        shift = timedelta(minutes=-61)
        assert client.get(f"{API}/me", headers=ending).status_code == 200
        renewed = renew(client, tokens["refresh_token"]).json()
        shift = timedelta(0)
        assert renew(client, tokens["refresh_token"]).status_code == 400, (
            "a clock that went back forgets no use"
        )
        tokens = ask(client, served.key("viewer")).json()
        shift = timedelta(days=13)
        renewed = renew(client, tokens["refresh_token"]).json()
        shift = timedelta(days=15)
        assert renew(client, renewed["refresh_token"]).status_code == 400, "renewing makes no session endless"


def test_without_a_secret_tokens_are_refused_clearly_and_keys_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(settings_for(tmp_path, monkeypatch, with_tokens=False)) as plain, plain.client() as client:
        key = plain.key("admin")
        for answer in (ask(client, key), client.post(REVOKE, data={"token": "x"})):
            assert answer.status_code == 501 and "SIS_TOKEN_SECRET" in answer.json()["detail"]
        assert client.get(f"{API}/me", headers=bearer(plain.token(key))).status_code == 401
        assert client.get(f"{API}/me", headers=bearer(key)).status_code == 200


def test_a_secret_that_is_too_short_stops_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path, monkeypatch)
    monkeypatch.setenv("SIS_TOKEN_SECRET", "short")
    with pytest.raises(ConfigError, match="its secret is too short. Use at least 32 random bytes") as told:
        open_gateway(settings)
    assert "short'" not in str(told.value).replace("too short", "")


def test_a_secret_is_replaced_without_a_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for(tmp_path, monkeypatch)
    with serving(settings) as before, before.client() as client:
        key = before.key("viewer")
        old = ask(client, key).json()["access_token"]
    monkeypatch.setenv("SIS_TOKEN_SECRET_OLD", "a secret for tokens of more than 32 bytes")
    monkeypatch.setenv("SIS_TOKEN_SECRET", "the next secret for tokens, 32 bytes or more")
    with serving(settings) as between, between.client() as client:
        new = ask(client, key).json()["access_token"]
        for token in (old, new):
            assert client.get(f"{API}/me", headers=bearer(token)).status_code == 200
    monkeypatch.delenv("SIS_TOKEN_SECRET_OLD")
    with serving(settings) as after, after.client() as client:
        statuses = [client.get(f"{API}/me", headers=bearer(t)).status_code for t in (old, new)]
    assert statuses == [401, 200]
