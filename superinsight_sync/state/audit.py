"""The audit log: a chain of records for each tenant, to which every change and every read of records is appended.

`note` is the one way in. What changes our state calls it in the same transaction, so that neither is there without
the other. What cannot share a transaction (a Delta commit, a file, a server of the customer) goes through `Audit.act`:
an intent before, an outcome after, and `Audit.settle` for those whose process died in between.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
    type_coerce,
)

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.retry import OWN_STORES, with_retry
from superinsight_sync.security.acting import current_actor
from superinsight_sync.security.audit_verifier import FIRST, hash_of, opening
from superinsight_sync.state.database import Database, clean, now
from superinsight_sync.state.leases import Leases
from superinsight_sync.state.tables import audit as t
from superinsight_sync.state.tables import audit_open, leases

Phase = Literal["done", "intent", "outcome"]
INSTALLATION = ""
"""The chain of what is done to the installation as a whole: no tenant has this name."""
_LOCK = 730_511_348  # any fixed number will do
_LEASE_S = 15.0
_AT_ONCE = 5_000
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_FIELDS = ("action", "actor", "object", "result")


@dataclass(frozen=True)
class Entry:
    """What is to be written down.

    Attributes:
        action: noun and verb: `key.make`, `stream.reset`.
        object: what it was done to, such as `crm/orders`.
        detail: names, ids and counts. Never a customer's value: `digest` stands for one.
        result: `ok`, `failed`, or another word of the action.
        ref: of an outcome, the number of its intent.
    """

    action: str
    object: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    result: str = "ok"
    phase: Phase = "done"
    ref: int | None = None


@dataclass(frozen=True)
class AuditFilter:
    """Which records are wanted; None is any. `since` and `until` are half-open."""

    action: str | None = None
    actor: str | None = None
    object: str | None = None
    result: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def note(connection: Connection, tenant: str, *entries: Entry) -> int:
    """Appends to a tenant's chain in the connection's transaction; the number of the last record.

    Call it last in a transaction: until its end no other process can append to that chain.
    """
    seq, prev, at = end_of(connection, tenant)
    at = max(at, now(connection).astimezone(UTC).strftime(_TIME))
    actor = current_actor()
    doer = {"actor": clean(actor.name), "actor_kind": actor.kind, "origin": clean(actor.origin)}
    rows = []
    for entry in entries:
        seq += 1
        body = _body(tenant, seq, prev, at, doer, entry)
        prev = hash_of(body)
        rows.append({"tenant": tenant, "seq": seq, "body": body, "hash": prev})
    connection.execute(insert(t), rows)
    return seq


def _body(tenant: str, seq: int, prev: str, at: str, doer: Mapping[str, str], entry: Entry) -> str:
    said = {
        **doer,
        "action": entry.action,
        "object": clean(entry.object),
        "phase": entry.phase,
        "result": entry.result,
        "ref": entry.ref,
        "detail": entry.detail,
    }
    return f'{opening(tenant, seq, prev)}{at}",{_encode(said)[1:]}'


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).strftime(_TIME)
        case set() | frozenset():
            return sorted(value)
        case Mapping():
            return dict(value)
    return str(value)


def end_of(connection: Connection, tenant: str) -> tuple[int, str, str]:
    """Number, hash and time of a chain's last record, which stays the last until the transaction ends."""
    if connection.dialect.name == "postgresql":
        key = zlib.crc32(tenant.encode()) >> 1
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK, key)))
    row = connection.execute(_LAST, {"whose": tenant}).first()
    if row is None:
        return 0, FIRST, ""
    try:
        return row.seq, row.hash, str(json.loads(row.body)["at"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"the last record of tenant '{tenant}' is no record: somebody changed it",
            where="audit log",
            hint="Run `sis audit verify`. Nothing is done that cannot be written down",
        ) from error


_encode = json.JSONEncoder(separators=(",", ":"), default=_plain, allow_nan=False).encode
_LAST = (
    select(t.c.seq, t.c.hash, t.c.body)
    .where(t.c.tenant == bindparam("whose"))
    .order_by(t.c.seq.desc())
    .limit(1)
)


@dataclass
class Act:
    """Something under way. `detail` is written with its outcome."""

    seq: int
    detail: dict[str, Any] = field(default_factory=dict)


class Audit:
    """The chains of all tenants. Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, tenant: str, *entries: Entry) -> None:
        """Appends in a transaction of its own: for what changes nothing of ours, such as a read of records. Call it
        before the records are handed out."""
        with_retry(lambda: self._append(tenant, entries), OWN_STORES)

    def _append(self, tenant: str, entries: Sequence[Entry]) -> int:
        with self._database.write() as connection:
            return note(connection, tenant, *entries)

    @contextmanager
    def act(self, tenant: str, action: str, obj: str, **detail: Any) -> Iterator[Act]:
        """Writes an intent, then lets the block work, then writes its outcome. If the intent cannot be written, the
        block does not begin."""
        intent = Entry(action, obj, detail, result="begun", phase="intent")
        seq = with_retry(lambda: self._begin(tenant, intent), OWN_STORES)
        act = Act(seq)
        with Leases(self._database).hold(_lease(tenant, seq), _LEASE_S):
            try:
                yield act
            except BaseException as error:
                told = {**act.detail, "error": type(error).__name__}
                self._over(tenant, Entry(action, obj, told, "failed", "outcome", seq))
                raise
            self._over(tenant, Entry(action, obj, act.detail, "ok", "outcome", seq))

    def _begin(self, tenant: str, intent: Entry) -> int:
        with self._database.write() as connection:
            row = {"tenant": tenant, "begun_at": now(connection)}
            seq = note(connection, tenant, intent)
            connection.execute(insert(audit_open).values(**row, seq=seq))
            return seq

    def _over(self, tenant: str, outcome: Entry) -> None:
        def write() -> None:
            with self._database.write() as connection:
                _close(connection, tenant, outcome)

        with_retry(write, OWN_STORES)

    def settle(self, grace_s: float = 60.0) -> int:
        """Writes the outcome `interrupted` for intents whose process died; how many.

        Args:
            grace_s: younger ones are left alone: they may be about to take their lease.
        """
        with self._database.read() as connection:
            old = audit_open.c.begun_at < now(connection) - timedelta(seconds=grace_s)
            found = connection.execute(select(audit_open.c.tenant, audit_open.c.seq).where(old)).all()
        return sum(self._settle(tenant, seq) for tenant, seq in found)

    def _settle(self, tenant: str, seq: int) -> bool:
        with self._database.write() as connection:
            held = (leases.c.name == _lease(tenant, seq), leases.c.expires_at > now(connection))
            if connection.scalar(select(leases.c.name).where(*held)) is not None:
                return False
            intent = json.loads(connection.execute(select(t.c.body).where(*_is(t, tenant, seq))).scalar_one())
            outcome = Entry(intent["action"], intent["object"], {}, "interrupted", "outcome", seq)
            return _close(connection, tenant, outcome)

    def open(self) -> tuple[tuple[str, int], ...]:
        """Tenant and number of the intents without an outcome."""
        statement = select(audit_open.c.tenant, audit_open.c.seq).order_by(*audit_open.primary_key)
        with self._database.read() as connection:
            return tuple((row.tenant, row.seq) for row in connection.execute(statement))

    def list(
        self, tenant: str, wanted: AuditFilter | None = None, *, before: int | None = None, limit: int = 100
    ) -> tuple[Mapping[str, Any], ...]:
        """A tenant's records that match, newest first. Each is what was written, with its `hash`."""
        with self._database.read() as connection:
            conditions = _conditions(connection, wanted or AuditFilter())
            if before is not None:
                conditions.append(t.c.seq < before)
            statement = select(t.c.body, t.c.hash).where(t.c.tenant == tenant, *conditions)
            rows = connection.execute(statement.order_by(t.c.seq.desc()).limit(limit)).all()
        return tuple({**json.loads(row.body), "hash": row.hash} for row in rows)

    def tenants(self) -> tuple[str, ...]:
        """Those that have a chain, by a step in the index each."""
        found: list[str] = []
        with self._database.read() as connection:
            while True:
                following = select(func.min(t.c.tenant))
                one = connection.scalar(following.where(t.c.tenant > found[-1]) if found else following)
                if one is None:
                    return tuple(found)
                found.append(one)

    def chain(self, tenant: str) -> Iterator[tuple[int, str, str]]:
        """A tenant's records in their order: number, body, hash. Memory is bounded by a few thousand."""
        last = 0
        while True:
            page = select(t.c.seq, t.c.body, t.c.hash).where(t.c.tenant == tenant, t.c.seq > last)
            with self._database.read() as connection:
                rows = connection.execute(page.order_by(t.c.seq).limit(_AT_ONCE)).all()
            if not rows:
                return
            for last, body, digest in rows:
                yield last, body, digest


def _close(connection: Connection, tenant: str, outcome: Entry) -> bool:
    """Writes an outcome, unless somebody settled it before; one that says how it really ended is written also then."""
    ref = outcome.ref or 0
    is_open = connection.execute(delete(audit_open).where(*_is(audit_open, tenant, ref))).rowcount == 1
    if is_open or outcome.result != "interrupted":
        note(connection, tenant, outcome)
    return is_open


def _is(table: Any, tenant: str, seq: int) -> tuple[ColumnElement[bool], ...]:
    return table.c.tenant == tenant, table.c.seq == seq


def _lease(tenant: str, seq: int) -> str:
    return f"audit:{tenant}:{seq}"


def _conditions(connection: Connection, wanted: AuditFilter) -> list[ColumnElement[bool]]:
    def said(name: str) -> ColumnElement[str]:
        if connection.dialect.name == "postgresql":
            return type_coerce(cast(t.c.body, JSON)[name].as_string(), Text)
        found: ColumnElement[str] = func.json_extract(t.c.body, f"$.{name}")
        return found

    found = [said(n) == getattr(wanted, n) for n in _FIELDS if getattr(wanted, n) is not None]
    if wanted.since is not None:
        found.append(said("at") >= wanted.since.astimezone(UTC).strftime(_TIME))
    if wanted.until is not None:
        found.append(said("at") < wanted.until.astimezone(UTC).strftime(_TIME))
    return found
