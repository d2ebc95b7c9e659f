"""A customer's PostgreSQL whose changes are captured, and the capture as tests run it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pyarrow as pa

from superinsight_sync.capture.mariadb.connecting import asking
from superinsight_sync.capture.mariadb.places import GtidState
from superinsight_sync.capture.postgres.messages import lsn_of
from superinsight_sync.capture.postgres.rows import place_text
from superinsight_sync.capture.protocol import Pace
from superinsight_sync.core.arrow_values import rows_of
from superinsight_sync.core.errors import SisError, StopRequested
from superinsight_sync.core.stopping import StopSignal
from superinsight_sync.databases.mysql_catalogue import rows_of as rows_of_mysql
from superinsight_sync.databases.mysql_session import access_of
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.tables import is_system
from superinsight_sync.pipeline.capture import Capture
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync.pipeline.merging import merge_changes
from superinsight_sync_tests.waiting import until

QUICK = Pace(window_s=0.02, chunk_rows=500, idle_s=0.05, look_s=0.05)


def captured(dsn: str, *streams: dict[str, Any], **source: Any) -> SourceSpec:
    """A source with captured streams; each needs its table."""
    made = [
        {
            "name": (s.get("table") or "any").rpartition(".")[2],
            "primary_key": ["id"],
            **s,
            "sync": {"mode": "capture", **s.get("sync", {})},
        }
        for s in streams
    ]
    kind = "mysql" if dsn.startswith("mysql") else "postgres"
    spec = {"name": "bank", "tenant": "acme", "connection": {"kind": kind, "dsn": dsn}, "streams": made}
    return SourceSpec.model_validate({**spec, **source})


class Running:
    """A capture in a thread of its own."""

    def __init__(self, engine: Engine, source: SourceSpec, pace: Pace = QUICK, merge_s: float = 0.2) -> None:
        self.stop = StopSignal()
        self.error: BaseException | None = None
        self._capture = Capture(engine, source, pace=pace, merge_s=merge_s)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._capture.run(self.stop)
        except StopRequested:
            pass
        except SisError as error:
            self.error = error

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self.stop.set()
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()


@contextmanager
def capturing(engine: Engine, source: SourceSpec, **how: Any) -> Iterator[Running]:
    """A capture that runs for the block. What stopped it before is raised at the end."""
    running = Running(engine, source, **how)
    running.start()
    try:
        yield running
    finally:
        running.end()
        if running.error is not None:
            raise running.error


def landed(engine: Engine, source: SourceSpec, stream: str, *, system: bool = False) -> pa.Table:
    """The raw table as it is, its changes merged. Who reads table and log together saw the same before."""
    spec = source.stream(stream)
    raw = table_of(source, spec, "raw")
    order = [(k, "ascending") for k in spec.primary_key]
    with engine.change_view.current(raw, spec.primary_key, spec.sync.deletes) as rows:
        seen = rows.read_all().sort_by(order)
    merge_changes(engine, source, spec)
    table = engine.lake.scan(raw).read_all().sort_by(order)
    data = table.select([n for n in table.column_names if not is_system(n)])
    assert repr(rows_of(seen.select(data.column_names))) == repr(rows_of(data))
    if "_sis_deleted_at" in table.column_names:
        marks = (t.column("_sis_deleted_at").is_null() for t in (seen, table))
        assert next(marks) == next(marks)
    return table if system else data


def seen(engine: Engine, source: SourceSpec, stream: StreamSpec) -> pa.Table:
    """What a reader of table and log together sees, also while changes come."""
    raw = table_of(source, stream, "raw")
    with engine.change_view.current(raw, stream.primary_key, stream.sync.deletes) as rows:
        found = rows.read_all().sort_by([(k, "ascending") for k in stream.primary_key])
    return found.select([n for n in found.column_names if not is_system(n)])


def log_of(engine: Engine, source: SourceSpec, stream: str) -> list[dict[str, Any]]:
    """The change log, in order."""
    table = engine.lake.scan(table_of(source, source.stream(stream), "changes")).read_all()
    return rows_of(table.sort_by("_sis_seq"))


def end_of(dsn: str) -> str:
    """The position behind all that is committed now."""
    if dsn.startswith("mysql"):
        with asking(access_of(dsn, 10, 60)) as db:
            return GtidState.of(str(rows_of_mysql(db, "SELECT @@global.gtid_binlog_pos")[0][0])).behind
    with psycopg.connect(dsn, autocommit=True) as db:
        row = db.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        assert row is not None
    return place_text(lsn_of(row[0]))


def caught_up(engine: Engine, source: SourceSpec, dsn: str, running: Running | None = None) -> None:
    """Returns when everything that is committed now at the source has landed."""
    goal = end_of(dsn)

    def reached() -> bool:
        if running is not None and not running.alive:
            return True
        worker = engine.state.workers.get("capture", source.tenant, source.name)
        if worker is None or not worker.position or worker.position < goal:
            return False
        for stream in source.streams:
            point = engine.lake.checkpoint(table_of(source, stream, "changes"))
            if point is None or not point.detail.get("done"):
                return False
        return True

    until(reached, "the capture does not catch up")
    if running is not None and running.error is not None:
        raise running.error
