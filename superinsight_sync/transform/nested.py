"""JSON text taken apart as SQL: fields by their paths, elements of arrays."""

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import literal

_LONG_NUMBER = r"-?[0-9.]{17,}(?:[eE][+-]?[0-9]+)?"


def is_kind(text: str, kind: str) -> str:
    """Whether a text is JSON of a kind: `OBJECT` or `ARRAY`. NULL and JSON's null are neither."""
    return f"coalesce(CASE WHEN json_valid({text}) THEN json_type({text}) = {literal(kind)} END, false)"


def wrong_kind(text: str, kind: str) -> str:
    """Whether there is something else."""
    null = f"coalesce(CASE WHEN json_valid({text}) THEN json_type({text}) = 'NULL' END, false)"
    return f"{text} IS NOT NULL AND NOT {null} AND NOT {is_kind(text, kind)}"


def loses_digits(text: str) -> str:
    """Whether a number in it has more digits than DuckDB's JSON keeps of it."""
    long = literal(_LONG_NUMBER)
    kept = f"regexp_extract_all(CAST(json_extract({text}, '$') AS VARCHAR), {long})"
    return (
        f"CASE WHEN regexp_matches({text}, {long}) AND json_valid({text}) "
        f"THEN regexp_extract_all({text}, {long}) <> {kept} END"
    )


def field(text: str, path: str) -> str:
    """The text of a field of a JSON object; NULL if it is not there. Objects and arrays are given as JSON text."""
    return (
        f"CASE WHEN {is_kind(text, 'OBJECT')} THEN json_extract_string({text}, {literal(pointer(path))}) END"
    )


def elements(text: str) -> str:
    """The texts of an array's elements."""
    return f"CASE WHEN {is_kind(text, 'ARRAY')} THEN json_extract_string({text}, '$[*]') END"


def pointer(path: str) -> str:
    """A JSON pointer (RFC 6901) of a path such as `author.name` or `items.0.sku`. Raises ConfigError."""
    parts = path.split(".")
    if not all(parts):
        raise ConfigError(f"'{path}' is no path", hint="Write fields with points between them: author.name")
    return "".join("/" + p.replace("~", "~0").replace("/", "~1") for p in parts)
