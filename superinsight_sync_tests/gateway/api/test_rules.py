"""Who comes in from where, and how often: limits by key and tenant, networks, proxies, countries."""

import json
import re
import time
from pathlib import Path

import httpx
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from websockets.sync.client import connect

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.access import AccessRules
from superinsight_sync.security.networks import Networks
from superinsight_sync.security.rate_limits import RateLimit
from superinsight_sync_tests.gateway.api.served import API, bearer, serving, settings_for
from superinsight_sync_tests.gateway.doors import PUSH, signed


def test_each_key_and_each_tenant_has_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = AccessRules(per_key=RateLimit(0.1, 3), per_tenant=RateLimit(0.1, 5))
    with serving(settings_for(tmp_path, monkeypatch), rules) as limited:
        one, two, three = (bearer(limited.key("viewer")) for _ in range(3))
        elsewhere = bearer(limited.key("viewer", "other"))
        with limited.client() as client:
            statuses = [client.get(f"{API}/me", headers=one).status_code for _ in range(4)]
            assert statuses == [200, 200, 200, 429]
            answer = client.get(f"{API}/sources", headers=one)
            assert 5 <= int(answer.headers["retry-after"]) <= 10
            assert [client.get(f"{API}/me", headers=two).status_code for _ in range(3)] == [200, 200, 429]
            assert client.get(f"{API}/me", headers=three).status_code == 429
            assert client.get(f"{API}/me", headers=elsewhere).status_code == 200


def test_webhooks_and_messages_have_their_tenants_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(settings_for(tmp_path, monkeypatch), AccessRules(per_tenant=RateLimit(0.5, 4))) as limited:
        url = f"{limited.url.replace('http', 'ws', 1)}{PUSH}/ws?source=till&session=rate"
        with connect(url, additional_headers=bearer(limited.key("pusher"))) as connection:
            connection.recv(10)  # the handshake is the first of four
            with limited.client() as client:

                def send(number: int) -> httpx.Response:
                    body = b'{"type": "order.x", "n": %d}' % number
                    return client.post(
                        f"{PUSH}/webhook/shop", content=body, headers=signed(body, f"rate{number}")
                    )

                answers = [send(number) for number in range(4)]
            assert [a.status_code for a in answers] == [202, 202, 202, 429]
            assert int(answers[3].headers["retry-after"]) >= 1
            began = time.monotonic()
            connection.send('{"n": 1, "data": {"a": 1}}')
            assert json.loads(connection.recv(10))["n"] == 1
            assert time.monotonic() - began > 1, "it waits until it may"


def test_only_the_allowed_networks_come_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = AccessRules(networks=Networks(["127.0.0.1", "203.0.113.0/24"]), proxies=Networks(["127.0.0.1"]))
    with serving(settings_for(tmp_path, monkeypatch), rules) as limited:
        key = limited.key("viewer")
        form = {"grant_type": "client_credentials", "client_id": key.id, "client_secret": key.secret}
        for forwarded, status in (
            ("203.0.113.9", 200),
            ("198.51.100.1", 403),
            ("203.0.113.9, 198.51.100.1", 403),
        ):
            with limited.client({"x-forwarded-for": forwarded}, address="127.0.0.1") as client:
                assert client.get(f"{API}/me", headers=bearer(key)).status_code == status
                assert client.post(f"{API}/auth/token", data=form).status_code == status
        with limited.client({"x-forwarded-for": "203.0.113.9"}, address="127.0.0.77") as stranger:
            assert stranger.get(f"{API}/me", headers=bearer(key)).status_code == 403


