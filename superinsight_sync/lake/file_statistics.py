"""What a table's log says of a Parquet file: how many rows, and what its columns span.

Readers leave out files by it, so a bound is given only where it surely holds and every reader compares alike: for
whole numbers, dates, times and short texts. Form: the Delta protocol, "Per-file Statistics".
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from superinsight_sync.model.tables import is_system

_MOST_COLUMNS = 32
"""Delta's own default. The log is read at every opening of the table."""
_LONGEST_TEXT = 64
_UNIX_DAY = date(1970, 1, 1).toordinal()
_UNIX_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def file_statistics(
    metadata: pq.FileMetaData, schema: pa.Schema, columns: Sequence[str] | None = None
) -> dict[str, Any]:
    """The `stats` of a file's add action.

    Args:
        schema: of the rows in it.
        columns: whose bounds are wanted; None: the first 32, those of ours before the others.
    """
    leaves = dict(_leaves(schema))
    wanted = (
        columns if columns is not None else sorted(leaves, key=lambda n: not is_system(n))[:_MOST_COLUMNS]
    )
    stats: dict[str, Any] = {
        "numRecords": metadata.num_rows,
        "minValues": {},
        "maxValues": {},
        "nullCount": {},
    }
    groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
    for name in wanted:
        if name not in leaves:
            continue
        found = [group.column(leaves[name]).statistics for group in groups]
        if not found or any(s is None or not s.has_null_count for s in found):
            continue
        nulls = sum(s.null_count for s in found)
        stats["nullCount"][name] = nulls
        bounds = _bounds(schema.field(name).type, [s for s in found if s.num_values])
        if bounds is not None:
            stats["minValues"][name], stats["maxValues"][name] = bounds
    return stats


def _leaves(schema: pa.Schema) -> Iterator[tuple[str, int]]:
    """Each flat column, and its place among the file's leaves."""
    place = 0
    for field in schema:
        if not pa.types.is_nested(field.type):
            yield field.name, place
        place += _width(field.type)


def _width(kind: pa.DataType) -> int:
    if not pa.types.is_nested(kind):
        return 1
    return sum(_width(kind.field(n).type) for n in range(kind.num_fields))


def _bounds(kind: pa.DataType, found: list[Any]) -> tuple[Any, Any] | None:
    """The least and the greatest value as the log writes them; None where none can be given."""
    if not found or not all(s.has_min_max for s in found):
        return None
    if pa.types.is_string(kind):
        least, greatest = min(s.min_raw for s in found), max(s.max_raw for s in found)
        short = max(len(least), len(greatest)) <= _LONGEST_TEXT
        return (least.decode(), greatest.decode()) if short else None
    if not (pa.types.is_integer(kind) or pa.types.is_date32(kind) or pa.types.is_timestamp(kind)):
        return None
    least, greatest = min(s.min_raw for s in found), max(s.max_raw for s in found)
    if pa.types.is_integer(kind):
        return least, greatest
    try:
        if pa.types.is_date32(kind):
            return _day(least), _day(greatest)
        return _time(least, kind), _time(greatest, kind, up=True)
    except (OverflowError, ValueError):  # beyond the years 1 to 9999
        return None


def _day(days: int) -> str:
    return date.fromordinal(_UNIX_DAY + days).isoformat()


def _time(microseconds: int, kind: pa.TimestampType, *, up: bool = False) -> str:
    """To the millisecond, as Delta has them, downwards or upwards."""
    whole = microseconds // 1_000 + (1 if up and microseconds % 1_000 else 0)
    at = _UNIX_TIME + whole * _MILLISECOND
    text = at.replace(tzinfo=None).isoformat(sep="T" if kind.tz else " ", timespec="milliseconds")
    return f"{text}Z" if kind.tz else text
