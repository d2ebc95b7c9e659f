"""The one table of records that could not be taken: where each stood, why, and its text."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

Reject = tuple[str | None, int | None, str, str]
"""File (or page, topic, table it stood in), line from 1, reason without values, the record's text."""


def rejects_table(rejects: Iterable[Reject]) -> "pa.Table":
    """Columns: file (string), line (int64, NULL if unknown), reason (string), record (string)."""
    import pyarrow as pa

    fields = {"file": pa.string(), "line": pa.int64(), "reason": pa.string(), "record": pa.string()}
    columns = list(zip(*rejects, strict=True)) or [()] * len(fields)
    return pa.table({n: pa.array(c, t) for c, (n, t) in zip(columns, fields.items(), strict=True)})
