"""SQLite's declared types → Arrow, by affinity (https://www.sqlite.org/datatype3.html, section 3.1).

SQLite lets a column hold values of other types than declared. INTEGER columns are read as 64-bit
integers, REAL as floats, BLOB as binary, BOOLEAN as booleans, everything else (text, dates, decimals, no
type) as exact text. A value that does not fit is never converted in silence: the read stops and says
which column holds how many of them.
"""

from typing import Literal

import pyarrow as pa

from superinsight_sync.core.errors import DataError
from superinsight_sync.core.utf8_check import check_text
from superinsight_sync.model.read import Column

Family = Literal["integer", "real", "blob", "boolean", "text"]

_ARROW: dict[Family, pa.DataType] = {
    "integer": pa.int64(),
    "real": pa.float64(),
    "blob": pa.binary(),
    "boolean": pa.bool_(),
    "text": pa.string(),
}
SENTINELS: dict[Family, str] = {"integer": "0", "real": "0.0", "blob": "x''", "boolean": "0", "text": "''"}

_FITS: dict[Family, str] = {
    "integer": "typeof({0}) IN ('integer', 'null')",
    "real": "typeof({0}) IN ('real', 'null') OR (typeof({0}) = 'integer' AND abs({0}) <= 9007199254740992)",
    "blob": "typeof({0}) IN ('blob', 'null')",
    "boolean": "{0} IS NULL OR (typeof({0}) = 'integer' AND {0} IN (0, 1))",
    "text": "typeof({0}) <> 'blob'",
}
_READ: dict[Family, str] = {
    "integer": "{0}",
    "real": "CAST({0} AS REAL)",
    "blob": "{0}",
    "boolean": "{0}",
    "text": "CASE WHEN typeof({0}) <> 'real' THEN CAST({0} AS TEXT)"
    " WHEN CAST(CAST({0} AS TEXT) AS REAL) = {0} THEN CAST({0} AS TEXT) ELSE printf('%!.17g', {0}) END",
}
_STOP = "abs(-9223372036854775807 - 1)"
"""Raises `integer overflow`, the one error an expression can raise by itself."""


def family(declared: str) -> Family:
    """The family of a declared type."""
    text = declared.upper()
    if "BOOL" in text:
        return "boolean"
    if "INT" in text and "POINT" not in text:
        return "integer"
    if "BLOB" in text:
        return "blob"
    if any(word in text for word in ("REAL", "FLOA", "DOUB")):
        return "real"
    return "text"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def fits(name: str, declared: str) -> str:
    """SQL: whether a value fits its column's declared type."""
    return _FITS[family(declared)].format(quoted(name))


def column(name: str, declared: str, *, nullable: bool) -> Column:
    """The column as it is read."""
    kind, name_sql = family(declared), quoted(name)
    value = _READ[kind].format(name_sql)
    select = f"CASE WHEN {fits(name, declared)} THEN {value} ELSE {_STOP} END"
    return Column(name, declared or "(none)", _ARROW[kind], nullable, select=select)


def as_declared(array: pa.Array, declared: Column) -> pa.Array:
    """One column of one batch as its declared type. Raises DataError for text that is not UTF-8, which SQLite
    keeps like any other."""
    try:
        check_text(array, declared.name)
    except DataError as error:
        hint = "Correct the values, or read them as digits by a query with hex(…)"
        raise DataError(error.message, hint=hint) from None
    return array if array.type == declared.arrow else array.cast(declared.arrow)
