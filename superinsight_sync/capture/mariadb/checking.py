"""What a MariaDB server needs for its binlog to be followed, looked at without changing anything."""

from collections.abc import Iterator, Sequence
from typing import Any

import pymysql

from superinsight_sync.capture.mariadb.catalogue import TableColumn, place_of, quoted_place, table_columns
from superinsight_sync.capture.mariadb.connecting import file_number
from superinsight_sync.capture.mariadb.images import CHARSETS, OWN_BYTES, WORD_CHARSETS
from superinsight_sync.capture.protocol import Finding, captured_streams
from superinsight_sync.databases.mysql_catalogue import Connection, describe, rows_of, version_of
from superinsight_sync.databases.mysql_types import quoted
from superinsight_sync.model.declaration import SourceSpec, StreamSpec

_WANTED = {
    "binlog_format": (
        "ROW",
        "SET GLOBAL binlog_format = 'ROW'; -- and in the server's settings; new sessions take it",
    ),
    "binlog_row_image": ("FULL", "SET GLOBAL binlog_row_image = 'FULL'; -- and in the server's settings"),
    "binlog_row_metadata": (
        "FULL",
        "SET GLOBAL binlog_row_metadata = 'FULL'; -- and in the server's settings",
    ),
    "mysql56_temporal_format": ("ON", "SET GLOBAL mysql56_temporal_format = ON; -- then ALTER TABLE … FORCE"),
}
_ENGINE = (
    "SELECT ENGINE, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
)
_UNIQUE = """
    SELECT INDEX_NAME, COLUMN_NAME, SUB_PART IS NOT NULL FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX"""
_CASCADES = """
    SELECT CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
    WHERE CONSTRAINT_SCHEMA = %s AND TABLE_NAME = %s
      AND (DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION') OR UPDATE_RULE NOT IN ('RESTRICT', 'NO ACTION'))"""
_UNPAGED = frozenset({"enum", "set", "float", "double", "bit", "json", "time", "year"})
_NO_RIGHT = frozenset({1142, 1143, 1044, 1227})
_FOLLOWS = ("REPLICATION SLAVE", "REPLICATION REPLICA", "ALL PRIVILEGES")


def findings(db: Connection, source: SourceSpec) -> Iterator[Finding]:
    """Each thing that was looked at."""
    version = version_of(db)
    if "mariadb" not in version.lower():
        yield Finding(
            f"this is MySQL {version.split('-')[0]}, whose binlog cannot be captured yet: MariaDB's can",
            "missing",
        )
        return
    yield Finding(f"MariaDB {version.split('-')[0]}")
    yield from _server(db)
    yield from _rights(db)
    seen: dict[tuple[str, str], str] = {}
    for stream in captured_streams(source):
        place = place_of(db, stream)
        yield from _table(db, stream, place)
        if seen.setdefault(place, stream.name) != stream.name:
            yield Finding(
                f"'{seen[place]}' and '{stream.name}' are streams of one table: keep one", "missing"
            )


def _variable(db: Connection, name: str) -> str:
    rows = rows_of(db, "SHOW GLOBAL VARIABLES WHERE Variable_name = %s", (name,))
    return str(rows[0][1]) if rows else ""


def _server(db: Connection) -> Iterator[Finding]:
    if _variable(db, "log_bin") != "ON":
        yield Finding(
            "log_bin is OFF: the server writes no binlog",
            "missing",
            "-- in the server's settings, [mariadb]: log_bin, server_id = 1; then restart the server",
        )
        return
    for name, (wanted, statement) in _WANTED.items():
        found = _variable(db, name)
        ok = found.upper() == wanted
        yield Finding(f"{name} is {found or 'unknown'}", "ok" if ok else "missing", "" if ok else statement)
    if _variable(db, "gtid_strict_mode") != "ON":
        yield Finding(
            "gtid_strict_mode is OFF: numbers of transactions may go backwards, and then the capture stops",
            "warning",
            "SET GLOBAL gtid_strict_mode = ON; -- and in the server's settings",
        )
    if (_variable(db, "innodb_flush_log_at_trx_commit"), _variable(db, "sync_binlog")) != ("1", "1"):
        yield Finding(
            "innodb_flush_log_at_trx_commit or sync_binlog is not 1: after a crash of the server, its tables may lack "
            "what its binlog has",
            "warning",
            "SET GLOBAL innodb_flush_log_at_trx_commit = 1, sync_binlog = 1; -- and in the server's settings",
        )
    seconds = _variable(db, "binlog_expire_logs_seconds") or "0"
    if 0 < float(seconds) < 86_400:
        yield Finding(
            f"the server keeps its binlog for {int(float(seconds)) // 60} minutes: a capture that stands still for "
            "longer has to take new snapshots",
            "warning",
            "SET GLOBAL binlog_expire_logs_seconds = 604800;",
        )


def _rights(db: Connection) -> Iterator[Finding]:
    account = str(rows_of(db, "SELECT CURRENT_USER()")[0][0])
    user, _, host = account.rpartition("@")
    quoted_account = f"{quoted(user)}@{quoted(host)}"
    grants = [
        str(row[0]).split(" ON *.*")[0] for row in rows_of(db, "SHOW GRANTS") if " ON *.*" in str(row[0])
    ]
    if any(right in grant for grant in grants for right in _FOLLOWS):
        yield Finding(f"the account {quoted_account} may follow the log")
    else:
        yield Finding(
            f"the account {quoted_account} may not follow the log",
            "missing",
            f"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {quoted_account};",
        )