def test_the_environment_says_who_comes_in_from_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIS_GATEWAY_NETWORKS", "203.0.113.0/24, 127.0.0.1")
    monkeypatch.setenv("SIS_GATEWAY_PROXIES", "127.0.0.1")
    body = b'{"type": "order.from"}'
    with serving(settings_for(tmp_path, monkeypatch)) as limited:
        headers = bearer(limited.key("admin"))
        for address, forwarded, let_in in (
            ("127.0.0.1", "", True),
            ("127.0.0.1", "203.0.113.9", True),
            ("127.0.0.1", "198.51.100.1", False),
            ("127.0.0.1", "203.0.113.9, 198.51.100.1", False),
            ("127.0.0.78", "203.0.113.9", False),
        ):
            more = {"x-forwarded-for": forwarded} if forwarded else {}
            with limited.client(more, address=address) as client:
                statuses = [
                    client.get(f"{API}/me", headers=headers).status_code,
                    client.post(f"{PUSH}/batch?source=till", json=[{"a": 1}], headers=headers).status_code,
                    client.post(f"{PUSH}/webhook/shop", content=body, headers=signed(body, "e1")).status_code,
                ]
            if let_in:
                assert statuses[0] == 200 and set(statuses[1:]) <= {200, 202}, statuses
            else:
                assert statuses == [403, 403, 403]


def test_countries_are_kept_out_by_the_operators_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "c.mmdb"
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Country")
    for network, code in (("203.0.113.0/24", "DE"), ("198.51.100.0/24", "FR")):
        writer.insert_network(IPSet([network]), {"country": {"iso_code": code}})
    writer.to_db_file(str(database))
    monkeypatch.setenv("SIS_GATEWAY_COUNTRY_DATABASE", str(database))
    monkeypatch.setenv("SIS_GATEWAY_ALLOWED_COUNTRIES", "DE")
    monkeypatch.setenv("SIS_GATEWAY_PROXIES", "127.0.0.1")
    monkeypatch.setenv("SIS_GATEWAY_ANY_COUNTRY_NETWORKS", "10.0.0.0/8")
    with (
        serving(settings_for(tmp_path, monkeypatch)) as limited,
        limited.client(address="127.0.0.1") as client,
    ):
        headers = bearer(limited.key("viewer"))
        for forwarded, status in (
            ("203.0.113.9", 200),
            ("198.51.100.9", 403),
            ("192.0.2.1", 403),
            ("10.1.2.3", 200),
        ):
            answer = client.get(f"{API}/me", headers={**headers, "x-forwarded-for": forwarded})
            assert answer.status_code == status, forwarded


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SIS_GATEWAY_NETWORKS", "10.0.0.1/8", "SIS_GATEWAY_NETWORKS: '10.0.0.1/8' is no network"),
        ("SIS_GATEWAY_PROXIES", "nginx", "SIS_GATEWAY_PROXIES: 'nginx' is no network"),
        ("SIS_GATEWAY_KEY_RATE_PER_S", "fast", "SIS_GATEWAY_KEY_RATE_PER_S: 'fast' is no rate"),
        ("SIS_GATEWAY_TENANT_RATE_PER_S", "0", "SIS_GATEWAY_TENANT_RATE_PER_S: '0' is no rate"),
        ("SIS_GATEWAY_TENANT_RATE_PER_S", "inf", "'inf' is no rate"),
        ("SIS_GATEWAY_ALLOWED_COUNTRIES", "DE", "countries are named, but no database that knows them"),
        ("SIS_GATEWAY_COUNTRY_DATABASE", "/nowhere.mmdb", "names no country"),
    ],
)
def test_a_rule_that_cannot_be_read_stops_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=re.escape(told)):
        with serving(settings_for(tmp_path, monkeypatch)):
            pass


def test_tokens_are_given_no_faster_than_the_key_may_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = AccessRules(per_key=RateLimit(0.1, 2))
    with serving(settings_for(tmp_path, monkeypatch), rules) as limited, limited.client() as client:
        key = limited.key("viewer")
        form = {"grant_type": "client_credentials", "client_id": key.id, "client_secret": key.secret}
        answers = [client.post(f"{API}/auth/token", data=form) for _ in range(3)]
        assert [a.status_code for a in answers] == [200, 200, 429]
        assert answers[2].headers["content-type"] == "application/problem+json"
        assert int(answers[2].headers["retry-after"]) >= 1
