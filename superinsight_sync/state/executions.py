"""What was run: one row for each verb executed on a stream or a dataset, and what it logged."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NotRequired, TypedDict, Unpack

from sqlalchemy import Connection, delete, func, insert, select, update

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.state.audit import Entry, Phase, note
from superinsight_sync.state.database import Database, clean, insert_one, matching, now
from superinsight_sync.state.tables import executions, leases, logs

Ending = Literal["succeeded", "failed", "stopped", "unchanged"]
Status = Literal["running"] | Ending
Level = Literal["info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("info", "warning", "error")
"""From the least to the gravest."""
ORPHANED = "the process ended before it was done"


def lease_of(execution_id: int | str) -> str:
    """The lease that says that the process of an execution is alive."""
    return f"execution {execution_id}"


class Work(TypedDict):
    """What is about to be run. For a dataset, `source` is ``datasets`` and `stream` the dataset's name."""

    run_id: str
    verb: str
    source: str
    stream: str
    tenant: NotRequired[str]
    partition: NotRequired[str | None]


class Result(TypedDict, total=False):
    """What came of it. `version` is that of the lake or of the export."""

    rows: int
    size_bytes: int
    load_id: str | None
    version: int | str | None
    retries: int


@dataclass(frozen=True)
class Execution:
    """One row. `ended_at` is None while `status` is ``running``."""

    id: int
    run_id: str
    verb: str
    tenant: str
    source: str
    stream: str
    partition: str | None
    status: Status
    started_at: datetime
    ended_at: datetime | None
    rows: int
    size_bytes: int
    load_id: str | None
    version: str | None
    retries: int
    error_class: str | None
    error_text: str | None


@dataclass(frozen=True)
class LogLine:
    """A line logged by an execution."""

    id: int
    execution_id: int
    level: str
    message: str
    at: datetime


@dataclass(frozen=True)
class RunLine:
    """A line of a run, with the work that logged it."""

    id: int
    at: datetime
    level: str
    verb: str
    source: str
    stream: str
    partition: str | None
    message: str


class ExecutionFilter(TypedDict, total=False):
    """Columns that must equal a value."""

    run_id: str
    verb: str
    tenant: str
    source: str
    stream: str
    partition: str
    status: Status
    load_id: str


