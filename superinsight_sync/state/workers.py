"""What is wanted of those who work all the time, and what they say of themselves.

A row is about one piece of work: a kind (`capture`), whose it is, and its target (`crm`, `crm/orders`). People and
programs write what is wanted, the worker reads it and writes how it is; neither waits for the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

from sqlalchemy import Connection, select

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import SisError
from superinsight_sync.state.audit import Entry, note
from superinsight_sync.state.database import Database, clean, insert_into, matching
from superinsight_sync.state.tables import workers

Wanted = Literal["run", "pause"]
_FRESH = {"wanted": "run", "anew": 0, "anew_done": 0, "state": "new", "detail": {}}


@dataclass(frozen=True)
class Worker:
    """One piece of work.

    Attributes:
        wanted: whether it should go on.
        anew: how often somebody asked for it to begin from the start; `anew_done` how often it did.
        state: what the worker says it is: `new`, `running`, `snapshot`, `paused`, `failed`, `stopped`.
        position: how far it came, in its own words.
        detail: its numbers.
    """

    kind: str
    tenant: str
    target: str
    wanted: Wanted
    anew: int
    anew_done: int
    asked_by: str | None
    asked_at: datetime | None
    state: str
    position: str | None
    detail: Mapping[str, Any]
    error_class: str | None
    error_text: str | None
    seen_at: datetime | None


class WorkerFilter(TypedDict, total=False):
    """Columns that must equal a value."""

    kind: str
    tenant: str
    target: str


class Report(TypedDict, total=False):
    """What a worker says of itself; what it leaves out stays."""

    state: str
    position: str | None
    detail: Mapping[str, Any]
    anew_done: int


class Workers:
    """Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def want(self, kind: str, tenant: str, target: str, wanted: Wanted, by: str | None = None) -> None:
        """From now on this is wanted of it."""
        asked = {"wanted": wanted, "asked_by": by, "asked_at": utc_now()}
        action = f"{kind}.{'resume' if wanted == 'run' else wanted}"
        with self._database.write() as connection:
            _upsert(connection, {"kind": kind, "tenant": tenant, "target": target}, asked)
            note(connection, tenant, Entry(action, target))

    def want_anew(self, kind: str, tenant: str, target: str, by: str | None = None) -> None:
        """It is to begin from the start, once more."""
        key = {"kind": kind, "tenant": tenant, "target": target}
        asked = {"asked_by": by, "asked_at": utc_now()}
        with self._database.write() as connection:
            statement = insert_into(connection, workers).values(**{**_FRESH, **asked, "anew": 1}, **key)
            more = {**asked, "anew": workers.c.anew + 1}
            connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=more))
            note(connection, tenant, Entry(f"{kind}.anew", target))

    def report(
        self,
        kind: str,
        tenant: str,
        target: str,
        error: SisError | None = None,
        **report: Unpack[Report],
    ) -> None:
        """What the worker says of itself. Without an error, one that it told before is forgotten."""
        said = {
            "error_class": type(error).__name__ if error else None,
            "error_text": clean(str(error)) if error else None,
            "seen_at": utc_now(),
        }
        with self._database.write() as connection:
            _upsert(connection, {"kind": kind, "tenant": tenant, "target": target}, {**report, **said})

    def get(self, kind: str, tenant: str, target: str) -> Worker | None:
        """What is known of it."""
        return next(iter(self.list(kind=kind, tenant=tenant, target=target)), None)

    def list(self, **where: Unpack[WorkerFilter]) -> tuple[Worker, ...]:
        """Those that match, by kind, tenant and target."""
        order = (workers.c.kind, workers.c.tenant, workers.c.target)
        statement = select(workers).where(*matching(workers, where)).order_by(*order)
        with self._database.read() as connection:
            return tuple(Worker(**row) for row in connection.execute(statement).mappings())


def _upsert(connection: Connection, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    statement = insert_into(connection, workers).values(**{**_FRESH, **values}, **key)
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(values)))
