"""What MariaDB's catalogue says of tables that are captured."""

import json
from dataclasses import dataclass
from typing import Any

from superinsight_sync.databases.mysql_catalogue import Connection, rows_of
from superinsight_sync.databases.mysql_types import quoted
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.naming import split_table

_COLUMNS = """
    SELECT COLUMN_NAME, LOWER(DATA_TYPE), COLUMN_TYPE, IS_NULLABLE = 'YES', CHARACTER_SET_NAME,
           IS_GENERATED = 'ALWAYS', COLUMN_DEFAULT
    FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION"""


@dataclass(frozen=True)
class TableColumn:
    """A column as the catalogue has it."""

    name: str
    kind: str
    declared: str
    nullable: bool
    charset: str | None
    computed: bool
    default: str | None


def place_of(db: Connection, stream: StreamSpec) -> tuple[str, str]:
    """The stream's database and table."""
    schema, table = split_table(stream.table or "", None)
    return schema or str(rows_of(db, "SELECT DATABASE()")[0][0] or ""), table


def quoted_place(place: tuple[str, str]) -> str:
    """Database and table as a statement names them."""
    return ".".join(map(quoted, place))


def table_columns(db: Connection, place: tuple[str, str]) -> tuple[TableColumn, ...]:
    """Its columns; none if there is no such table, or the account may not see it."""
    return tuple(
        TableColumn(str(name), str(kind), str(declared), bool(nullable), charset, bool(computed), default)
        for name, kind, declared, nullable, charset, computed, default in rows_of(db, _COLUMNS, place)
    )


def shape_of(columns: tuple[TableColumn, ...]) -> str:
    """What they are, as a text."""
    found: list[Any] = [[c.name, c.declared, c.nullable, c.default, c.charset] for c in columns]
    return json.dumps(found)
