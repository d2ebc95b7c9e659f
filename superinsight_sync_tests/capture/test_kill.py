"""Writers write, capture and server are killed again and again: afterwards every table equals the source."""

import multiprocessing
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from superinsight_sync.capture.protocol import Pace
from superinsight_sync.core.errors import SisError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.core.stopping import StopSignal, pause
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.capture import Capture
from superinsight_sync.pipeline.engine import Engine, open_engine, table_of
from superinsight_sync_tests.capture.bank import captured, caught_up, landed, log_of
from superinsight_sync_tests.conftest import LONG
from superinsight_sync_tests.servers.postgres import PostgresServer, running_postgres
from superinsight_sync_tests.waiting import until

KILLS, RESTARTS, ACCOUNTS = (30, 6, 20_000) if LONG else (3, 1, 1_500)
SEED = 20261201
TABLES = """
    CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance numeric(14,2) NOT NULL, photo text);
    CREATE TABLE history (id bigserial PRIMARY KEY, account int, delta numeric(14,2), at timestamptz DEFAULT now());
    CREATE TABLE flags (name text PRIMARY KEY, value int);
    ALTER TABLE accounts ALTER photo SET STORAGE EXTERNAL;"""
_forking = multiprocessing.get_context("forkserver")


def source_of(dsn: str) -> SourceSpec:
    return captured(
        dsn, {"table": "accounts"}, {"table": "history"}, {"table": "flags", "primary_key": ["name"]}
    )


def engine_of(folder: Path) -> Engine:
    return open_engine("run-1", load_settings({"SIS_PROJECT_DIR": str(folder), "SIS_LEASE_TTL_S": "0.5"}))


def follow(folder: Path, dsn: str) -> None:
    """What is killed."""
    source, pace = source_of(dsn), Pace(window_s=0.02, chunk_rows=400, idle_s=0.05)
    while True:
        try:
            Capture(engine_of(folder), source, pace=pace, merge_s=0.3).run(StopSignal())
        except SisError as error:
            if not error.retryable:
                raise
            pause(0.05)


class Writer(threading.Thread):
    """A client that moves money, and does what else clients do; it goes on over crashes of the server."""

    def __init__(self, dsn: str, number: int, over: threading.Event) -> None:
        super().__init__()
        self._dsn, self._over = dsn, over
        self._rng = random.Random(SEED + number)
        self.transactions = 0
        self.wrong: BaseException | None = None

    def run(self) -> None:
        while not self._over.is_set():
            try:
                with psycopg.connect(self._dsn) as db:
                    while not self._over.is_set():
                        with db.transaction(force_rollback=self._rng.random() < 0.1):
                            self._work(db)
                        self.transactions += 1
            except psycopg.Error as error:
                if not isinstance(error, psycopg.OperationalError):
                    self.wrong = error
                    return

    def _work(self, db: psycopg.Connection[Any]) -> None:
        rng = self._rng
        one, other = sorted(rng.sample(range(1, ACCOUNTS + 1), 2))
        amount = rng.randint(1, 10_000) / 100
        db.execute("UPDATE accounts SET balance = balance - %s WHERE id = %s", (amount, one))
        db.execute("UPDATE accounts SET balance = balance + %s WHERE id = %s", (amount, other))
        db.execute(
            "INSERT INTO history (account, delta) VALUES (%s, %s), (%s, %s)", (one, -amount, other, amount)
        )
        match rng.randint(0, 9):
            case 0:
                db.execute(
                    "UPDATE accounts SET photo = repeat(md5(%s), 300) WHERE id = %s", (str(amount), one)
                )
            case 1:
                db.execute(
                    "DELETE FROM history WHERE id %% 7 = %s AND id < %s", (one % 7, 50 * rng.randint(1, 40))
                )
            case 2:
                name = f"f{rng.randint(1, 5)}"
                db.execute("DELETE FROM flags WHERE name = %s", (name,))
                db.execute("INSERT INTO flags VALUES (%s, %s) ON CONFLICT DO NOTHING", (name, one))
            case 3:
                db.execute("UPDATE history SET id = -id WHERE id = %s", (rng.randint(1, 2_000),))


def commits(engine: Engine, source: SourceSpec) -> int:
    """How many have landed of all streams."""
    folders = (Path(engine.settings.lake_url) / table_of(source, s, "changes").path for s in source.streams)
    return sum(1 for folder in folders for _ in (folder / "_delta_log").glob("*.json"))


def wait_for(goal: int, engine: Engine, source: SourceSpec, running: Any) -> None:
    until(lambda: commits(engine, source) >= goal or not running.is_alive(), "nothing lands")
    assert running.is_alive(), "the capture ended by itself"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with running_postgres() as found:
        yield found


def test_kills_lose_nothing_and_double_nothing(server: PostgresServer, tmp_path: Path) -> None:
    dsn = server.create_database()
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(TABLES)
        db.execute(
            f"INSERT INTO accounts SELECT i, 'o' || i, 100, repeat(md5(i::text), 100) FROM generate_series(1, {ACCOUNTS}) i"
        )
    source, engine, rng, over = source_of(dsn), engine_of(tmp_path), random.Random(SEED), threading.Event()
    writers = [Writer(dsn, n, over) for n in range(3 if LONG else 2)]
    _forking.set_forkserver_preload(
        ["superinsight_sync_tests.capture.test_kill", "deltalake", "duckdb", "polars"]
    )

    def started() -> Any:
        process = _forking.Process(target=follow, args=(tmp_path, dsn), daemon=True)
        process.start()
        return process

    for writer in writers:
        writer.start()
    running = started()
    try:
        restarts = set(rng.sample(range(KILLS), RESTARTS))
        for number in range(KILLS):
            goal = commits(engine, source) + rng.randint(1, 5)
            wait_for(goal, engine, source, running)
            if number in restarts:
                server.restart()
            else:
                running.kill()
                running.join()
                running = started()
        over.set()
        for writer in writers:
            writer.join()
            assert writer.wrong is None, writer.wrong
        caught_up(engine, source, dsn)
    finally:
        over.set()
        running.kill()
        running.join()
    assert sum(w.transactions for w in writers) > 0
    with psycopg.connect(dsn, autocommit=True) as db, db.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        for stream in source.streams:
            (key,) = stream.primary_key
            rows = cursor.execute(
                f'SELECT * FROM {stream.table} ORDER BY {key} COLLATE "C"'.encode()
                if key == "name"
                else f"SELECT * FROM {stream.table} ORDER BY {key}".encode()
            ).fetchall()
            assert landed(engine, source, stream.name).to_pylist() == rows, stream.name
    inserted = [r["id"] for r in log_of(engine, source, "history") if r["_sis_op"] == "insert"]
    assert len(inserted) == len(set(inserted)), "a change landed twice"
    balances = landed(engine, source, "accounts").column("balance").to_pylist()
    assert sum(balances) == 100 * ACCOUNTS