def _table(db: Connection, stream: StreamSpec, place: tuple[str, str]) -> Iterator[Finding]:
    table = quoted_place(place)
    columns = table_columns(db, place)
    if not columns:
        user, _, host = str(rows_of(db, "SELECT CURRENT_USER()")[0][0]).rpartition("@")
        yield Finding(
            f"there is no table {table}, or the account may not read it",
            "missing",
            f"GRANT SELECT ON {table} TO {quoted(user)}@{quoted(host)}; -- if the table is there",
        )
        return
    (engine, kind), *_ = rows_of(db, _ENGINE, place)
    if kind != "BASE TABLE":
        yield Finding(f"{table} is a {str(kind).lower()}, of which the log does not tell all", "missing")
        return
    if engine != "InnoDB":
        yield Finding(
            f"{table} is of the engine {engine}, which has no consistent snapshots",
            "missing",
            f"ALTER TABLE {table} ENGINE = InnoDB;",
        )
    if cascades := rows_of(db, _CASCADES, place):
        yield Finding(
            f"{table}: what its foreign key {cascades[0][0]} cascades is in no log",
            "missing",
            f"ALTER TABLE {table} DROP FOREIGN KEY {quoted(str(cascades[0][0]))}; -- and add it with RESTRICT",
        )
    if not _may_read(db, stream):
        yield Finding(f"{table} may not be read", "missing", f"GRANT SELECT ON {table} TO CURRENT_USER();")
    yield from _columns(table, stream, columns)
    yield from _key(db, stream, place, columns)


def _may_read(db: Connection, stream: StreamSpec) -> bool:
    try:
        describe(db, stream)
    except pymysql.Error as error:
        if error.args and error.args[0] in _NO_RIGHT:
            return False
        raise
    return True


def _columns(table: str, stream: StreamSpec, columns: Sequence[TableColumn]) -> Iterator[Finding]:
    if absent := [c.name for c in columns if c.computed]:
        yield Finding(f"{table}: computed columns are left out: {', '.join(absent)}", "warning")
    seen: dict[str, str] = {}
    for column in columns:
        if (other := seen.setdefault(column.name.lower(), column.name)) != column.name:
            yield Finding(
                f"{table}: the lake cannot tell the columns '{other}' and '{column.name}' apart", "missing"
            )
        if column.kind in OWN_BYTES and not column.computed:
            yield Finding(
                f"{table}: '{column.name}' is {column.kind}, which cannot be read from the log", "missing"
            )
        words = column.kind in ("enum", "set") and not column.declared.isascii()
        if column.charset is not None and column.charset not in (WORD_CHARSETS if words else CHARSETS):
            yield Finding(
                f"{table}: '{column.name}' has the character set {column.charset}, which cannot be read from the log",
                "missing",
                f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4;",
            )


def _key(
    db: Connection, stream: StreamSpec, place: tuple[str, str], columns: Sequence[TableColumn]
) -> Iterator[Finding]:
    table, key = quoted_place(place), stream.primary_key
    known = {c.name: c for c in columns}
    add = f"ALTER TABLE {table} ADD PRIMARY KEY ({', '.join(map(quoted, key))});"
    indexes: dict[str, list[tuple[str, bool]]] = {}
    for index, column, is_part in rows_of(db, _UNIQUE, place):
        indexes.setdefault(str(index), []).append((str(column), bool(is_part)))
    unique = any(
        not any(part for _, part in parts) and {name for name, _ in parts} <= set(key)
        for parts in indexes.values()
    )
    if bad := [k for k in key if k not in known or known[k].nullable]:
        yield Finding(
            f"{table}: '{bad[0]}' of the declared primary_key is not there, or may be NULL", "missing", add
        )
    elif not unique:
        statement = (
            f"ALTER TABLE {table} ADD UNIQUE ({', '.join(map(quoted, key))});"
            if "PRIMARY" in indexes
            else add
        )
        yield Finding(f"{table}: no index keeps ({', '.join(key)}) unique", "missing", statement)
    elif odd := [k for k in key if known[k].kind in _UNPAGED or known[k].computed]:
        yield Finding(
            f"{table}: '{odd[0]}' of the primary_key is {known[odd[0]].kind}, by which no snapshot can go",
            "missing",
        )
    else:
        yield Finding(f"{table} has the key ({', '.join(key)})")


def bytes_behind(db: Connection, place: tuple[int, int]) -> int:
    """How much log the server has behind a place; 0 if the account may not know."""
    try:
        files: list[tuple[Any, ...]] = rows_of(db, "SHOW BINARY LOGS")
    except pymysql.Error as error:
        if error.args and error.args[0] in _NO_RIGHT:
            return 0
        raise
    sizes = {file_number(row[0]): int(row[1]) for row in files}
    return max(0, sum(size for number, size in sizes.items() if number >= place[0]) - place[1])
