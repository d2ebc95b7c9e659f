"""Publication and replication slot: their names, how they are made, looked at and taken away."""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from psycopg import errors, sql

from superinsight_sync.capture.postgres.catalogue import table_oid, table_sql
from superinsight_sync.capture.postgres.connecting import Address, Connection, asking, driver_errors, writing
from superinsight_sync.capture.postgres.messages import lsn_of
from superinsight_sync.capture.postgres.rows import place_of
from superinsight_sync.capture.protocol import Lag, LogLostError, Resume, captured_streams
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import SourceSpec, StreamSpec

_LONGEST_NAME = 63
_SLOT = "SELECT confirmed_flush_lsn::text, wal_status, active FROM pg_replication_slots WHERE slot_name = %s"
_END = """
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_insert_lsn() END::text"""
_LAG = """
    SELECT pg_wal_lsn_diff(now.lsn, s.restart_lsn)::bigint, pg_wal_lsn_diff(now.lsn, s.confirmed_flush_lsn)::bigint,
           (SELECT nullif(setting::bigint, -1) * 1024 * 1024 FROM pg_settings WHERE name = 'max_slot_wal_keep_size')
    FROM pg_replication_slots s, LATERAL (
        SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END AS lsn) now
    WHERE s.slot_name = %s"""
_PUBLISHED = """
    SELECT format('%%I.%%I', schemaname, tablename)::regclass::oid FROM pg_publication_tables WHERE pubname = %s"""


@dataclass(frozen=True)
class Names:
    """`own`: whether the publication is named by us, so that `drop` takes it away."""

    publication: str
    slot: str
    own_publication: bool
    own_slot: bool


def names_of(source: SourceSpec) -> Names:
    """As declared, or made of tenant and source. Raises ConfigError if streams disagree."""
    streams = captured_streams(source)
    publications = {s.sync.publication for s in streams}
    slots = {s.sync.slot for s in streams}
    if len(publications) > 1 or len(slots) > 1:
        raise ConfigError(
            "its captured streams name several publications or slots",
            where=f"source '{source.name}'",
            hint="A source has one of each: name the same in every stream, or declare two sources",
        )
    own = _own_name(source.tenant, source.name)
    publication, slot = publications.pop(), slots.pop()
    return Names(publication or own, slot or own, publication is None, slot is None)


def _own_name(tenant: str, source: str) -> str:
    """A name that no other source has. Where tenant and source cannot be read from it, a digest tells them apart."""
    plain = f"sis_{tenant}_{source}"
    name = re.sub(r"[^a-z0-9_]", "_", plain.lower())
    if name == plain and "_" not in tenant and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(f"{tenant}/{source}".encode()).hexdigest()[:8]
    return f"{name[: _LONGEST_NAME - 9]}_{digest}"


def published(db: Connection, publication: str) -> set[int]:
    """The tables of a publication, by their numbers."""
    return {int(oid) for (oid,) in db.execute(_PUBLISHED, (publication,))}


def exists(db: Connection, publication: str) -> bool:
    """Whether there is such a publication."""
    return db.execute("SELECT FROM pg_publication WHERE pubname = %s", (publication,)).fetchone() is not None


def create_publication(publication: str, streams: Sequence[StreamSpec]) -> sql.Composed:
    """The statement that makes it."""
    return sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)").format(
        sql.Identifier(publication), sql.SQL(", ").join(map(table_sql, streams))
    )


def add_tables(publication: str, streams: Sequence[StreamSpec]) -> sql.Composed:
    """The statement that adds tables to it."""
    return sql.SQL("ALTER PUBLICATION {} ADD TABLE {}").format(
        sql.Identifier(publication), sql.SQL(", ").join(map(table_sql, streams))
    )


def prepare(address: Address, source: SourceSpec, *, fresh: bool, begun: Collection[str]) -> None:
    """See `Feed.prepare`. The publication comes first: a slot cannot decode what was written before it."""
    names, streams = names_of(source), captured_streams(source)
    with writing(address) as db, driver_errors():
        is_there = exists(db, names.publication)
        there = published(db, names.publication) if is_there else set()
        lacking = [s for s in streams if table_oid(db, s) not in there]
        if missed := [s.name for s in lacking if s.name in begun]:
            raise LogLostError(
                f"the publication '{names.publication}' has not told of {', '.join(missed)} for a time",
                hint=f"Changes are missing: `sis capture resnapshot {source.name}.{missed[0]}` finds them",
            )
        if not is_there:
            db.execute(create_publication(names.publication, streams))
        elif lacking:
            db.execute(add_tables(names.publication, lacking))
        if fresh and db.execute(_SLOT, (names.slot,)).fetchone() is None:
            db.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (names.slot,))


def start_of(db: Connection, slot: str, resume: Resume) -> int:
    """Where the slot goes on. Raises LogLostError if that is later than what has landed."""
    found = db.execute(_SLOT, (slot,)).fetchone()
    hint = "Changes are missing: take new snapshots with `sis capture resnapshot`"
    if found is None:
        raise LogLostError(f"the replication slot '{slot}' is gone", hint=hint)
    confirmed, status, _ = found
    if status == "lost":
        raise LogLostError(
            f"the server has thrown away the log that the replication slot '{slot}' had kept",
            hint=f"{hint}, and raise max_slot_wal_keep_size",
        )
    if resume.position is not None and lsn_of(confirmed) > place_of(resume.position):
        raise LogLostError(
            f"somebody else has read from the replication slot '{slot}', or has made it anew",
            hint=f"{hint}; give this project a slot of its own (`sync: {{slot: …}}`)",
        )
    row = db.execute(_END).fetchone()
    if resume.position is not None and row is not None and place_of(resume.position) > lsn_of(row[0]):
        raise LogLostError("the server's log ends before what has landed: it is another server's", hint=hint)
    return lsn_of(confirmed)


def lag_of(db: Connection, slot: str) -> Lag:
    """How far the log is ahead of the slot."""
    row = db.execute(_LAG, (slot,)).fetchone()
    return Lag(0, 0) if row is None else Lag(int(row[0] or 0), int(row[1] or 0), row[2])


def drop(address: Address, source: SourceSpec) -> list[str]:
    """Takes slot and publication away, as far as they are named by us; what was there."""
    names, done = names_of(source), []
    with asking(address) as db, driver_errors():
        if names.own_slot and db.execute(_SLOT, (names.slot,)).fetchone() is not None:
            try:
                db.execute("SELECT pg_drop_replication_slot(%s)", (names.slot,))
            except errors.ObjectInUse:
                raise ConfigError(
                    f"the replication slot '{names.slot}' is being followed",
                    hint="Stop `sis capture run` first",
                ) from None
            done.append(f"replication slot {names.slot}")
    with writing(address) as db, driver_errors():
        if names.own_publication and exists(db, names.publication):
            db.execute(sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(names.publication)))
            done.append(f"publication {names.publication}")
    return done