class Executions:
    """The executions of all processes. Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, **work: Unpack[Work]) -> int:
        """Writes down that the work begins; its id."""
        row = {
            "tenant": "default",
            "partition": None,
            **work,
            "status": "running",
            "started_at": utc_now(),
            "rows": 0,
            "size_bytes": 0,
            "retries": 0,
        }
        partition = f" [{row['partition']}]" if row["partition"] else ""
        with self._database.write() as connection:
            key = insert_one(connection, executions, row)
            begun = f"{row['verb']} {row['source']}/{row['stream']}{partition} began"
            connection.execute(insert(logs).values(_line(key, "info", begun)))
            _note(connection, key, "begun")
        return key

    def finish(
        self,
        execution_id: int,
        status: Ending,
        error: BaseException | None = None,
        **result: Unpack[Result],
    ) -> None:
        """Writes down how it ended, also over what an orphan sweep guessed.

        Of `error` its class and its text without secrets are kept. Raises ConfigError for an unknown id.
        """
        version = result.get("version")
        row = {
            **result,
            "version": None if version is None else str(version),
            "status": status,
            "ended_at": utc_now(),
            "error_class": None if error is None else type(error).__name__,
            "error_text": None if error is None else clean(str(error)),
        }
        with self._database.write() as connection:
            done = connection.execute(update(executions).where(executions.c.id == execution_id).values(row))
            if done.rowcount:
                connection.execute(insert(logs).values(_ending(execution_id, status, error, result)))
                _note(connection, execution_id, status)
        if done.rowcount == 0:
            raise ConfigError(
                f"execution {execution_id} is not there",
                where="state database",
                hint="The database was replaced or purged while the work went on; run it again",
            )

    def get(self, execution_id: int) -> Execution | None:
        """The execution with that id."""
        with self._database.read() as connection:
            rows = (
                connection.execute(select(executions).where(executions.c.id == execution_id)).mappings().all()
            )
        return Execution(**rows[0]) if rows else None

    def recent(self, limit: int = 50, **where: Unpack[ExecutionFilter]) -> tuple[Execution, ...]:
        """The newest that match, newest first: ``recent(10, source="crm", status="failed")``."""
        statement = (
            select(executions)
            .where(*matching(executions, where))
            .order_by(executions.c.started_at.desc(), executions.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return tuple(Execution(**row) for row in connection.execute(statement).mappings())

    def runs(self, begins: str = "", limit: int = 10) -> tuple[str, ...]:
        """The ids of the newest runs that begin so, newest first."""
        newest = func.max(executions.c.id)
        statement = (
            select(executions.c.run_id)
            .where(executions.c.run_id.startswith(begins, autoescape=True))
            .group_by(executions.c.run_id)
            .order_by(newest.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return tuple(connection.execute(statement).scalars())

    def running(self) -> tuple[Execution, ...]:
        """Those that have not ended, newest first."""
        return self.recent(10_000, status="running")

    def sweep_orphans(self, grace_s: float = 60.0) -> int:
        """Marks as failed what runs without its holder's lease (`lease_of`): its process is dead; how many.

        Args:
            grace_s: younger ones are left alone: they may be about to take their lease.
        """
        with self._database.read() as connection:
            old = (
                executions.c.status == "running",
                executions.c.started_at < utc_now() - timedelta(seconds=grace_s),
            )
            started = {lease_of(key): key for key in connection.scalars(select(executions.c.id).where(*old))}
            if not started:
                return 0
            held = (
                leases.c.name.startswith(lease_of(""), autoescape=True),
                leases.c.expires_at > now(connection),
            )
            alive = set(connection.scalars(select(leases.c.name).where(*held)))
        return sum(self._bury(key) for name, key in started.items() if name not in alive)

    def _bury(self, execution_id: int) -> bool:
        """Marks one as failed, unless it has ended or its holder is alive after all; whether it did."""
        with self._database.write() as connection:
            held = (leases.c.name == lease_of(execution_id), leases.c.expires_at > now(connection))
            dead = (
                executions.c.id == execution_id,
                executions.c.status == "running",
                ~select(leases.c.name).where(*held).exists(),
            )
            values = {
                "status": "failed",
                "ended_at": utc_now(),
                "error_class": "Orphaned",
                "error_text": ORPHANED,
            }
            if not connection.execute(update(executions).where(*dead).values(values)).rowcount:
                return False
            connection.execute(insert(logs).values(_line(execution_id, "error", f"failed: {ORPHANED}")))
            connection.execute(delete(leases).where(leases.c.name == lease_of(execution_id)))
            _note(connection, execution_id, "interrupted")
            return True


class Logs:
    """Lines that executions logged, kept with them. Raises as `Executions` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, execution_id: int, level: Level, message: str) -> None:
        """Keeps a line, without secrets."""
        with self._database.write() as connection:
            connection.execute(insert(logs).values(_line(execution_id, level, message)))

    def list(self, execution_id: int, limit: int = 1_000) -> Sequence[LogLine]:
        """The newest `limit` lines of an execution, oldest first."""
        statement = (
            select(logs).where(logs.c.execution_id == execution_id).order_by(logs.c.id.desc()).limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(statement).mappings().all()
        return tuple(LogLine(**row) for row in reversed(rows))

    def of_run(
        self, run_id: str, *, after: int = 0, levels: Collection[Level] = LEVELS, limit: int = 10_000
    ) -> Sequence[RunLine]:
        """The oldest `limit` lines of a run whose id is over `after`, oldest first."""
        work = (executions.c.verb, executions.c.source, executions.c.stream, executions.c.partition)
        statement = (
            select(logs.c.id, logs.c.at, logs.c.level, logs.c.message, *work)
            .join(executions, logs.c.execution_id == executions.c.id)
            .where(executions.c.run_id == run_id, logs.c.id > after, logs.c.level.in_(list(levels)))
            .order_by(logs.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return tuple(RunLine(**row) for row in connection.execute(statement).mappings())


def _note(connection: Connection, execution_id: int, result: str) -> None:
    """A load's intent or outcome, for the audit log: one each, however many records there are."""
    is_it = executions.c.id == execution_id
    row = connection.execute(select(executions).where(is_it)).mappings().one()
    names = ("run_id", "partition", "rows", "size_bytes", "load_id", "version")
    told = {"execution": execution_id, **{n: row[n] for n in names if row[n]}}
    phase: Phase = "intent" if result == "begun" else "outcome"
    entry = Entry(f"load.{row['verb']}", f"{row['source']}/{row['stream']}", told, result, phase)
    note(connection, row["tenant"], entry)


def _line(execution_id: int, level: Level, message: str) -> dict[str, object]:
    return {"execution_id": execution_id, "level": level, "message": clean(message), "at": utc_now()}


def _ending(
    execution_id: int, status: Ending, error: BaseException | None, result: Result
) -> dict[str, object]:
    """The last line of an execution."""
    if error is not None:
        level: Level = "warning" if status == "stopped" else "error"
        return _line(execution_id, level, f"{status}: {type(error).__name__}: {error}")
    facts = [f"{result.get('rows', 0):,} rows", f"{result.get('size_bytes', 0):,} bytes"]
    if result.get("version") is not None:
        facts.append(f"version {result['version']}")
    if result.get("retries"):
        facts.append(f"after {result['retries']} retries")
    return _line(execution_id, "info", status if status == "unchanged" else f"{status}: {', '.join(facts)}")
