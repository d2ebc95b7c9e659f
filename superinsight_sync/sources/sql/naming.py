"""Names of tables and columns, checked against what is there."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from superinsight_sync.core.errors import ConfigError


def not_there(noun: str, name: str, valid: Iterable[str]) -> ConfigError:
    """The error for a name that is not there, with close ones."""
    names = list(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    shown = ", ".join(sorted(names)[:20]) + (", …" if len(names) > 20 else "")
    return ConfigError(f"there is no {noun} '{name}'", hint=f"{hint}There are: {shown or 'none'}")


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
    plain = Counter(_as_name(table) for _, table in tables)
    names: list[str] = []
    for schema, table in tables:
        name = _as_name(table)
        name = name if plain[name] == 1 else _as_name(f"{schema}_{table}")
        unique, number = name, 2
        while unique in names:
            unique, number = f"{name[:58]}_{number}", number + 1
        names.append(unique)
    return names


def _as_name(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return (name if name[:1].isalpha() else f"t_{name}")[:63].rstrip("_")
