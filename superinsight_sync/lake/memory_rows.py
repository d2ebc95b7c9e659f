"""Filters, schema evolution and merge of rows that are wholly in memory."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.lake.landing import fitted_schema
from superinsight_sync.model.tables import HASH, PARTITION, TableRef


def evolved(table: TableRef, old: pa.Schema, new: pa.Schema) -> pa.Schema:
    """The columns of `old`, then those that `new` adds. Raises ConfigError for a type that does not fit."""
    fitted = fitted_schema(new, old, str(table))
    return pa.schema([*old, *(fitted.field(n) for n in new.names if n not in old.names)])


def aligned(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows in that schema; columns they lack are NULL."""
    columns = [
        rows[f.name].cast(f.type) if f.name in rows.column_names else pa.nulls(rows.num_rows, f.type)
        for f in schema
    ]
    if not columns:
        return rows
    return pa.Table.from_arrays(columns, schema=schema)


def merged(
    table: TableRef, old: pa.Table, new: pa.Table, keys: Sequence[str], newest_by: str | None
) -> tuple[pa.Table, int, int]:
    """`old` with the rows of `new` merged by key, see `Store.merge`; also how many rows were inserted and updated.

    A row whose `_sis_hash` is the same stays as it was.
    A column that `new` lacks keeps its value. Raises ConfigError for keys that are
    missing or cannot be compared.
    """
    missing = [k for k in [*keys, HASH] if k not in new.column_names]
    if missing or not keys:
        raise ConfigError(
            f"a merge needs the columns {', '.join(missing) or 'of a primary key'}",
            where=str(table),
            hint="Name a primary_key whose columns the stream has",
        )
    schema = evolved(table, old.schema, new.schema)
    if newest_by in new.column_names:
        # Of equal ones the last wins, so the others may be anywhere before it.
        values = new[newest_by].combine_chunks()
        new = new.take(pc.array_sort_indices(values, null_placement="at_start"))
    olds, news = aligned(old, schema), aligned(new, schema)
    pairs = _pairs(table, olds.select(list(keys)), news.select(list(keys)))
    both = pairs.filter(pc.and_(pc.is_valid(pairs["old"]), pc.is_valid(pairs["new"])))
    differs = pc.not_equal(olds[HASH].take(both["old"]), news[HASH].take(both["new"]))
    changed = both.filter(pc.fill_null(differs, True))
    added = pc.sort_indices(pairs.filter(pc.is_null(pairs["old"]))["new"])
    fresh = pairs.filter(pc.is_null(pairs["old"]))["new"].take(added)
    columns = [
        _column(olds[f.name], news[f.name] if f.name in new.column_names else None, changed, fresh)
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema), len(fresh), changed.num_rows


def _pairs(table: TableRef, olds: pa.Table, news: pa.Table) -> pa.Table:
    """For each key that occurs: its row in `olds` and its last row in `news`, NULL where there is none."""
    sides = []
    for rows, side in ((olds, "old"), (news, "new")):
        numbers = pa.array(range(rows.num_rows), pa.int64())
        empty = pa.nulls(rows.num_rows, pa.int64())
        sides.append(
            pa.Table.from_arrays(
                [*rows.columns, numbers if side == "old" else empty, numbers if side == "new" else empty],
                names=[*(f"k{i}" for i in range(rows.num_columns)), "old", "new"],
            )
        )
    names = [f"k{i}" for i in range(olds.num_columns)]
    try:
        grouped = pa.concat_tables(sides).group_by(names).aggregate([("old", "max"), ("new", "max")])
    except pa.ArrowNotImplementedError:
        raise ConfigError(
            "rows cannot be merged by columns of these types",
            where=str(table),
            hint="A primary key holds numbers, texts, times or bytes",
        ) from None
    found = grouped.select(["old_max", "new_max"]).rename_columns(["old", "new"])
    return found.filter(pc.is_valid(found["new"]))


def _column(old: Any, new: Any, changed: pa.Table, fresh: Any) -> Any:
    """`old` with the changed rows' values of `new` in place, then the fresh rows' values."""
    if new is None:
        return pa.chunked_array([*old.chunks, pa.nulls(len(fresh), old.type)], old.type)
    source = pa.chunked_array([*old.chunks, *new.chunks], old.type)
    rows = pa.array(range(len(old)), pa.int64())
    mask = pc.is_in(rows, value_set=changed["old"].combine_chunks())
    order = pc.sort_indices(changed["old"])
    values = pc.add(changed["new"].take(order), len(old)).combine_chunks()
    picked = pc.replace_with_mask(rows, mask, values)
    return source.take(pa.concat_arrays([picked, pc.add(fresh, len(old)).combine_chunks()]))


def own(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without the rest of a larger buffer that it is a slice of."""
    if batch.get_total_buffer_size() <= 2 * batch.nbytes + 4096:
        return batch
    return batch.take(pa.array(range(batch.num_rows), pa.int64()))


def rows_where(rows: Any, column: str, wanted: Sequence[str], table: TableRef, *, keep: bool = True) -> Any:
    """The rows of a table or batch whose text column is (or with ``keep=False`` is not) one of `wanted`."""
    if column not in rows.schema.names:
        if rows.num_rows == 0:
            return rows
        raise ConfigError(f"the table has no column {column}", where=str(table), hint="It is not partitioned")
    found = pc.is_in(rows[column], value_set=pa.array(wanted, rows.schema.field(column).type))
    return rows.filter(found if keep else pc.invert(found))


def check_partitions(table: TableRef, new: pa.Table, partitions: Sequence[str]) -> None:
    """Raises DataError if a row lies outside the named partitions."""
    inside = rows_where(new, PARTITION, partitions, table).num_rows
    if inside != new.num_rows:
        raise DataError(
            f"{new.num_rows - inside} rows belong to none of the partitions being replaced",
            where=str(table),
            hint="Nothing was written; check the window of the read",
        )
