"""Records that are gone from the source: found by comparing keys, then marked or removed in the raw table."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import moment, null, text
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.core.sql import quote
from superinsight_sync.lake.staged_rows import brought_to_rest
from superinsight_sync.lake.store import Store
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.tables import DELETED_AT, EXTRACTED_AT, HASH, LOAD_ID, Commit, TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.sources.protocol import SettingAside, Source

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Gone:
    """How many records were found gone from the source, and how many that were marked so are back.

    `unreadable` records of the source have no key: while there are any, none counts as gone.
    """

    deleted: int = 0
    returned: int = 0
    unreadable: int = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        if not self.unreadable:
            return ()
        return (
            f"deleted records were not looked for: the records that cannot be read ({self.unreadable}) may be any of"
            " them. Mend these first, see `sis quarantine`",
        )


def apply_deletes(
    engine: Engine, source: Source, stream: StreamSpec, *, store: Store, table: TableRef, load_id: str
) -> Gone:
    """Compares the source's keys with the table's, and marks (`soft`) or removes (`hard`) what is gone.

    The source's keys are listed after its rows have landed, so that a record that is missing there is gone.
    The rows change in one commit of their own; doing it again changes nothing. If records of the source cannot be
    read and the stream sets such aside, nothing changes.
    """
    if stream.sync.deletes == "ignore":
        return Gone()
    soft = stream.sync.deletes == "soft"
    engine.settings.scratch_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=engine.settings.scratch_dir, prefix="keys-") as scratch:
        comparison = _Comparison(stream.primary_key, store, table, Path(scratch), soft=soft)
        with open_duckdb(engine.settings.memory_limit_bytes, Path(scratch)) as duck:
            read = source.read(ReadRequest(stream, columns=stream.primary_key))
            aside = read if isinstance(read, SettingAside) else None
            if aside is not None and stream.on_row_error == "quarantine":
                aside.set_aside()
            with read as rows, brought_to_rest(rows, engine.settings.scratch_dir) as still:
                duck.register("source_keys", still)
                listed = comparison.keys_of_source(duck)
                duck.execute(f"CREATE TABLE live AS SELECT DISTINCT {listed} FROM source_keys")  # noqa: S608
            if aside is not None and (unreadable := aside.rejects().num_rows):
                return Gone(unreadable=unreadable)
            gone, back = comparison.count(duck)
            if gone or back:
                commit = Commit(
                    f"{load_id}-deletes",
                    checkpoints=store.checkpoints(table),
                    metadata={"run_id": engine.run_id, "verb": "pull"},
                )
                if soft:
                    store.merge(
                        table, lambda: comparison.marked(duck, load_id), commit, keys=stream.primary_key
                    )
                else:
                    store.replace(table, lambda: comparison.kept(duck), commit)
    return Gone(gone, back)


class _Comparison:
    """The table's rows beside the source's keys (the relation `live`)."""

    def __init__(
        self, keys: tuple[str, ...], store: Store, table: TableRef, scratch: Path, *, soft: bool
    ) -> None:
        self._keys, self._store, self._table, self._scratch, self._soft = keys, store, table, scratch, soft
        same = " AND ".join(f"l.{quote(k)} IS NOT DISTINCT FROM t.{quote(k)}" for k in keys)
        self._alive = f"EXISTS (SELECT 1 FROM live l WHERE {same})"  # noqa: S608 - quoted names
        self._marked = f"(t.{DELETED_AT} IS NOT NULL)" if self._has_mark else "false"

    def keys_of_source(self, duck: "duckdb.DuckDBPyConnection") -> str:
        """SQL: the source's keys in the table's types. One that does not fit there is of no row of the table."""
        listed = ", ".join(map(quote, self._keys))
        types = duck.sql(f"SELECT {listed} FROM {self._rows(duck, self._keys)}").types  # noqa: S608 - quoted names
        pairs = zip(map(quote, self._keys), types, strict=True)
        return ", ".join(f"TRY_CAST({name} AS {kind}) AS {name}" for name, kind in pairs)

    @property
    def _has_mark(self) -> bool:
        return DELETED_AT in self._store.schema(self._table).names

    def _rows(self, duck: "duckdb.DuckDBPyConnection", columns: tuple[str, ...] | None = None) -> str:
        wanted = None if columns is None else list(columns)
        duck.register("landed", self._store.scan(self._table, columns=wanted))
        return "landed"

    def count(self, duck: "duckdb.DuckDBPyConnection") -> tuple[int, int]:
        """How many are gone and not marked yet; how many are marked and back."""
        columns = (*self._keys, DELETED_AT) if self._has_mark else self._keys
        (found,) = duck.execute(
            f"SELECT count(*) FILTER (NOT alive AND NOT marked), count(*) FILTER (alive AND marked) FROM "  # noqa: S608
            f"(SELECT {self._alive} AS alive, {self._marked} AS marked FROM {self._rows(duck, columns)} t)"
        ).fetchall()
        return int(found[0]), int(found[1])

    def kept(self, duck: "duckdb.DuckDBPyConnection") -> pa.RecordBatchReader:
        """All rows whose key the source still has."""
        schema = self._store.schema(self._table)
        reader = duck.sql(
            f"SELECT t.* FROM {self._rows(duck)} t WHERE {self._alive}"  # noqa: S608 - quoted names
        ).to_arrow_reader(65_536)
        return pa.RecordBatchReader.from_batches(schema, _cast(reader, schema))

    def marked(self, duck: "duckdb.DuckDBPyConnection", load_id: str) -> pa.RecordBatchReader:
        """The rows whose mark changes, with the new mark, of this load, and with another hash than before."""
        known = self._store.schema(self._table)
        mark = pa.field(DELETED_AT, pa.timestamp("us", "UTC"))
        schema = pa.schema([*(f for f in known if f.name != DELETED_AT), mark])
        now = utc_now()
        reader = duck.sql(
            f"SELECT t.*, {self._alive} AS _sis_alive FROM {self._rows(duck)} t"  # noqa: S608 - quoted names
            f" WHERE {self._alive} = {self._marked}"
        ).to_arrow_reader(65_536)

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in reader:
                alive = batch.column("_sis_alive")
                columns = {n: batch.column(n) for n in schema.names if n != DELETED_AT}
                columns[DELETED_AT] = pc.if_else(alive, null(mark.type), moment(now).cast(mark.type))
                columns[HASH] = pc.bit_wise_not(batch.column(HASH))
                columns[LOAD_ID] = pa.repeat(text(f"{load_id}-deletes"), len(batch))
                columns[EXTRACTED_AT] = pa.repeat(moment(now).cast(mark.type), len(batch))
                arrays = [columns[f.name].cast(f.type) for f in schema]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        return pa.RecordBatchReader.from_batches(schema, batches())


def _cast(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        yield from pa.Table.from_batches([batch]).cast(schema).to_batches()
