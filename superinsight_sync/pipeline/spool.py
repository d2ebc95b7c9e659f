"""What was read, put aside before it lands, so that its checkpoint is known before the commit."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.constants import nearest_of
from superinsight_sync.core.duck import open_duckdb
from superinsight_sync.core.settings import Settings
from superinsight_sync.lake.staged_rows import AtRest, StagedRows
from superinsight_sync.lake.system_columns import row_hash
from superinsight_sync.model.tables import HASH, is_system
from superinsight_sync.pipeline.cursors import now_like

if TYPE_CHECKING:
    import pyarrow.dataset

_COMPARED = "_sis_compared"


class Spool:
    """What one read gave: in memory, or in a private folder that is removed at the end.

    Args:
        moved: told of each batch that is taken out.
    """

    def __init__(self, settings: Settings, moved: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._moved = moved
        self.cursor_max: Any = None
        """The greatest value of the cursor column that is not in the future."""
        self.greatest: Any = None
        self._least: Any = None
        self._rows: StagedRows | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def rows(self) -> int:
        return self._rows.rows if self._rows else 0

    @property
    def at_rest(self) -> AtRest:
        """The rows, for a store."""
        return AtRest(self.open)

    def fill(self, batches: pa.RecordBatchReader, *, cursor: str | None) -> None:
        """Keeps the batches and remembers what the values of the cursor column span."""
        rows = self._stack.enter_context(StagedRows(batches.schema, self._settings.scratch_dir))
        for batch in batches:
            if cursor is not None and batch.num_rows:
                self._see(batch.column(cursor))
            rows.add(batch)
        self._rows = rows

    def _see(self, values: pa.Array) -> None:
        span = pc.min_max(values)
        least, greatest = nearest_of(span["min"]), nearest_of(span["max"])
        if greatest is None:
            return
        self._least = least if self._least is None else min(least, self._least)
        self.greatest = greatest if self.greatest is None else max(greatest, self.greatest)
        now = now_like(greatest)
        if now is not None and greatest > now:
            greatest = nearest_of(pc.max(values.filter(pc.less_equal(values, pa.scalar(now, values.type)))))
        if greatest is not None and (self.cursor_max is None or greatest > self.cursor_max):
            self.cursor_max = greatest

    def open(self) -> pa.RecordBatchReader:
        """Reads what was spooled, from the start."""
        assert self._rows
        return pa.RecordBatchReader.from_batches(self._rows.schema, self._stepping(self._rows.open()))

    def _stepping(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self._moved()
            yield batch

    def drop_known(self, landed: "pyarrow.dataset.Dataset", *, cursor: str | None, after: Any) -> None:
        """Drops rows that have landed: as many of each `_sis_hash` as the lake holds from `after` on, or from the
        least cursor of what was read, if the source reached further back.

        Where columns came or went since, rows are equal if they are so in the columns that both have.
        """
        known = landed
        here, there = ([n for n in s.names if not is_system(n)] for s in (self.open().schema, landed.schema))
        columns, same = [n for n in here if n in there], here == there
        if cursor is not None and after is not None and not isinstance(after, str):
            since = after if self._least is None else min(after, self._least)
            known = landed.filter(pc.field(cursor) >= pa.scalar(since, landed.schema.field(cursor).type))
        schema = self.open().schema
        fresh = self._stack.enter_context(StagedRows(schema, self._settings.scratch_dir))
        with open_duckdb(self._settings.memory_limit_bytes, self._settings.scratch_dir) as engine:
            engine.register("spooled", _compared(self.open(), None if same else columns))
            rows = known.scanner(columns=[HASH] if same else [HASH, *columns]).to_reader()
            engine.register("landed", _compared(rows, None if same else columns))
            found = engine.sql(
                f"""
                SELECT s.* EXCLUDE ({_COMPARED}, _sis_nth)
                FROM (SELECT *, row_number() OVER (PARTITION BY {_COMPARED}) AS _sis_nth FROM spooled) AS s
                ANTI JOIN
                (SELECT {_COMPARED}, row_number() OVER (PARTITION BY {_COMPARED}) AS _sis_nth FROM landed) AS l
                ON s.{_COMPARED} = l.{_COMPARED} AND s._sis_nth = l._sis_nth
                """  # noqa: S608 - made of a constant
            ).to_arrow_reader(65_536)
            for batch in found:
                fresh.fill(pa.Table.from_batches([batch]).cast(schema).to_batches())
        self._rows = fresh


def _compared(rows: pa.RecordBatchReader, columns: list[str] | None) -> pa.RecordBatchReader:
    """The rows with what they are compared by: `_sis_hash`, or the hash of the named columns."""
    schema = rows.schema.append(pa.field(_COMPARED, pa.int64()))

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            found = batch.column(HASH) if columns is None else row_hash(batch.select(columns))
            yield pa.RecordBatch.from_arrays([*batch.columns, found], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())
