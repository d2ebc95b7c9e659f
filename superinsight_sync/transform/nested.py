"""JSON text taken apart as SQL: fields by their paths, elements of arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import literal, quote
from superinsight_sync.transform.numbers import let

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Leaf:
    """How a plain type is made of a text.

    Attributes:
        value: the SQL that does; None if there is none.
        text: SQL that leaves a text as it is, or is NULL where the text means that.
    """

    value: Callable[[str, "pa.DataType"], str | None]
    text: Callable[[str], str]


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
    return "".join(map(_pointer_of, parts))


def _pointer_of(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def as_nested(text: str, dtype: "pa.DataType", leaf: Leaf) -> str | None:
    """A list or struct out of JSON text, NULL where it is none; None if `leaf` cannot make one of its types.

    A list takes arrays only. A struct takes objects without a value in another field; fields that are missing are
    NULL. What is inside becomes a plain type by its text.
    """
    if (made := _as_type(text, dtype, leaf, 0)) is None:
        return None
    value, fails = made
    kept = f"json_valid({text}) AND NOT coalesce({loses_digits(text)}, false)"
    return f"CASE WHEN {kept} AND NOT {fails} THEN {value} END"


def _as_type(cell: str, dtype: "pa.DataType", leaf: Leaf, depth: int) -> tuple[str, str] | None:
    """The value of a JSON cell, and whether it is not of the type. JSON's null is NULL."""
    import pyarrow.types as t

    if t.is_list(dtype):
        return _as_list(cell, dtype.value_type, leaf, depth)
    if t.is_struct(dtype):
        return _as_struct(cell, dtype, leaf, depth)
    text = f"t{depth}"
    if (value := leaf.value(text, dtype)) is None:
        return None
    written = leaf.text(f"json_extract_string({cell}, '$')")
    made = let(text, written, value)
    return made, f"({written} IS NOT NULL AND {made} IS NULL)"


def _as_list(cell: str, inner: "pa.DataType", leaf: Leaf, depth: int) -> tuple[str, str] | None:
    element = f"e{depth}"
    if (made := _as_type(element, inner, leaf, depth + 1)) is None:
        return None
    elements = f"TRY_CAST({cell} AS JSON[])"
    value = (
        f"CASE WHEN {is_kind(cell, 'ARRAY')} THEN list_transform({elements}, lambda {element}: {made[0]}) END"
    )
    wrong = f"coalesce(list_bool_or(list_transform({elements}, lambda {element}: {made[1]})), false)"
    return value, f"({wrong_kind(cell, 'ARRAY')} OR {is_kind(cell, 'ARRAY')} AND {wrong})"


def _as_struct(cell: str, dtype: "pa.DataType", leaf: Leaf, depth: int) -> tuple[str, str] | None:
    values, wrong = [], []
    for field in dtype:
        found = f"json_extract({cell}, {literal(_pointer_of(field.name))})"
        if (made := _as_type(found, field.type, leaf, depth + 1)) is None:
            return None
        values.append(f"{quote(field.name)} := {made[0]}")
        wrong.append(made[1])
    key, known = f"k{depth}", ", ".join(literal(f.name) for f in dtype)
    place = f"'/' || replace(replace({key}, '~', '~0'), '/', '~1')"
    there = f"coalesce(json_type(json_extract({cell}, {place})), 'NULL') <> 'NULL'"
    strange = f"list_filter(json_keys({cell}), lambda {key}: NOT list_contains([{known}], {key}) AND {there})"
    twice = f"len(json_keys({cell})) <> len(list_distinct(json_keys({cell})))"
    value = f"CASE WHEN {is_kind(cell, 'OBJECT')} THEN struct_pack({', '.join(values)}) END"
    inside = " OR ".join([f"len({strange}) > 0", twice, *wrong])
    return value, f"({wrong_kind(cell, 'OBJECT')} OR {is_kind(cell, 'OBJECT')} AND ({inside}))"
