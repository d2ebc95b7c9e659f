"""The records that a table has already, read chunk by chunk while its changes go on.

A chunk is read in one snapshot of the database, and then a mark is written into the log. At the mark the chunk takes
its place among the changes. Until then it is noted which keys were changed by transactions that the chunk's snapshot
did not see: those records of the chunk are old by then, and left out. Where the log left a value out of such a
change, nothing has it yet: that record is read once more with the next chunk. That is exact whatever the order in which
transactions become visible and stand in the log: comparing by marks alone is not, since a commit stands in the log
before others see it. It takes no lock and writes no table.

After Andreakis and Papapanagiotou, "DBLog: A Watermark Based Change-Data-Capture Framework", 2019, with PostgreSQL's
transaction ids in the place of low watermarks.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from psycopg import IsolationLevel, sql

from superinsight_sync.capture.postgres.catalogue import not_in_log, table_sql
from superinsight_sync.capture.postgres.connecting import Connection, Special
from superinsight_sync.capture.protocol import SnapshotStep
from superinsight_sync.core.arrow_values import one_array
from superinsight_sync.core.postgres_copy import copied
from superinsight_sync.databases.postgres_catalogue import describe, selected
from superinsight_sync.databases.postgres_types import Converter, PgColumn
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import ReadRequest

MARK_PREFIX = "superinsight-sync"
_WRAP = 2**32
_KEY = "_sis_key_{}"
_CHUNK_BYTES = 16 << 20
_FIRST_ROWS = 1_000


@dataclass(frozen=True)
class Visibility:
    """What a snapshot of the database sees.

    Attributes:
        xmin, xmax: transactions before `xmin` are over; those from `xmax` on had not begun.
        running: those in between that were not over.
    """

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def of(cls, text: str) -> "Visibility":
        """Of `pg_current_snapshot()`."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, running.split(","))) if running else frozenset())

    def sees(self, xid: int) -> bool:
        """Whether the changes of a transaction that was committed are in it."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)

    def whole(self, xid: int) -> int:
        """A transaction's whole number by the half that the log has; it is less than 2^31 away."""
        return self.xmax + (xid - self.xmax + 2**31) % _WRAP - 2**31


@dataclass
class Chunk:
    """Records read, and what has become of them since.

    Attributes:
        keys: the key's values as texts, a column each.
        page: how many of the records are of the table's next ones; the others were read once more.
        changed: keys changed since by transactions that the chunk does not see.
        again: those of them of which the log did not tell everything.
    """

    rows: pa.RecordBatch
    keys: list[pa.Array]
    sees: Visibility
    mark: bytes
    page: int
    changed: set[tuple[bytes, ...]] = field(default_factory=set)
    again: set[tuple[bytes, ...]] = field(default_factory=set)
    emptied: bool = False

    def note(self, xid: int, key: tuple[bytes, ...], *, whole: bool) -> None:
        """A record was changed."""
        if not self.sees.sees(self.sees.whole(xid)):
            self.changed.add(key)
            if not whole:
                self.again.add(key)

    def note_truncate(self, xid: int) -> None:
        """The table was emptied."""
        if not self.sees.sees(self.sees.whole(xid)):
            self.emptied = True

    def left(self) -> pa.RecordBatch:
        """The records that nobody changed since."""
        if self.emptied:
            return self.rows.slice(0, 0)
        if not self.changed:
            return self.rows
        names = [str(n) for n in range(len(self.keys))]
        index = pa.array(range(self.rows.num_rows), pa.int64())
        read = pa.table([*self.keys, index], names=[*names, "row"])
        changed = pa.table(
            [pa.array([k[n] for k in self.changed], pa.string()) for n in range(len(names))], names=names
        )
        kept = read.join(changed, keys=names, join_type="left anti").column("row")
        return self.rows.take(kept.combine_chunks())


