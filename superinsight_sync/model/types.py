"""The names of column types in declarations, and the Arrow types they stand for."""

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from superinsight_sync.core.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

MAX_DECIMAL_DIGITS = 38
VALID_TYPES = (
    "string, bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64, "
    "decimal(<digits>,<scale>), date, timestamp, timestamp_ntz, binary, list<type>, struct<name: type, …>"
)
_SYNONYMS = {
    **dict.fromkeys(("text", "str", "varchar", "utf8", "large_string", "string_view"), "string"),
    "boolean": "bool",
    "tinyint": "int8",
    "smallint": "int16",
    **dict.fromkeys(("int", "integer"), "int64"),
    "bigint": "int64",
    "real": "float32",
    **dict.fromkeys(("float", "double"), "float64"),
    "date32": "date",
    "date32[day]": "date",
    **dict.fromkeys(("timestamptz", "datetime", "timestamp[us,tz=utc]"), "timestamp"),
    **dict.fromkeys(("timestamp[us]", "datetime_ntz"), "timestamp_ntz"),
    **dict.fromkeys(("bytes", "blob", "large_binary"), "binary"),
}
_PLAIN = (
    *("string", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64", "date", "timestamp", "timestamp_ntz", "binary"),
)
_DECIMAL = re.compile(r"(?:decimal|numeric|decimal128)\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")


def arrow_type(text: str) -> "pa.DataType":
    """The Arrow type a declared type stands for: `int64`, `decimal(12,2)`, `timestamp`, `list<string>`.

    `timestamp` is microseconds in UTC, `timestamp_ntz` microseconds without a zone, `date` is days.
    Arrow's own texts of these types (`timestamp[us, tz=UTC]`, `decimal128(12, 2)`) are understood too,
    so that what `sis discover` prints can be declared. Case and spaces do not matter.

    Raises:
        ConfigError: naming the valid types, for anything else.
    """
    import pyarrow as pa

    bare = text.strip()
    name = bare.lower()
    if found := _DECIMAL.fullmatch(name):
        return _decimal(text, int(found.group(1)), int(found.group(2) or 0))
    if name.startswith("list<") and name.endswith(">"):
        return pa.list_(arrow_type(re.sub(r"^\s*(item|element)\s*:", "", bare[5:-1])))
    if name.startswith("struct<") and name.endswith(">"):
        return pa.struct([_field(text, part) for part in _split(bare[7:-1])])
    name = re.sub(r"\s+", "", name)
    name = _SYNONYMS.get(name, name)
    if name not in _PLAIN:
        raise _unknown(text)
    if name.startswith("timestamp"):
        return pa.timestamp("us", tz="UTC" if name == "timestamp" else None)
    return pa.type_for_alias("date32" if name == "date" else name)


def type_text(dtype: "pa.DataType") -> str:
    """The declared name of an Arrow type, the inverse of `arrow_type`; Arrow's own text if it has none."""
    import pyarrow as pa

    if pa.types.is_decimal128(dtype):
        return f"decimal({dtype.precision},{dtype.scale})"
    if pa.types.is_list(dtype):
        return f"list<{type_text(dtype.value_type)}>"
    if pa.types.is_struct(dtype):
        return f"struct<{', '.join(f'{f.name}: {type_text(f.type)}' for f in dtype)}>"
    text = str(dtype)
    key = re.sub(r"\s+", "", text.lower())
    name = "float32" if key == "float" else _SYNONYMS.get(key, key)
    return name if name in _PLAIN else text


def _decimal(text: str, digits: int, scale: int) -> "pa.DataType":
    import pyarrow as pa

    if not 1 <= digits <= MAX_DECIMAL_DIGITS or scale > digits:
        raise ConfigError(
            f"type '{text}' is out of bounds",
            hint=f"A decimal has 1 to {MAX_DECIMAL_DIGITS} digits and a scale of at most its digits",
        )
    return pa.decimal128(digits, scale)


def _field(whole: str, part: str) -> "pa.Field":
    import pyarrow as pa

    name, colon, kind = part.partition(":")
    if not colon or not name.strip():
        raise _unknown(whole)
    return pa.field(name.strip(), arrow_type(kind))


def _split(text: str) -> list[str]:
    """`a: int64, b: decimal(3,1)` at the commas outside brackets."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char in "<(") - (char in ">)")
        if char == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _unknown(text: str) -> ConfigError:
    known = [*_PLAIN, *_SYNONYMS, "decimal", "list", "struct"]
    close = get_close_matches(text.strip().lower(), known, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    return ConfigError(f"'{text}' is no column type", hint=f"{hint}Valid: {VALID_TYPES}")
