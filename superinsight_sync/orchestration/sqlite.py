"""Dagster's SQLite storage, with connections that stay open.

Dagster opens and closes one for each event, run and tick. The last one that closes makes SQLite copy its log and wait
for the disk: two thirds of the time of a run of many streams. What is written here is Dagster's account of runs;
rows, checkpoints and deliveries have their own guarantees. So a commit does not wait for the disk: a killed process
loses nothing, and the loss of power at most the last events.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._core.storage.sqlite_storage import (
    DagsterSqliteStorage,
    _event_logs_directory,
    _runs_directory,
    _schedule_directory,
)
from dagster._serdes import ConfigurableClassData
from sqlalchemy.pool import NullPool

_BUSY_TIMEOUT_S = 60
_KEPT_SHARDS = 4
"""Databases of events, one a run, that stay open beside the index."""


class SqliteStorage(DagsterSqliteStorage):
    """Runs, events and schedules in SQLite files under a folder."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # The base's own makes storages that open and close.
        DagsterStorage.__init__(self)  # type: ignore[no-untyped-call,arg-type]
        self.base_dir, self._inst_data = base_dir, inst_data
        self._run_storage = SqliteRuns.from_local(_runs_directory(base_dir))
        self._event_log_storage = SqliteEvents(_event_logs_directory(base_dir))
        SqliteScheduleStorage.from_local(_schedule_directory(base_dir))  # makes the tables
        self._schedule_storage = SqliteSchedules(
            create_db_conn_string(_schedule_directory(base_dir), "schedules")
        )


class Engines:
    """The engines of this process, by file. Another process, also a forked one, gets its own."""

    def __init__(self, most: int) -> None:
        self._most, self._kept = most, OrderedDict[tuple[int, str], sa.Engine]()
        self._lock = threading.Lock()

    def of(self, url: str) -> sa.Engine:
        """The engine of a file; the one that was not asked for for longest is closed where there are too many."""
        key = (os.getpid(), url)
        with self._lock:
            engine = self._kept.pop(key, None) or _engine(url)
            self._kept[key] = engine
            dropped = [self._kept.popitem(last=False)[1] for _ in range(len(self._kept) - self._most)]
        for old in dropped:
            old.dispose()
        return engine

    def close(self) -> None:
        """Closes what is open; the next transaction opens it anew."""
        with self._lock:
            kept, self._kept = self._kept, OrderedDict()
        for engine in kept.values():
            engine.dispose()


def _engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url, pool_size=1, max_overflow=-1, connect_args={"timeout": _BUSY_TIMEOUT_S})
    sa.event.listen(engine, "connect", _do_not_wait_for_the_disk)
    return engine


def _do_not_wait_for_the_disk(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")


class SqliteRuns(SqliteRunStorage):
    """Dagster's runs."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines = Engines(1)
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        with self._engines.of(self._conn_string).begin() as connection:
            yield connection

    def dispose(self) -> None:
        self._engines.close()


class SqliteSchedules(SqliteScheduleStorage):
    """Dagster's schedules, sensors and their ticks."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines = Engines(1)
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        with self._engines.of(self._conn_string).begin() as connection:
            yield connection

    def dispose(self) -> None:
        self._engines.close()


class SqliteEvents(SqliteEventLogStorage):
    """Dagster's events: a file for each run, and the index over all of them."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._index, self._shards = Engines(1), Engines(_KEPT_SHARDS)
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
            url = self.conn_string_for_shard(shard)
            if shard not in self._initialized_dbs:
                self._initdb(
                    sa.create_engine(url, poolclass=NullPool, connect_args={"timeout": _BUSY_TIMEOUT_S})
                )
                self._initialized_dbs.add(shard)
            engines = self._index if shard == INDEX_SHARD_NAME else self._shards
            with engines.of(url).begin() as connection:
                yield connection

    def wipe(self) -> None:
        self._shards.close()
        super().wipe()

    def dispose(self) -> None:
        super().dispose()
        self._index.close()
        self._shards.close()
