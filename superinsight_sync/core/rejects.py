"""The one table of records that could not be taken: where each stood, why, and its text."""

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

Reject = tuple[str | None, int | None, str, str]
"""File (or page, topic, table it stood in), line from 1, reason without values, the record's text."""


def rejects_table(rejects: Collection[Reject]) -> "pa.Table":
    """Columns: file (string), line (int64, NULL if unknown), reason (string), record (string)."""
    import pyarrow as pa

    from superinsight_sync.core.constants import numbers, texts

    files, lines, reasons, records = zip(*rejects, strict=True) if rejects else ((), (), (), ())
    columns = [texts(files), numbers(lines, pa.int64()), texts(reasons), texts(records)]
    return pa.Table.from_arrays(columns, names=["file", "line", "reason", "record"])
