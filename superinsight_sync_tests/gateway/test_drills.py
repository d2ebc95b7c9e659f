"""Gateways are killed under load: what they acknowledged is in the lake, once, in each sender's order."""

from pathlib import Path

import pytest

from superinsight_sync_tests.gateway.drills import KILLS, Hooks, Messages, drill
from superinsight_sync_tests.servers.postgres import running_postgres
from superinsight_sync_tests.servers.proxy import running_proxy
from superinsight_sync_tests.waiting import until

SENDERS = 8
SESSIONS = 4
pytestmark = pytest.mark.timeout(900)  # on a busy machine a gateway takes ten seconds to start


def url_of(kind: str, request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("postgres_server").create_database() if kind == "postgres" else None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_kill_9_loses_nothing_that_was_acknowledged(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with drill(tmp_path, url_of(kind, request)) as drilled:
        with drilled.sending(*(Hooks(n, drilled.urls, drilled.stop) for n in range(SENDERS))):
            drilled.kill()
        assert drilled.check() > 500
        assert all(s.breaks >= KILLS for s in drilled.senders), "not noticed: the drill drilled nothing"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_kill_9_loses_no_acknowledged_message(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with drill(tmp_path, url_of(kind, request)) as drilled:
        key = drilled.key()
        with drilled.sending(*(Messages(n, drilled.urls, drilled.stop, key) for n in range(SESSIONS))):
            drilled.kill()
        assert drilled.check() > 1_000
        assert all(s.breaks >= KILLS for s in drilled.senders), "not noticed: the drill drilled nothing"
        assert all(s.acknowledged == s.sent for s in drilled.senders if isinstance(s, Messages))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["each has its address", "behind one address"])
def test_one_of_two_gateways_is_killed_and_nobody_loses(
    way: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Behind one address stands what a load balancer is: who is not there gets no connection."""
    with (
        drill(tmp_path, url_of("postgres", request), gateways=2) as drilled,
        running_proxy(*(door.port for door in drilled.doors)) as proxy,
    ):
        urls = [f"http://127.0.0.1:{proxy.port}"] if way == "behind one address" else drilled.urls
        key = drilled.key()
        hooks = [
            Hooks(n, urls[n % len(urls) :] + urls[: n % len(urls)], drilled.stop) for n in range(SENDERS)
        ]
        sessions = [Messages(n, urls, drilled.stop, key) for n in range(SESSIONS)]
        with drilled.sending(*hooks, *sessions):
            drilled.kill()
        assert drilled.check() > 1_000
        assert sum(s.breaks for s in drilled.senders) >= KILLS, "not noticed: the drill drilled nothing"


@pytest.mark.slow
def test_postgresql_restarts_under_load_and_no_acknowledgement_is_false(tmp_path: Path) -> None:
    with running_postgres() as server, drill(tmp_path, server.create_database()) as drilled:
        with drilled.sending(*(Hooks(n, drilled.urls, drilled.stop) for n in range(SENDERS))):
            for _ in range(2):
                drilled.goes_on()
                server.stop()
                refused = [s.refused + s.breaks for s in drilled.senders]
                until(
                    lambda seen=refused: [s.refused + s.breaks for s in drilled.senders] != seen,
                    "it takes what it cannot keep",
                )
                server.start()
            drilled.goes_on()
        assert drilled.check() > 100


@pytest.mark.slow
def test_a_gateway_stopped_under_load_answers_what_it_took(tmp_path: Path) -> None:
    with drill(tmp_path) as drilled:
        with drilled.sending(*(Hooks(n, drilled.urls, drilled.stop, again=False) for n in range(SENDERS))):
            drilled.goes_on()
            assert drilled.doors[0].end() == 0
        assert drilled.check() == drilled.acknowledged > 100
