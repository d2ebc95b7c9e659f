"""Check: run a stream's expectations against its refined table."""

from collections.abc import Sequence

import pyarrow.dataset as ds

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.results import CheckOutcome
from superinsight_sync.model.tables import PARTITION, TableRef
from superinsight_sync.model.window import window_of_keys
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync.quality.run import run_checks
from superinsight_sync.sources.opening import open_declared


def check_stream(
    engine: Engine, source: SourceSpec, stream: StreamSpec, *, partitions: Sequence[str] = ()
) -> list[CheckOutcome]:
    """The outcomes in the order declared, over the named partitions only if any are named.

    A row count is compared with the source's rows less those in quarantine.
    """
    table = table_of(source, stream, "refined")
    store = engine.store(source, stream, "refined")
    if not store.exists(table):
        raise ConfigError("there is no refined table yet", where=f"check {source.name}/{stream.name}")
    dataset = store.dataset(table)
    if partitions and PARTITION in dataset.schema.names:
        dataset = _only(dataset, partitions)

    def reference(key: str) -> ds.Dataset:
        name, other = key.split("/")
        return engine.lake.dataset(TableRef(source.tenant, name, other, "refined"))

    def source_count() -> int:
        window = window_of_keys(stream.partition.by, partitions) if stream.partition and partitions else None
        there = open_declared(source, engine.settings).count(ReadRequest(stream, window=window))
        return there - engine.lake.count(table.at("quarantine"), partitions=partitions or None)

    return run_checks(
        stream.expect,
        dataset=dataset,
        references=reference,
        source_count=source_count,
        now=utc_now(),
        settings=engine.settings,
    )


def _only(dataset: ds.Dataset, partitions: Sequence[str]) -> ds.Dataset:
    """The files of the named partitions: a dataset that engines can still cut columns from."""
    wanted = ds.field(PARTITION).isin(list(partitions))
    if not isinstance(dataset, ds.FileSystemDataset):
        return ds.dataset(dataset.to_table(filter=wanted))
    return ds.FileSystemDataset(
        list(dataset.get_fragments(wanted)), dataset.schema, dataset.format, dataset.filesystem
    )
