"""The one table of records that could not be taken: where each stood, why, and its text."""

import base64
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Reject = tuple[str | None, int | None, str, str]
"""File (or page, topic, table it stood in), line from 1, reason without values, the record's text."""


def rejects_table(rejects: Collection[Reject]) -> "pa.Table":
    """Columns: file (string), line (int64, NULL if unknown), reason (string), record (string)."""
    import pyarrow as pa

    from superinsight_sync.core.arrow_values import numbers, texts

    files, lines, reasons, records = zip(*rejects, strict=True) if rejects else ((), (), (), ())
    columns = [texts(files), numbers(lines, pa.int64()), texts(reasons), texts(records)]
    return pa.Table.from_arrays(columns, names=["file", "line", "reason", "record"])


def told(value: bytes | str | None) -> Any:
    """What was sent as JSON: text as text, bytes that are none as `{"base64": "…"}`, which no text looks like."""
    if value is None or isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def sent(value: Any) -> bytes | None:
    """The bytes that `told` tells of."""
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return None if value is None else str(value).encode()
