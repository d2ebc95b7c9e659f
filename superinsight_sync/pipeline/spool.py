"""An increment on local disk between reading and landing, so that its checkpoint is known before the commit."""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from superinsight_sync.core.duck import open_duckdb
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.tables import HASH

if TYPE_CHECKING:
    import pyarrow.dataset


class Spool:
    """A private folder of Arrow IPC files, removed at the end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.cursor_max: Any = None
        self.rows = 0

    def __enter__(self) -> Self:
        self._settings.scratch_dir.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(dir=self._settings.scratch_dir, prefix="spool-")
        self._file = Path(self._folder.name) / "read.arrow"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def fill(self, batches: pa.RecordBatchReader, *, cursor: str | None) -> None:
        """Writes the batches and remembers the greatest value of the cursor column."""
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            pa.OSFile(str(self._file), "wb") as sink,
            pa.ipc.new_file(sink, batches.schema, options=options) as out,
        ):
            for batch in batches:
                self.rows += batch.num_rows
                if cursor is not None and batch.num_rows:
                    greatest = pc.max(batch.column(cursor)).as_py()
                    if greatest is not None and (self.cursor_max is None or greatest > self.cursor_max):
                        self.cursor_max = greatest
                out.write_batch(batch)

    def open(self) -> pa.RecordBatchReader:
        """Reads what was spooled, from the start."""
        file = pa.ipc.open_file(pa.memory_map(str(self._file)))
        batches = (file.get_batch(i) for i in range(file.num_record_batches))
        return pa.RecordBatchReader.from_batches(file.schema, batches)

    def drop_known(self, landed: "pyarrow.dataset.Dataset", *, cursor: str | None, after: Any) -> None:
        """Drops rows that have landed: as many of each `_sis_hash` as the lake holds from `after` on."""
        known = landed
        if cursor is not None and after is not None and not isinstance(after, str):
            known = landed.filter(pc.field(cursor) >= pa.scalar(after, landed.schema.field(cursor).type))
        kept = self._file.with_name("kept.arrow")
        schema = self.open().schema
        with open_duckdb(self._settings.memory_limit_bytes, Path(self._folder.name)) as engine:
            engine.register("spooled", self.open())
            engine.register("landed", known.scanner(columns=[HASH]).to_reader())
            fresh = engine.sql(
                f"""
                SELECT s.* EXCLUDE (_sis_nth)
                FROM (SELECT *, row_number() OVER (PARTITION BY {HASH}) AS _sis_nth FROM spooled) AS s
                ANTI JOIN (SELECT {HASH}, row_number() OVER (PARTITION BY {HASH}) AS _sis_nth FROM landed) AS l
                ON s.{HASH} = l.{HASH} AND s._sis_nth = l._sis_nth
                """  # noqa: S608 - made of a constant
            ).to_arrow_reader(65_536)
            self._rewrite(fresh, schema, kept)
        self._file = kept

    def _rewrite(self, rows: pa.RecordBatchReader, schema: pa.Schema, target: Path) -> None:
        self.rows = 0
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, schema) as out:
            for batch in rows:
                self.rows += batch.num_rows
                out.write_table(pa.Table.from_batches([batch]).cast(schema))
