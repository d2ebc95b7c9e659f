"""What a PostgreSQL server needs for its log to be followed, looked at without changing anything."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from superinsight_sync.capture.postgres.catalogue import not_in_log, table_oid, table_sql
from superinsight_sync.capture.postgres.connecting import Connection
from superinsight_sync.capture.postgres.making import (
    Names,
    add_tables,
    create_publication,
    exists,
    names_of,
    published,
)
from superinsight_sync.capture.protocol import Finding, captured_streams
from superinsight_sync.model.declaration import SourceSpec, StreamSpec

_OLDEST = 140_000
_FILTERS = 150_000
"""Publications can leave out rows and columns from this version on."""
_ROLE = "SELECT rolname, rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user"
_SLOTS = """
    SELECT plugin, database = current_database(), wal_status, active, slot_type
    FROM pg_replication_slots WHERE slot_name = %s"""
_TABLE = """
    SELECT c.relreplident::text AS identity, has_table_privilege(c.oid, 'SELECT') AS readable,
           pg_has_role(c.relowner, 'USAGE') AS owned, c.relkind::text AS kind, c.relpersistence::text AS persistence,
           EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid) AS has_children,
           (SELECT json_agg(json_build_array(a.attname, a.attnotnull, t.typcategory) ORDER BY a.attnum)
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
           (SELECT json_agg(json_build_array(
                i.indisprimary, i.indisreplident, i.indimmediate,
                (SELECT json_agg(a.attname ORDER BY k.n) FROM unnest(i.indkey) WITH ORDINALITY k(num, n)
                 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.num WHERE k.n <= i.indnkeyatts)))
            FROM pg_index i
            WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
              AND i.indpred IS NULL AND i.indexprs IS NULL) AS indexes
    FROM pg_class c WHERE c.oid = %s"""
_PUBLICATION = """
    SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot FROM pg_publication WHERE pubname = %s"""
_FILTERED = """
    SELECT prrelid::regclass::text FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
    WHERE p.pubname = %s AND (prqual IS NOT NULL OR prattrs IS NOT NULL)"""
_PARTS = "SELECT relispartition OR relkind = 'p' FROM pg_class WHERE oid = %s"


def findings(db: Connection, source: SourceSpec) -> Iterator[Finding]:
    """Each thing that was looked at."""
    names = names_of(source)
    version = db.info.server_version
    if version < _OLDEST:
        yield Finding(
            f"PostgreSQL {version // 10_000} cannot put marks into its log: 14 or newer is needed", "missing"
        )
        return
    yield Finding(f"PostgreSQL {version // 10_000}")
    yield from _server(db, names)
    seen: dict[int | None, str] = {}
    for stream in captured_streams(source):
        yield from _table(db, stream)
        oid = table_oid(db, stream)
        if oid is not None and seen.setdefault(oid, stream.name) != stream.name:
            yield Finding(f"'{seen[oid]}' and '{stream.name}' are streams of one table: keep one", "missing")
    yield from _publication(db, source, names)


def _one(db: Connection, query: str, *values: Any) -> Any:
    row = db.execute(query.encode(), values or None).fetchone()
    return None if row is None else row[0] if len(row) == 1 else row


def _server(db: Connection, names: Names) -> Iterator[Finding]:
    level = _one(db, "SHOW wal_level")
    if level != "logical":
        yield Finding(
            f"wal_level is {level}: the log does not hold what changed",
            "missing",
            "ALTER SYSTEM SET wal_level = logical; -- then restart the server",
        )
    else:
        yield Finding("wal_level is logical")
    role, may = _one(db, _ROLE)
    if not may:
        quoted = sql.Identifier(role).as_string(db)
        yield Finding(
            f"the account '{role}' may not follow the log", "missing", f"ALTER ROLE {quoted} REPLICATION;"
        )
    else:
        yield Finding(f"the account '{role}' may follow the log")
    slot = db.execute(_SLOTS, (names.slot,)).fetchone()
    if slot is None:
        yield from _free_slot(db)
    else:
        yield from _slot(slot, names.slot)
    keep = _one(db, "SHOW max_slot_wal_keep_size")
    if keep == "-1":
        yield Finding(
            "max_slot_wal_keep_size is -1: a capture that stands still can fill the server's disk",
            "warning",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf();",
        )
    else:
        yield Finding(f"the server keeps at most {keep} of log for a slot")


def _slot(slot: Any, name: str) -> Iterator[Finding]:
    plugin, same_database, status, active, kind = slot
    if kind != "logical" or plugin != "pgoutput" or not same_database:
        yield Finding(
            f"the slot '{name}' is of another kind, plugin or database: name another (`sync: {{slot: …}}`)",
            "missing",
        )
    elif status == "lost":
        yield Finding(
            f"the slot '{name}' has lost its log: `sis capture resnapshot` makes it anew", "warning"
        )
    else:
        yield Finding(f"the slot '{name}' is there" + (", and is being followed" if active else ""))


def _free_slot(db: Connection) -> Iterator[Finding]:
    for setting, used in (
        ("max_replication_slots", "SELECT count(*) FROM pg_replication_slots"),
        ("max_wal_senders", "SELECT count(*) FROM pg_stat_replication"),
    ):
        most, taken = int(_one(db, f"SHOW {setting}")), int(_one(db, used))
        if taken >= most:
            yield Finding(
                f"all {most} of {setting} are in use",
                "missing",
                f"ALTER SYSTEM SET {setting} = {most + 5}; -- then restart the server",
            )
        else:
            yield Finding(f"{most - taken} of {most} {setting} are free")


@dataclass(frozen=True)
class _Table:
    """What the catalogue says of a table.

    Attributes:
        columns: name, whether NOT NULL, category of its type.
        indexes: of those that make records unique: whether it is the primary key, whether it was chosen as replica
            identity, whether it is checked at once, its columns.
    """

    identity: str
    readable: bool
    owned: bool
    kind: str
    persistence: str
    has_children: bool
    columns: list[tuple[str, bool, str]] | None
    indexes: list[tuple[bool, bool, bool, list[str]]] | None

    @classmethod
    def of(cls, db: Connection, oid: int | None) -> "_Table":
        with db.cursor(row_factory=class_row(cls)) as cursor:
            found = cursor.execute(_TABLE, (oid,)).fetchone()
        assert found is not None
        return found

    @property
    def logged(self) -> list[str]:
        """The columns that the log has of a record that was changed or deleted."""
        if self.identity == "f":
            return [name for name, *_ in self.columns or ()]
        for is_primary, is_identity, at_once, names in self.indexes or ():
            if at_once and (is_identity if self.identity == "i" else is_primary and self.identity == "d"):
                return names
        return []

    @property
    def has_primary_key(self) -> bool:
        return any(is_primary for is_primary, *_ in self.indexes or ())

    def is_unique(self, names: Collection[str]) -> bool:
        """Whether no two records have the same values there, at any moment."""
        return any(at_once and set(own) <= set(names) for _, _, at_once, own in self.indexes or ())


def _table(db: Connection, stream: StreamSpec) -> Iterator[Finding]:
    oid = table_oid(db, stream)
    table = table_sql(stream).as_string(db)
    if oid is None:
        yield Finding(f"there is no table {table}, or the account may not see its schema", "missing")
        return
    found = _Table.of(db, oid)
    if found.kind not in "rp":
        yield Finding(f"{table} is no table: views and foreign tables are in no log", "missing")
        return
    if absent := not_in_log(db, stream):
        names = ", ".join(sorted(absent))
        yield Finding(f"{table}: computed columns are in no log and are left out: {names}", "warning")
    if found.kind == "p":
        yield Finding(
            f"{table} is partitioned: that a single partition is truncated, dropped or detached is in no log",
            "warning",
        )
    elif found.has_children:
        yield Finding(
            f"{table} has tables that inherit from it: capture those, as streams of their own", "missing"
        )
    if found.persistence != "p":
        yield Finding(f"{table} is unlogged or temporary", "missing", f"ALTER TABLE {table} SET LOGGED;")
    if not found.readable:
        role = sql.Identifier(_one(db, "SELECT current_user")).as_string(db)
        yield Finding(f"{table} may not be read", "missing", f"GRANT SELECT ON {table} TO {role};")
    yield from _columns(table, stream, found)
    yield from _key(db, table, stream, found)


def _columns(table: str, stream: StreamSpec, found: _Table) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name, _, category in found.columns or ():
        if (other := seen.setdefault(name.lower(), name)) != name:
            yield Finding(
                f"{table}: the lake cannot tell the columns '{other}' and '{name}' apart", "missing"
            )
        if name in stream.primary_key and category == "A":
            yield Finding(f"{table}: '{name}' of the declared primary_key is an array", "missing")


def _key(db: Connection, table: str, stream: StreamSpec, found: _Table) -> Iterator[Finding]:
    key = stream.primary_key
    wanted = ", ".join(sql.Identifier(k).as_string(db) for k in key)
    add = f"ALTER TABLE {table} ADD PRIMARY KEY ({wanted});"
    required = [name for name, is_required, _ in found.columns or () if is_required]
    if nullable := [k for k in key if k not in required]:
        yield Finding(f"{table}: '{nullable[0]}' of the declared primary_key may be NULL", "missing", add)
        return
    if not found.logged and not found.has_primary_key and found.identity == "d":
        what = "has no key in its log: updates and deletes of it would fail once it is published"
        yield Finding(f"{table} {what}", "missing", add)
        return
    unique = found.is_unique(key)
    if not unique:
        yield Finding(
            f"{table}: no index keeps ({', '.join(key)}) unique at every moment; one that is DEFERRABLE does not",
            "missing",
            f"CREATE UNIQUE INDEX ON {table} ({wanted});" if found.has_primary_key else add,
        )
    if set(key) <= set(found.logged):
        if unique:
            yield Finding(f"{table} has the key ({', '.join(key)}) in its log")
    elif found.identity == "n" and found.has_primary_key:
        yield Finding(
            f"{table} has no key in its log: its replica identity is NOTHING",
            "missing",
            f"ALTER TABLE {table} REPLICA IDENTITY DEFAULT;",
        )
    else:
        logged = f"the key ({', '.join(found.logged)})" if found.logged else "no key"
        yield Finding(
            f"{table} has {logged} in its log, declared is ({', '.join(key)})",
            "missing",
            f"ALTER TABLE {table} REPLICA IDENTITY FULL;",
        )


def _publication(db: Connection, source: SourceSpec, names: Names) -> Iterator[Finding]:
    streams = [s for s in captured_streams(source) if table_oid(db, s) is not None]
    if not exists(db, names.publication):
        yield from _to_make(db, names, streams)
        return
    quoted = sql.Identifier(names.publication).as_string(db)
    whole, via_root = _one(db, _PUBLICATION, names.publication)
    if not whole:
        yield Finding(
            f"the publication '{names.publication}' leaves out some kinds of changes",
            "missing",
            f"ALTER PUBLICATION {quoted} SET (publish = 'insert, update, delete, truncate');",
        )
    parts = [s for s in streams if _one(db, _PARTS, table_oid(db, s))]
    if parts and not via_root:
        yield Finding(
            f"the publication '{names.publication}' tells of partitions, not of the tables that have them",
            "missing",
            f"ALTER PUBLICATION {quoted} SET (publish_via_partition_root = true);",
        )
        return
    if db.info.server_version >= _FILTERS and (
        filtered := db.execute(_FILTERED, (names.publication,)).fetchall()
    ):
        tables = ", ".join(t for (t,) in filtered)
        yield Finding(
            f"the publication '{names.publication}' leaves out rows or columns of {tables}",
            "missing",
            f"ALTER PUBLICATION {quoted} SET TABLE {', '.join(table_sql(s).as_string(db) for s in streams)};",
        )
    there = published(db, names.publication)
    lacking = [s for s in streams if table_oid(db, s) not in there]
    if not lacking:
        yield Finding(f"the publication '{names.publication}' has the tables")
        return
    owner = _one(
        db, "SELECT pg_has_role(pubowner, 'USAGE') FROM pg_publication WHERE pubname = %s", names.publication
    )
    statement = add_tables(names.publication, lacking).as_string(db) + ";"
    yield Finding(
        f"the publication '{names.publication}' lacks {', '.join(s.table or '' for s in lacking)}"
        + (": the capture adds it when it begins" if owner and _owns(db, lacking) else ""),
        "ok" if owner and _owns(db, lacking) else "missing",
        statement,
    )


def _to_make(db: Connection, names: Names, streams: list[StreamSpec]) -> Iterator[Finding]:
    if not streams:
        return
    may = bool(_one(db, "SELECT has_database_privilege(current_database(), 'CREATE')")) and _owns(db, streams)
    statement = create_publication(names.publication, streams).as_string(db) + ";"
    if may:
        yield Finding(
            f"the publication '{names.publication}' is made when the capture begins", "ok", statement
        )
    else:
        yield Finding(
            f"there is no publication '{names.publication}', and the account may not make one",
            "missing",
            statement,
        )


def _owns(db: Connection, streams: list[StreamSpec]) -> bool:
    return all(_Table.of(db, table_oid(db, s)).owned for s in streams)
