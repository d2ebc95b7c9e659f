"""Names of what a source has, checked against what is there, and names for streams of it."""

import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from difflib import get_close_matches

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.tables import is_system
from superinsight_sync.model.written import RESERVED_PREFIX


def not_there(noun: str, name: str, valid: Iterable[str]) -> ConfigError:
    """The error for a name that is not there, with close ones."""
    names = list(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    shown = ", ".join(sorted(names)[:20]) + (", …" if len(names) > 20 else "")
    return ConfigError(f"there is no {noun} '{name}'", hint=f"{hint}There are: {shown or 'none'}")


def need_columns(stream: StreamSpec, names: Sequence[str]) -> None:
    """Raises ConfigError if the stream's cursor or a column of its primary key is not among the names."""
    for name in (*((stream.sync.cursor,) if stream.sync.cursor else ()), *stream.primary_key):
        if name not in names:
            raise not_there("column", name, names)


def check_names(names: Iterable[str], where: str = "", own: Container[str] = ()) -> None:
    """Raises ConfigError for names that cannot be columns of one table.

    Args:
        own: columns that the source itself adds, under names of ours.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not name:
            raise ConfigError("a column has no name", where=where)
        if is_system(name) and name not in own:
            raise ConfigError(
                f"column '{name}' uses the reserved prefix {RESERVED_PREFIX}, which marks our own columns",
                where=where,
                hint="Give it another name at the source, or in a query: SELECT … AS another_name",
            )
        other = seen.get(name.lower())
        if other is not None:
            twice = f"column '{name}' is there twice"
            raise ConfigError(
                twice if other == name else f"columns '{other}' and '{name}' cannot be told apart",
                where=where,
                hint="Names must differ by more than upper and lower case: rename one at the source, or in a query",
            )
        seen[name.lower()] = name


def split_table(table: str, default_schema: str | None) -> tuple[str | None, str]:
    """``schema.table`` or ``table``; names with dots are quoted: ``"my.schema"."my.table"``."""
    parts = re.findall(r'"((?:[^"]|"")+)"|([^.]+)', table)
    names = [quoted.replace('""', '"') if quoted else bare.strip() for quoted, bare in parts]
    if len(names) > 2 or not names:
        raise ConfigError(f"'{table}' is no table name", hint="Write table or schema.table")
    return (names[0], names[1]) if len(names) == 2 else (default_schema, names[0])


CURSOR_WORDS = (
    "updated_at",
    "modified_at",
    "last_modified",
    "update_time",
    "modified",
    "changed_at",
    "created_at",
)


def likely_cursor(columns: Iterable[tuple[str, bool]]) -> str | None:
    """Of (name, is time) columns the one that most looks like a change time."""
    names = {name.lower(): name for name, is_time in columns if is_time}
    return next((names[w] for w in CURSOR_WORDS if w in names), None)


def stream_names(tables: Sequence[tuple[str, str]]) -> list[str]:
    """A valid, unique stream name for each (schema, table), in order."""
    plain = Counter(as_name(table, "t") for _, table in tables)
    taken: set[str] = set()
    names: list[str] = []
    for schema, table in tables:
        name = as_name(table, "t")
        names.append(untaken(name if plain[name] == 1 else as_name(f"{schema}_{table}", "t"), taken))
    return names


def topic_name(topic: str, taken: set[str]) -> str:
    """A stream name for a topic or an operation, by its words: `OrderLines` is `order_lines`."""
    return untaken(as_name(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", topic), "topic"), taken)


def as_name(text: str, prefix: str) -> str:
    """The text as a stream's name, which begins with a letter: with the prefix if the text does not."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return (name if name[:1].isalpha() else f"{prefix}_{name}")[:63].rstrip("_")


def untaken(name: str, taken: set[str]) -> str:
    """The name, with a number if it is in `taken`; what comes out is in it from now on."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name[:58]}_{number}"
    taken.add(unique)
    return unique
