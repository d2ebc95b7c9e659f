"""A dataset's rows on local disk, a file a split: what files, statistics and report are made from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.export.batches import read_file, write_file
from superinsight_sync.export.select import BUCKET, SPLIT, Selected, duckdb_errors
from superinsight_sync.export.types import check_types
from superinsight_sync.model.dataset import SplitSpec


@dataclass(frozen=True)
class Staged:
    """Attributes:
    paths: split → Arrow file, with the dataset's columns and `_sis_bucket`, in the declared order of splits.
    rows: split → number of rows.
    schema: the dataset's columns.
    """

    paths: Mapping[str, Path]
    rows: Mapping[str, int]
    schema: pa.Schema

    def read(self, split: str) -> pa.RecordBatchReader:
        """The split's rows in their order, without the bucket."""
        return read_file(self.paths[split], self.schema.names)


def stage(selected: Selected, folder: Path) -> Staged:
    """Writes each split's rows, in order, to a file of its own; a split without rows has one too.

    Raises ConfigError for a column no format can hold, DataError for a value that cannot be computed or a row without
    a group where the declaration refuses it.
    """
    spec = selected.split
    schema = pa.schema([selected.rows.schema.field(name) for name in selected.columns])
    _check_columns(schema)
    kept = schema.append(pa.field(BUCKET, pa.string()))
    splits = tuple(spec.ratios)
    paths = {split: folder / f"{number}.arrow" for number, split in enumerate(splits)}
    rows = dict.fromkeys(splits, 0)
    with duckdb_errors():
        for number, parts in groupby(_by_split(selected.rows), key=itemgetter(0)):
            split = splits[number]
            rows[split] = write_file(
                paths[split], kept, (_grouped(p, spec).select(kept.names) for _, p in parts)
            )
    for split in splits:
        if not rows[split]:
            write_file(paths[split], kept, ())
    return Staged(paths, rows, schema)


def _grouped(batch: pa.RecordBatch, spec: SplitSpec) -> pa.RecordBatch:
    """The batch, unless it has rows that the declaration does not take. Raises DataError."""
    if spec.null_groups == "refuse":
        for name in spec.group_by:
            if batch.column(name).null_count:
                raise DataError(
                    f"there are rows whose group column '{name}' is NULL, and split.null_groups is 'refuse'",
                    where="split",
                    hint="Leave them out in the SELECT, or say null_groups: each_row or one_group",
                )
    return batch


def _check_columns(schema: pa.Schema) -> None:
    check_types(schema)
    if not schema.names:
        raise ConfigError("the SELECT gives no column")


def _by_split(rows: pa.RecordBatchReader) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The batches, cut where the split changes; the rows come ordered by it."""
    for batch in rows:
        start = 0
        while start < len(batch):
            numbers = batch.column(SPLIT)
            number = numbers[start].as_py()
            count = pc.sum(pc.equal(numbers, number)).as_py()
            yield number, batch.slice(start, count)
            start += count
