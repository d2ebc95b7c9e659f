"""What a PostgreSQL server needs for its log to be followed, looked at without changing anything."""

from collections.abc import Iterator
from typing import Any

from psycopg import sql

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
_KEYS = """
    SELECT c.relreplident::text, has_table_privilege(c.oid, 'SELECT'), pg_has_role(c.relowner, 'USAGE'),
           c.relkind::text, c.relpersistence::text,
           (SELECT array_agg(a.attname ORDER BY k.n) FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(num, n)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.num
            WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END),
           (SELECT array_agg(a.attname) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attnotnull)
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
    for stream in captured_streams(source):
        yield from _table(db, stream)
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


def _table(db: Connection, stream: StreamSpec) -> Iterator[Finding]:
    oid = table_oid(db, stream)
    table = table_sql(stream).as_string(db)
    if oid is None:
        yield Finding(f"there is no table {table}, or the account may not see its schema", "missing")
        return
    identity, may_read, _, kind, persistence, key, required = _one(db, _KEYS, oid)
    quoted_role = (
        "CURRENT_ROLE" if may_read else sql.Identifier(_one(db, "SELECT current_user")).as_string(db)
    )
    if absent := not_in_log(db, stream):
        names = ", ".join(sorted(absent))
        yield Finding(f"{table}: computed columns are in no log and are left out: {names}", "warning")
    if kind == "p":
        yield Finding(
            f"{table} is partitioned: that a single partition is truncated, dropped or detached is in no log",
            "warning",
        )
    if kind not in "rp":
        yield Finding(f"{table} is no table: views and foreign tables are in no log", "missing")
        return
    if persistence != "p":
        yield Finding(f"{table} is unlogged or temporary", "missing", f"ALTER TABLE {table} SET LOGGED;")
    if not may_read:
        yield Finding(f"{table} may not be read", "missing", f"GRANT SELECT ON {table} TO {quoted_role};")
    wanted = ", ".join(sql.Identifier(k).as_string(db) for k in stream.primary_key)
    nullable = [k for k in stream.primary_key if k not in (required or ())]
    if nullable:
        yield Finding(
            f"{table}: '{nullable[0]}' of the declared primary_key may be NULL",
            "missing",
            f"ALTER TABLE {table} ADD PRIMARY KEY ({wanted});",
        )
    elif identity == "n" and key:
        yield Finding(
            f"{table} has no key in its log: its replica identity is NOTHING",
            "missing",
            f"ALTER TABLE {table} REPLICA IDENTITY DEFAULT;",
        )
    elif identity != "f" and not key:
        yield Finding(
            f"{table} has no key in its log: updates and deletes of it would fail once it is published",
            "missing",
            f"ALTER TABLE {table} ADD PRIMARY KEY ({wanted}); -- or: ALTER TABLE {table} REPLICA IDENTITY FULL;",
        )
    elif identity != "f" and not set(stream.primary_key) <= set(key):
        yield Finding(
            f"{table} has the key ({', '.join(key)}) in its log, declared is ({', '.join(stream.primary_key)})",
            "missing",
            f"ALTER TABLE {table} REPLICA IDENTITY FULL; -- or declare primary_key: [{', '.join(key)}]",
        )
    else:
        yield Finding(f"{table} has the key ({', '.join(stream.primary_key)}) in its log")


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
    return all(_one(db, _KEYS, table_oid(db, s))[2] for s in streams)
