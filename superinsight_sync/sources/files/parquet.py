"""Parquet, by row group. Times of the old type INT96 are read in microseconds, which hold every year to 9999."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from superinsight_sync.core.errors import DataError
from superinsight_sync.sources.files.columnar import TypedLayout
from superinsight_sync.sources.files.layout import Member
from superinsight_sync.sources.files.streams import open_seekable

_BUFFER_BYTES = 1 << 20
_BATCH_BYTES = 16 << 20
_PEEK_FROM_ROWS, _PEEK_ROWS = 1024, 64
_INT96 = "INT96"


class ParquetLayout(TypedLayout):
    """By row group."""

    _format = "Parquet"

    def _schema(self, member: Member) -> tuple[pa.Schema, int | None]:
        with open_seekable(member.file) as raw:
            try:
                file = pa.parquet.ParquetFile(raw, coerce_int96_timestamp_unit="us")
            except (pa.ArrowException, OSError):
                raise self._damaged(member) from None
            groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
            self._limits.check(member.file, sum(g.total_byte_size for g in groups))
            return file.schema_arrow, file.metadata.num_rows

    def _read(self, member: Member, batch_rows: int) -> Iterator[pa.RecordBatch]:
        with open_seekable(member.file) as raw:
            try:
                file = _opened(raw, "us")
                parts = _parts(file, batch_rows)
                coarse = _batches(file, parts)
                old = list(dict.fromkeys(_old_times(file)))
                if not old:
                    yield from coarse
                    return
                with open_seekable(member.file) as again:
                    fine = _batches(_opened(again, "ns"), parts, columns=old)
                    for batch, exact in zip(coarse, fine, strict=True):
                        yield _without_loss(member, batch, exact)
            except (pa.ArrowException, OSError):
                raise self._damaged(member) from None


def _opened(raw: Any, unit: str) -> pa.parquet.ParquetFile:
    return pa.parquet.ParquetFile(
        raw, buffer_size=_BUFFER_BYTES, pre_buffer=False, coerce_int96_timestamp_unit=unit
    )


def _parts(file: pa.parquet.ParquetFile, batch_rows: int) -> list[tuple[list[int], int]]:
    """Row groups that are read together, and how many rows of them at once take about `_BATCH_BYTES`."""
    parts: list[tuple[list[int], int]] = []
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        row_bytes = group.total_byte_size / max(group.num_rows, 1)
        if group.num_rows > _PEEK_FROM_ROWS:  # values that repeat are in the file once
            head = next(file.iter_batches(_PEEK_ROWS, row_groups=[number], use_threads=False))
            row_bytes = max(row_bytes, head.nbytes / head.num_rows)
        rows = int(max(1, min(batch_rows, _BATCH_BYTES // max(row_bytes, 1))))
        if parts and parts[-1][1] == rows:
            parts[-1][0].append(number)
        else:
            parts.append(([number], rows))
    return parts


def _batches(
    file: pa.parquet.ParquetFile, parts: list[tuple[list[int], int]], columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    for groups, rows in parts:
        yield from file.iter_batches(rows, row_groups=groups, columns=columns, use_threads=False)


def _old_times(file: pa.parquet.ParquetFile) -> Iterator[str]:
    """The columns that are, or hold, times of the old type."""
    for at in range(len(file.schema)):
        column = file.schema.column(at)
        if column.physical_type == _INT96:
            yield column.path.split(".")[0]


def _without_loss(member: Member, coarse: pa.RecordBatch, fine: pa.RecordBatch) -> pa.RecordBatch:
    """The batch in microseconds; a column that has finer times, and none that nanoseconds do not hold, in those."""
    arrays = list(coarse.columns)
    for name, exact in zip(fine.schema.names, fine.columns, strict=True):
        at = coarse.schema.get_field_index(name)
        pairs = list(zip(_times(arrays[at]), _times(exact), strict=True))
        if all(_held(us, ns) for us, ns in pairs):
            continue
        if pa.types.is_nested(exact.type) or not all(_in_reach(us) for us, _ in pairs):
            raise DataError(
                f"column '{name}' holds times finer than a microsecond, which are not kept there",
                where=member.where,
                hint="Have the file written with microseconds",
            )
        arrays[at] = exact
    return pa.RecordBatch.from_arrays(arrays, names=coarse.schema.names)


def _times(values: pa.Array) -> Iterator[pa.Array]:
    """The times of a column, however deep."""
    if pa.types.is_timestamp(values.type):
        yield values
    elif pa.types.is_struct(values.type):
        for child in values.flatten():
            yield from _times(child)
    elif pa.types.is_map(values.type):
        yield from _times(values.keys)
        yield from _times(values.items)
    elif pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        yield from _times(values.flatten())


def _in_reach(us: pa.Array) -> bool:
    """Whether nanoseconds hold all these microseconds."""
    span = pc.min_max(us.cast(pa.int64()))
    least, greatest = span["min"].as_py(), span["max"].as_py()
    return least is None or (least > -(2**63) // 1000 and greatest < 2**63 // 1000)


def _held(us: pa.Array, ns: pa.Array) -> bool:
    """Whether the microseconds are all that the nanoseconds say. Those out of their reach are compared by their
    digits: nanoseconds that ran over have the digits of their value, modulo 2**64."""
    wide = pc.multiply(us.cast(pa.int64()), 1000)  # runs over in the same way
    return bool(pc.all(pc.equal(wide, ns.cast(pa.int64()))).as_py() is not False)
