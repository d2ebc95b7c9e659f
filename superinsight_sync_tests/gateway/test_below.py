"""What the gateway and the drain stand on goes away for a while: PostgreSQL restarts, the disk is full. What was
acknowledged is in the lake afterwards, once, in order."""

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync_tests.conftest import LONG
from superinsight_sync_tests.gateway.doors import HOOK, PUSH, Gateway, gateway, signed
from superinsight_sync_tests.gateway.test_drain import DECLARED, Drain, Sender, landed, waits
from superinsight_sync_tests.servers.postgres import running_postgres
from superinsight_sync_tests.servers.small_disk import small_disk
from superinsight_sync_tests.waiting import until

SENDERS = 3
ROUNDS = 6 if LONG else 1


@contextmanager
def serving(folder: Path, database_url: str | None = None) -> Iterator[tuple[Gateway, Engine, Drain]]:
    """A gateway and a drain that run, and the engine to look with; all ended afterwards."""
    door = gateway(folder, database_url, DECLARED)
    door.start()
    engine = open_engine("test", load_settings(door.environment))
    drain = Drain(door)
    try:
        until(drain.is_ready, "the drain did not start")
        yield door, engine, drain
    finally:
        door.end()
        drain.process.kill()
        drain.process.wait()
        engine.state.close()


@contextmanager
def sending(door: Gateway, engine: Engine) -> Iterator[tuple[list[Sender], dict[str, str]]]:
    """Senders that number their records, and the headers they send; all have ended afterwards."""
    text = engine.state.api_keys.create("till", "pusher", tenant="acme").text
    headers = {"authorization": f"Bearer {text}"}
    stop = threading.Event()
    senders = [Sender(by, door, headers, stop) for by in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        yield senders, headers
    finally:
        stop.set()
        for sender in senders:
            sender.join()


def acknowledged(senders: list[Sender]) -> int:
    return sum(s.acknowledged for s in senders)


def goes_on(senders: list[Sender]) -> None:
    """Waits until more is acknowledged than now."""
    before = acknowledged(senders)
    until(lambda: acknowledged(senders) > before + 10 * SENDERS, "nothing is accepted any more")


def are_refused(senders: list[Sender]) -> None:
    """Waits until they were, some times."""
    before = sum(s.refused for s in senders)
    until(lambda: sum(s.refused for s in senders) > before + 5 * SENDERS, "it takes what it cannot keep")


def all_has_landed(
    door: Gateway,
    engine: Engine,
    senders: list[Sender],
    drain: Drain,
    others: dict[int, list[int]] | None = None,
) -> None:
    log = drain.log
    assert [s.unexpected for s in senders] == [[]] * SENDERS
    assert drain.process.poll() is None, log.read_text()
    until(lambda: waits(engine) == 0, log.read_text())
    assert drain.end(signal.SIGTERM) == 0, log.read_text()
    assert landed(engine) == {s.by: list(range(s.acknowledged)) for s in senders} | (others or {})


def test_postgresql_restarts_under_gateway_and_drain(tmp_path: Path) -> None:
    with running_postgres() as server, serving(tmp_path, server.create_database()) as (door, engine, drain):
        with sending(door, engine) as (senders, _):
            for _ in range(ROUNDS):
                goes_on(senders)
                server.stop()
                are_refused(senders)
                server.start()
            goes_on(senders)
        all_has_landed(door, engine, senders, drain)
        assert acknowledged(senders) > 50


def fills_up(door: Gateway, headers: dict[str, str], accepted: list[int]) -> httpx.Response:
    """Pushes big records until one is refused: what is in the database's files already may be written over."""
    for _ in range(100):
        record = {"by": SENDERS, "n": len(accepted), "pad": "x" * 200_000}
        answer = httpx.post(f"{door.url}{PUSH}/batch?source=till", headers=headers, json=record, timeout=60)
        if answer.status_code != 202:
            return answer
        accepted.append(len(accepted))
    raise AssertionError("the disk is full, and all is accepted")


@pytest.mark.parametrize("what", ["landing folder", "database"])
def test_with_less_than_5_percent_free_nothing_more_is_taken(tmp_path: Path, what: str) -> None:
    (tmp_path / "project").mkdir()
    door = gateway(tmp_path / "project")
    with small_disk(tmp_path / "disk", size_mb=16) as disk:
        assert disk.mounted, "this needs the right to mount a disk, since the real one is not to be filled"
        if what == "landing folder":
            door.environment |= {
                "SIS_HOME": str(disk.folder),
                "SIS_DATABASE_URL": f"sqlite:///{tmp_path}/s.db",
            }
        else:
            door.environment["SIS_DATABASE_URL"] = f"sqlite:///{disk.folder}/state.db"
        door.start()
        try:
            url, body = f"{door.url}{HOOK}/shop", b'{"type": "order.x"}'
            assert httpx.post(url, content=body, headers=signed(body, "a")).status_code == 202
            ballast = disk.folder / "ballast"
            for share, is_ready in ((0.06, True), (0.04, False), (0.06, True)):
                ballast.unlink(missing_ok=True)
                usage = shutil.disk_usage(disk.folder)
                ballast.write_bytes(bytes(usage.free - int(share * usage.total)))
                wanted = 200 if is_ready else 503
                until(
                    lambda told=wanted: httpx.get(f"{door.url}/health/ready").status_code == told,
                    f"at {share:.0%} free it says {503 if is_ready else 200}",
                )
                answer = httpx.post(url, content=body, headers=signed(body, f"b{share:.0%}".rstrip("%")))
                assert (answer.status_code in (200, 202)) == is_ready, answer.text
                if not is_ready:
                    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
                    assert str(disk.folder) not in answer.text
            log = (door.folder / "gateway.log").read_text()
            assert "less than 5% of the disk of" in log and str(disk.folder) in log
        finally:
            door.end()


def test_a_full_disk_refuses_what_it_cannot_keep_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    accepted: list[int] = []
    with small_disk(tmp_path / "disk", size_mb=64) as disk, serving(disk.folder) as (door, engine, drain):
        assert door.process is not None
        with sending(door, engine) as (senders, headers):
            for _ in range(ROUNDS):
                goes_on(senders)
                disk.fill(door.process.pid, drain.process.pid)
                refused = fills_up(door, headers, accepted)
                assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1, refused.text
                assert refused.headers["content-type"] == "application/problem+json"
                are_refused(senders)
                disk.free()
            goes_on(senders)
        all_has_landed(door, engine, senders, drain, {SENDERS: accepted} if accepted else {})
        assert acknowledged(senders) > 50
