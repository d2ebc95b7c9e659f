"""The columns every row gets on its way into the lake: load, time, hash, partition.

The row hash is polars' `hash_rows` over the storable form of the data columns, seeded with their names, so that a
value under another name is another row's: measured at 0.09 CPU seconds a
million rows of 22 mixed columns. Polars does not promise the same values in its next release, so the
algorithm's name holds a fingerprint of what the installed one makes of a fixed probe: if the values change, the
name changes, and the table's property shows it.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import moment, null, number, text, texts
from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.lake.types import cast_batch, storable_schema
from superinsight_sync.model.tables import (
    DELETED_AT,
    EXTRACTED_AT,
    HASH,
    LOAD_ID,
    PARTITION,
    SYSTEM_COLUMNS,
    is_system,
)
from superinsight_sync.model.window import PartitionUnit, partition_key

if TYPE_CHECKING:
    import polars as pl

_SEED = 0x5157
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_HOUR = {"s": 3600, "ms": 3_600_000, "us": 3_600_000_000, "ns": 3_600_000_000_000}


def add_system_columns(
    reader: pa.RecordBatchReader,
    *,
    load_id: str,
    extracted_at: datetime,
    partition_of: tuple[str, PartitionUnit] | None = None,
) -> pa.RecordBatchReader:
    """The rows as a stream, with load id, extraction time, hash and, if asked for, partition key appended.

    Args:
        reader: the rows. What a source tells of where they stood (`_sis_file`) and a `_sis_partition` among
            them stay, the other system columns are made anew.
        partition_of: cursor column (timestamp, date or ISO 8601 text; naive means UTC) and unit; the key of a
            NULL cursor is NULL.

    Raises ConfigError if the cursor column is missing or of another type; while reading, DataError for text
    that is no ISO 8601 time. `_sis_hash` is equal for rows with equal data columns, in whatever order.
    """
    data = [n for n in reader.schema.names if not is_system(n)]
    told = [n for n in reader.schema.names if is_system(n) and n not in (*SYSTEM_COLUMNS, DELETED_AT)]
    kept_partition = PARTITION in reader.schema.names and partition_of is None
    fields = [reader.schema.field(n) for n in (*data, *told)]
    fields += [
        pa.field(LOAD_ID, pa.string()),
        pa.field(EXTRACTED_AT, pa.timestamp("us", "UTC")),
        pa.field(HASH, pa.int64()),
    ]
    if partition_of:
        _check_cursor(reader.schema, partition_of[0])
    if partition_of or kept_partition:
        fields.append(pa.field(PARTITION, pa.string()))
    schema = pa.schema(fields)
    load = text(load_id)
    at = moment(extracted_at)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            rows = batch.select(data)
            arrays = [*rows.columns, *(batch.column(n) for n in told)]
            arrays += [pa.repeat(load, len(batch)), pa.repeat(at, len(batch)), row_hash(rows)]
            if partition_of:
                arrays.append(partition_keys(batch.column(partition_of[0]), partition_of[1], partition_of[0]))
            elif kept_partition:
                arrays.append(batch.column(PARTITION).cast(pa.string()))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def row_hash(batch: pa.RecordBatch) -> pa.Array:
    """The rows' hashes, int64: of the values with their columns' names, whatever the columns' order.

    Equal rows have equal hashes in every batch and run; NULL is not ''.
    """
    import polars as pl

    if not batch.num_columns:
        return pa.repeat(number(0, pa.int64()), len(batch))
    names = sorted(batch.schema.names)
    stored = cast_batch(batch, storable_schema(batch.schema)).select(names)
    frame = pl.from_arrow(
        pa.table(dict(zip(map(str, range(stored.num_columns)), stored.columns, strict=True)))
    )
    assert isinstance(frame, pl.DataFrame)
    return _hashed(frame, _seed(tuple(names)))


@cache
def _seed(names: tuple[str, ...]) -> int:
    return int.from_bytes(hashlib.sha256(json.dumps(names).encode()).digest()[:8]) ^ _SEED


def _hashed(frame: "pl.DataFrame", seed: int = _SEED) -> pa.Array:
    return frame.hash_rows(seed=seed).reinterpret(signed=True).to_arrow()


@cache
def row_hash_algorithm() -> str:
    """The name of the installed algorithm, such as ``polars-rows-2-9f86d081``; changed values change it."""
    import polars as pl

    probe = pl.DataFrame(
        {
            "i": pl.Series([1, None, -(2**63)], dtype=pl.Int64),
            "f": pl.Series([0.5, None, float("nan")], dtype=pl.Float64),
            "s": pl.Series(["", None, "größe 😀, longer than sixteen bytes"], dtype=pl.String),
            "d": pl.Series([1, None, 2], dtype=pl.Decimal(38, 0)),
            "t": pl.Series([1, None, -1], dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "l": pl.Series([["a"], None, []], dtype=pl.List(pl.String)),
            "b": pl.Series([True, None, False], dtype=pl.Boolean),
        }
    )
    digest = hashlib.sha256(repr(_hashed(probe).to_pylist()).encode()).hexdigest()
    return f"polars-rows-2-{digest[:8]}"


def partition_keys(cursor: pa.Array, unit: PartitionUnit, column: str) -> pa.Array:
    """The partition key of every cursor value, as `model.window.partition_key` gives it; NULL stays NULL.

    Keys are made once per distinct hour or day of the batch. Raises DataError for text that is no ISO 8601.
    """
    hours = _hours_since_epoch(_plain(cursor), column)
    if unit != "hour":
        hours = pc.multiply(_floor_divide(hours, 24), 24)
    encoded = hours.dictionary_encode()
    try:
        keys = [partition_key(unit, _EPOCH + timedelta(hours=h)) for h in encoded.dictionary.to_pylist()]
    except OverflowError as error:
        raise DataError(f"column '{column}' holds a time outside the years 1 to 9999") from error
    return texts(keys).take(encoded.indices)


def _plain(cursor: pa.Array) -> pa.Array:
    return cursor.dictionary_decode() if pa.types.is_dictionary(cursor.type) else cursor


def _check_cursor(schema: pa.Schema, column: str) -> None:
    if column not in schema.names:
        raise ConfigError(
            f"the cursor column '{column}' is not among the columns read", hint=f"There are {schema.names}"
        )
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind) or _is_text(kind)):
        raise ConfigError(
            f"the cursor column '{column}' has the type {kind}, which has no calendar partition",
            hint="Partition by a timestamp, a date or ISO 8601 text, or remove 'partition'",
        )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view())


def _hours_since_epoch(cursor: pa.Array, column: str) -> pa.Array:
    kind = cursor.type
    if pa.types.is_timestamp(kind):
        return _floor_divide(cursor.cast(pa.int64()), _PER_HOUR[kind.unit])
    if pa.types.is_date(kind):
        return pc.multiply(cursor.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), 24)
    if _is_text(kind):
        return _hours_since_epoch(_parsed(cursor.cast(pa.string()), column), column)
    raise ConfigError(f"the cursor column '{column}' has the type {kind}, which has no calendar partition")


def _parsed(text: pa.Array, column: str) -> pa.Array:
    """ISO 8601 text as instants; what names no zone is UTC."""
    zoned = pc.match_substring_regex(text, r"\d{2}:\d{2}.*(Z|[+-]\d{2}:?\d{2}|[+-]\d{2})$")
    none = null(pa.string())
    utc = pa.timestamp("us", "UTC")
    try:
        with_zone = pc.if_else(zoned, text, none).cast(utc)
        naive = pc.if_else(zoned, none, text).cast(pa.timestamp("us")).cast(pa.int64()).cast(utc)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"column '{column}' holds text that is no ISO 8601 date or time",
            hint="Partition by a timestamp column, or convert the column in the query",
        ) from error
    return pc.coalesce(with_zone, naive)


def _floor_divide(values: pa.Array, by: int) -> Any:
    """Division rounded down, also for negative values (Arrow's rounds towards zero)."""
    quotient = pc.divide(values, by)
    below = pc.less(values, pc.multiply(quotient, by))
    return pc.subtract(quotient, below.cast(pa.int64()))
