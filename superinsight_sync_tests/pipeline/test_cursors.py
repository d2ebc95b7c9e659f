"""Cursors in the future, and cursors that go backwards: no row is missed in silence."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from superinsight_sync.core.clock import utc_now
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.results import PullResult
from superinsight_sync.model.tables import Checkpoint, TableRef
from superinsight_sync.pipeline.cursors import is_future, now_like
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.servers.postgres import PostgresServer

RAW = TableRef("default", "crm", "notes", "raw")
FAR = "2999-01-01 00:00:00"


@dataclass
class Customer:
    """A table `notes` of `id`, `version` and `at`."""

    connection: dict[str, Any]
    execute: Callable[[str], None]

    def add(self, number: int, at: str, version: int | None = None) -> None:
        self.execute(f"INSERT INTO notes VALUES ({number}, {version or number}, '{at}')")

    def pull(self, engine: Engine, **sync: Any) -> PullResult:
        stream = {"name": "notes", "table": "notes", "sync": {"mode": "incremental", **sync}}
        source = SourceSpec.model_validate(
            {"name": "crm", "connection": self.connection, "streams": [stream]}
        )
        return pull_stream(engine, source, source.streams[0])


@pytest.fixture(params=["sqlite", "sqlite text", "postgres", "postgres without zone"])
def customer(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Customer]:
    kind, _, how = request.param.partition(" ")
    if kind == "sqlite":

        def execute(sql: str) -> None:
            with closing(sqlite3.connect(tmp_path / "crm.db")) as db, db:
                db.execute(sql)

        execute(f"CREATE TABLE notes (id INTEGER, version INTEGER, at {'TEXT' if how else 'TIMESTAMP'})")
        yield Customer({"kind": "sqlite", "path": str(tmp_path / "crm.db")}, execute)
        return
    dsn = request.getfixturevalue("postgres_server").create_database()
    monkeypatch.setenv("CRM_DSN", dsn)
    with psycopg.connect(dsn, autocommit=True) as db:

        def run(sql: str) -> None:
            db.execute(sql.encode())

        run(f"CREATE TABLE notes (id int, version bigint, at {'timestamp' if how else 'timestamptz'})")
        yield Customer({"kind": "postgres", "dsn": "{{ env.CRM_DSN }}"}, run)


def landed(engine: Engine) -> list[int]:
    return sorted(engine.lake.scan(RAW, columns=["id"]).read_all().column("id").to_pylist())


def alerts(engine: Engine) -> list[str]:
    file = engine.settings.home / "alerts.jsonl"
    return [json.loads(line)["text"] for line in file.read_text().splitlines()] if file.exists() else []


def test_a_row_from_the_future_lands_and_hides_no_later_row(customer: Customer, engine: Engine) -> None:
    customer.add(1, "2026-01-01 10:00:00")
    assert customer.pull(engine, cursor="at").warnings == ()
    customer.add(2, FAR)
    customer.add(3, "2026-01-02 10:00:00")
    told = customer.pull(engine, cursor="at")
    assert "in the future" in told.warnings[0]
    assert "2999" not in told.warnings[0]
    for number in (4, 5):
        customer.add(number, f"2026-01-0{number} 10:00:00")
        assert customer.pull(engine, cursor="at").warnings == told.warnings
    assert landed(engine) == [1, 2, 3, 4, 5]
    assert "2026-01-05" in str(engine.lake.checkpoint(RAW).cursor)  # type: ignore[union-attr]
    assert len(alerts(engine)) == 1, "told once"
    customer.execute("DELETE FROM notes WHERE id = 2")
    assert customer.pull(engine, cursor="at").warnings == ()


def test_only_rows_from_the_future_leave_no_checkpoint(customer: Customer, engine: Engine) -> None:
    customer.add(1, FAR)
    customer.pull(engine, cursor="at")
    customer.add(2, "2026-01-01 10:00:00")
    customer.pull(engine, cursor="at")
    assert landed(engine) == [1, 2]


@pytest.mark.parametrize("by", ["timestamp", "version"])
def test_a_source_that_went_behind_its_checkpoint_is_told(
    customer: Customer, engine: Engine, by: str
) -> None:
    sync = {"by": by, "cursor": "at" if by == "timestamp" else "version"}
    for number in range(1, 6):
        customer.add(number, f"2026-01-0{number} 10:00:00")
    assert customer.pull(engine, **sync).warnings == ()
    customer.execute("DELETE FROM notes WHERE id > 2")
    customer.add(9, "2026-01-03 09:00:00", version=3)
    told = customer.pull(engine, **sync)
    (warning,) = told.warnings
    assert "restored from a backup" in warning
    assert "sis state set crm.notes" in warning
    assert alerts(engine) == [warning]
    customer.add(10, "2026-01-07 10:00:00", version=10)
    assert customer.pull(engine, **sync).warnings == ()


def test_a_checkpoint_in_the_future_is_told(customer: Customer, engine: Engine) -> None:
    customer.add(1, "2026-01-01 10:00:00")
    before = customer.pull(engine, cursor="at").stats.cursor_after
    far = FAR if isinstance(before, str) else before.replace(year=2999)
    engine.lake.set_checkpoint(RAW, Checkpoint("set-by-hand", utc_now(), cursor=far))
    customer.add(2, "2026-01-02 10:00:00")
    assert "the checkpoint is in the future" in customer.pull(engine, cursor="at").warnings[0]


def test_rows_that_are_read_again_because_of_long_transactions_land_once(
    postgres_server: PostgresServer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = postgres_server.create_database()
    monkeypatch.setenv("CRM_DSN", dsn)
    with psycopg.connect(dsn, autocommit=True) as db, psycopg.connect(dsn) as slow:
        db.execute("CREATE TABLE notes (id int, version bigint, at timestamptz DEFAULT clock_timestamp())")
        slow.execute("INSERT INTO notes VALUES (0, 0)")
        customer = Customer({"kind": "postgres", "dsn": "{{ env.CRM_DSN }}"}, lambda _: None)
        for number in range(1, 4):
            db.execute("INSERT INTO notes VALUES (%s, 1)", (number,))
        customer.pull(engine, cursor="at")
        slow.commit()
        db.execute("INSERT INTO notes VALUES (4, 1)")
        customer.pull(engine, cursor="at")
    assert landed(engine) == [0, 1, 2, 3, 4]


def test_the_present_is_told_in_every_type_of_cursor() -> None:
    now = datetime.now(UTC)
    assert is_future(now + timedelta(minutes=6))
    assert not is_future(now + timedelta(minutes=4))
    assert not is_future((now + timedelta(hours=13)).replace(tzinfo=None)), "it may be the time of UTC+14"
    assert is_future((now + timedelta(hours=15)).replace(tzinfo=None))
    assert is_future(date(2999, 1, 1))
    assert is_future("2999-01-01")
    assert is_future("2999-01-01T00:00:00Z")
    assert not is_future(now.isoformat())
    assert not is_future("31/12/2026 is no time that ends here")
    assert not is_future(10**12)
    assert now_like(7) is None
