"""Text of drivers and files that do not look whether it is any."""

import pyarrow as pa

from superinsight_sync.core.errors import DataError


def check_text(values: pa.Array, column: str) -> None:
    """Raises DataError, without the value, if a text among the values, however deep, is not UTF-8.

    Arrow takes such bytes as they are, and whoever reads the table later fails on them.
    """
    if not _holds_text(values.type):
        return
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        raise DataError(f"column '{column}' holds text that is not UTF-8") from None


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_text(kind.value_type)
    if pa.types.is_nested(kind):
        return any(_holds_text(kind.field(i).type) for i in range(kind.num_fields))
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
