"""Changes of one table, gathered until they become a batch."""

from collections.abc import Sequence

import pyarrow as pa

from superinsight_sync.capture.postgres.messages import UNCHANGED, Relation, Row, moment_of
from superinsight_sync.capture.postgres.values import ToJson, values_of
from superinsight_sync.capture.protocol import Op
from superinsight_sync.core.arrow_values import one_array
from superinsight_sync.databases.postgres_types import Converter, PgColumn
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.tables import COMMITTED_AT, OP, POSITION
from superinsight_sync.model.tables import UNCHANGED as UNCHANGED_COLUMN

_EPOCH_US = int(moment_of(0).timestamp()) * 1_000_000
CHANGE_FIELDS = (
    pa.field(OP, pa.string()),
    pa.field(POSITION, pa.string()),
    pa.field(COMMITTED_AT, pa.timestamp("us", "UTC")),
    pa.field(UNCHANGED_COLUMN, pa.list_(pa.string())),
)


def place_text(lsn: int) -> str:
    """A place in the log as a text that sorts as the log does."""
    return f"{lsn:016X}"


def place_of(text: str) -> int:
    """The inverse of `place_text`."""
    return int(text, 16)


class TableRows:
    """The changes of one table, while it has these columns.

    Args:
        columns: as `relation` had them, in its order.
        to_json: see `values_of`.
    """

    def __init__(
        self,
        stream: StreamSpec,
        relation: Relation,
        columns: Sequence[PgColumn],
        converter: Converter,
        to_json: ToJson,
    ) -> None:
        self.stream = stream
        self.relation = relation
        self._columns = columns
        self._converter = converter
        self._to_json = to_json
        names = [c.name for c in relation.columns]
        self.key = [names.index(k) for k in stream.primary_key]
        self._whole = relation.identity == "f"
        self._empty: Row = [None] * len(names)
        self._clear()

    def _clear(self) -> None:
        self._rows: list[Row] = []
        self._ops: list[str] = []
        self._places: list[str] = []
        self._times: list[int] = []
        self._partial: dict[int, list[str]] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def key_of(self, row: Row) -> tuple[bytes, ...]:
        """The primary key's values as texts."""
        return tuple(v if isinstance(v, bytes) else b"" for v in (row[i] for i in self.key))

    def add(self, op: Op, row: Row | None, place: str, at_us: int) -> None:
        """Puts a change behind those before."""
        values = self._empty if row is None else row
        if UNCHANGED in values:
            names = [self._columns[i].name for i, v in enumerate(values) if v is UNCHANGED]
            self._partial[len(self._rows)] = names
            values = [None if v is UNCHANGED else v for v in values]
        self._rows.append(values)
        self._ops.append(op)
        self._places.append(place)
        self._times.append(at_us)
        self.size_bytes += sum(len(v) for v in values if isinstance(v, bytes))

    def take(self) -> pa.RecordBatch:
        """All of them, which are forgotten here. Raises DataError."""
        arrays = []
        for column, written in zip(self._columns, zip(*self._rows, strict=True), strict=True):
            found = values_of(column, pa.array(written, pa.string()), self._to_json)
            arrays.append(one_array(self._converter.convert(found, column.column)))
        times = pa.array([t + _EPOCH_US for t in self._times], pa.int64()).cast(CHANGE_FIELDS[2].type)
        unchanged = pa.nulls(len(self._rows), CHANGE_FIELDS[3].type)
        if self._partial:
            names = [self._partial.get(n) for n in range(len(self._rows))]
            unchanged = pa.array(names, CHANGE_FIELDS[3].type)
        arrays += [pa.array(self._ops, pa.string()), pa.array(self._places, pa.string()), times, unchanged]
        fields = [pa.field(c.name, c.arrow) for c in self._columns]
        self._clear()
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([*fields, *CHANGE_FIELDS]))