class Snapshot:
    """Reads one table's chunks, through a connection of its own.

    Args:
        step: how far it is.
        most_rows: in a chunk; a wide table has fewer.
    """

    def __init__(
        self, db: Connection, stream: StreamSpec, step: SnapshotStep, most_rows: int, special: Special
    ) -> None:
        self.stream = stream
        self._after, self._again, self._is_read = step.after, step.again, False
        self._db = db
        self._most = most_rows
        self._special = special
        self._rows = min(most_rows, _FIRST_ROWS)

    def read(self, decoded: "Decoded") -> Chunk | None:
        """The next chunk. None if its snapshot would not see every transaction that the log has given: try again.

        Its mark is in the log when this returns.
        """
        self._db.isolation_level = IsolationLevel.REPEATABLE_READ
        self._db.autocommit = False
        try:
            sees = visibility(self._db)
            if not decoded.settle(sees):
                return None
            absent = not_in_log(self._db, self.stream)
            columns = tuple(c for c in describe(self._db, self.stream)[1] if c.name not in absent)
            rows, keys, page = self._read(columns)
        finally:
            self._db.rollback()
            self._db.autocommit = True
        mark = uuid.uuid4().hex.encode()
        self._db.execute("SELECT pg_logical_emit_message(true, %s, %s::text)", (MARK_PREFIX, mark.decode()))
        if page:
            self._after = tuple(k[page - 1].as_py() for k in keys)
        self._is_read = page < self._rows
        if rows.num_rows:
            fitting = self._rows * _CHUNK_BYTES // max(rows.nbytes, 1)
            self._rows = max(100, min(self._most, fitting))
        return Chunk(rows, keys, sees, mark, page)

    def reached(self, chunk: Chunk) -> SnapshotStep:
        """How far it is, once the chunk's mark was met."""
        self._again = tuple(tuple(v.decode() for v in key) for key in sorted(chunk.again))
        return SnapshotStep(self._after, self._is_read and not self._again, self._again)

    def _read(self, columns: tuple[PgColumn, ...]) -> tuple[pa.RecordBatch, list[pa.Array], int]:
        """The table's next records and those to be read once more; their keys; how many are the next ones."""
        request = ReadRequest(self.stream)
        converter = Converter(columns, request, self._special)
        names = self.stream.primary_key
        schema = pa.schema(
            [
                *(pa.field(c.name, c.sent) for c in columns),
                *(pa.field(_KEY.format(n), pa.string()) for n in range(len(names))),
            ]
        )
        tables = []
        for statement in self._statements(columns):
            with copied(self._db, statement, schema) as batches:
                tables.append(pa.Table.from_batches(list(batches), schema=schema))
        page = 0 if self._is_read else tables[0].num_rows
        table = pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
        arrays = [one_array(converter.convert(one_array(table.column(c.name)), c.column)) for c in columns]
        rows = pa.RecordBatch.from_arrays(
            arrays, schema=pa.schema([pa.field(c.name, c.arrow) for c in columns])
        )
        return rows, [one_array(table.column(_KEY.format(n))) for n in range(len(names))], page

    def _statements(self, columns: Sequence[PgColumn]) -> Iterator[str]:
        types = {c.name: sql.SQL(c.source_type) for c in columns}
        names = self.stream.primary_key
        keys = sql.SQL(", ").join(
            sql.SQL(".").join([table_sql(self.stream), sql.Identifier(n)]) for n in names
        )
        texts = [
            sql.SQL("format('%s', {}) AS {}").format(sql.Identifier(n), sql.Identifier(_KEY.format(i)))
            for i, n in enumerate(names)
        ]
        listed = sql.SQL(", ").join([*map(selected, columns), *texts])

        def key(values: Sequence[str]) -> sql.Composable:
            parts = [
                sql.SQL("{}::{}").format(sql.Literal(v), types[n]) for n, v in zip(names, values, strict=True)
            ]
            return sql.SQL("({})").format(sql.SQL(", ").join(parts))

        if not self._is_read:
            later: sql.Composable = sql.SQL("")
            if self._after is not None:
                later = sql.SQL(" WHERE ({}) > {}").format(keys, key(self._after))
            page = sql.SQL("SELECT {} FROM {}{} ORDER BY {} LIMIT {}").format(
                listed, table_sql(self.stream), later, keys, sql.Literal(self._rows)
            )
            yield page.as_string(self._db)
        if self._again:
            among = sql.SQL(", ").join(map(key, self._again))
            again = sql.SQL("SELECT {} FROM {} WHERE ({}) IN ({})").format(
                listed, table_sql(self.stream), keys, among
            )
            yield again.as_string(self._db)


class Decoded:
    """Transactions that the log has given and that others may not see yet.

    Args:
        unsettled: those of before a restart, by their whole numbers.
    """

    def __init__(self, unsettled: Sequence[int] = ()) -> None:
        self._before = set(unsettled)
        self._recent: list[int] = []

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, xid: int) -> None:
        """The log has given it; its number as there."""
        self._recent.append(xid)

    def settle(self, sees: Visibility) -> bool:
        """Forgets those that are seen; whether all are."""
        whole = {sees.whole(xid) for xid in self._recent} | self._before
        self._before = {xid for xid in whole if not sees.sees(xid)}
        self._recent.clear()
        return not self._before

    @property
    def unsettled(self) -> tuple[int, ...]:
        """Whole numbers of those that were not seen when it was last looked."""
        return tuple(sorted(self._before))


def visibility(db: Connection) -> Visibility:
    """What a statement of this session sees now."""
    row = db.execute("SELECT pg_current_snapshot()::text").fetchone()
    assert row is not None
    return Visibility.of(row[0])
