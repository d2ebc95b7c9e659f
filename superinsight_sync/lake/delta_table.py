"""One Delta table, opened by path for each piece of work: that is cheaper than a kept handle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError

from superinsight_sync.core.errors import ConfigError, TransientError
from superinsight_sync.lake.delta_errors import storage_errors
from superinsight_sync.lake.delta_log import table_properties
from superinsight_sync.lake.system_columns import row_hash_algorithm
from superinsight_sync.model.tables import PARTITION

if TYPE_CHECKING:
    import pyarrow.dataset


@dataclass(frozen=True)
class Address:
    """Where a table is: deltalake's address of it, its storage options, and its name for messages."""

    url: str
    options: Mapping[str, str] = field(repr=False)
    name: str

    def open(self, version: int | None = None) -> DeltaTable | None:
        """The table as of a version (default: newest); None if nothing was ever committed to it."""
        with storage_errors(self.name):
            try:
                return DeltaTable(self.url, version=version, storage_options=dict(self.options))
            except TableNotFoundError:
                return None

    def opened(self, version: int | None = None) -> DeltaTable:
        """The same, for readers: raises ConfigError if no load ever landed or the version is gone."""
        try:
            table = self.open(version)
        except TransientError as error:
            if version is None or self.open() is None:
                raise
            raise ConfigError(
                f"version {version} does not exist or is no longer kept",
                where=self.name,
                hint="See the table's history",
            ) from error
        if table is None or table.version() == 0:
            raise ConfigError("there is no such table", where=self.name, hint="Materialize it first")
        return table

    def create(self, schema: pa.Schema, more: Mapping[str, str] = {}) -> DeltaTable:
        """Opens the table, or makes it as version 0, which counts as 'nothing landed yet'.

        Args:
            more: Delta properties over those that every table has.

        Without retries, or the loser of two that make it would commit its creation anew as version 1.
        """
        table = self.open()
        if table is not None:
            return table
        _check_names(schema, self.name)
        partition_by = [PARTITION] if PARTITION in schema.names else None
        with storage_errors(self.name):
            try:
                return DeltaTable.create(
                    self.url,
                    Schema.from_arrow(schema),
                    partition_by=partition_by,
                    storage_options=dict(self.options),
                    configuration={**table_properties(row_hash_algorithm()), **more},
                    raise_if_key_not_exists=False,
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except DeltaError:
                table = self.open()
                if table is None:
                    raise
                return table


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """The table's schema as pyarrow's."""
    return pa.schema(table.schema().to_arrow())


def in_list(column: str, values: Sequence[str]) -> str:
    """A literal SQL predicate: the column is one of the values."""
    literals = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f'"{column}" IN ({literals})' if values else "false"


def without_date_bounds(table: DeltaTable) -> "pyarrow.dataset.FileSystemDataset":
    """The table as a dataset that does not know what dates its files span: deltalake cannot tell those beyond the
    years 1 to 9999."""
    import pyarrow.dataset as ds

    schema = arrow_schema(table)
    others = pa.schema([f for f in schema if "date32" not in str(f.type)])
    found = table.to_pyarrow_dataset(schema=others)
    return ds.FileSystemDataset(list(found.get_fragments()), schema, found.format, found.filesystem)


def _check_names(schema: pa.Schema, where: str) -> None:
    """Delta tells no columns apart that differ in case only."""
    seen: dict[str, str] = {}
    for name in schema.names:
        if (other := seen.setdefault(name.lower(), name)) != name:
            raise ConfigError(
                f"the columns '{other}' and '{name}' differ in case only, and the lake cannot tell them apart",
                where=where,
                hint="Rename or leave out one of them: give the stream a `query`",
            )
