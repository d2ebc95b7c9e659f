"""JSON records straight into Arrow columns, where that gives just what the exact parser would.

Arrow's reader is told every key and type. It then refuses keys that are unknown or there twice and values of another
kind. What it would take besides is looked for here: numbers that are no numbers, wide or inexact ones, several objects
on a line, text that is no UTF-8. A block with any of that is left to the exact parser.
"""

import threading
from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from operator import itemgetter

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from superinsight_sync.records.cells import cast_texts
from superinsight_sync.records.json_types import Seen

_RAW = msgspec.json.Decoder(msgspec.Raw)
_BRACE = ord("{")
_DOUBLE_INTS = 2.0**53
_ZERO, _ONE = pa.scalar(0.0, pa.float64()), pa.scalar(1.0, pa.float64())
_WIDE = (pa.decimal128(38, 20), pa.decimal256(76, 45))
"""Hold as written what 17 digits are needed for: from 0.001 to 1e17, and from 1e-28 to 1e30 at more cost. Numbers
beyond go to the exact parser."""
_INT64 = (-(2**63), 2**63 - 1)
_PATIENCE = 4
_KEPT_BYTES = 64 << 20


class Attempts:
    """Whether trying is worth it: not after some failures in a row, and then again now and then."""

    def __init__(self) -> None:
        self._failures = 0

    def worth(self) -> bool:
        """Whether to try."""
        if self._failures < _PATIENCE:
            return True
        self._failures += 1
        return self._failures % 64 == 0

    def note(self, success: bool) -> None:
        """How it went."""
        self._failures = 0 if success else self._failures + 1


def strict_type(seen: Seen, empty: pa.DataType) -> pa.DataType | None:
    """The type to read what was seen so far as, and nothing else; None if there is none.

    Args:
        empty: for a place that had no value.
    """
    kinds = seen.kinds
    if not kinds:
        return empty
    if kinds in ({bool}, {str}):
        return pa.bool_() if kinds == {bool} else pa.string()
    if kinds == {int}:
        return pa.int64() if _INT64[0] <= seen.low and seen.high <= _INT64[1] else None
    if kinds in ({float}, {int, float}):
        return pa.float64() if seen.fits_double else None
    if kinds == {list} and seen.element:
        inner = strict_type(seen.element, empty)
        return None if inner is None else pa.list_(inner)
    if kinds == {dict} and seen.is_struct():
        fields = [(name, strict_type(field, empty)) for name, field in seen.fields.items()]
        return None if any(t is None for _, t in fields) else pa.struct(fields)
    return None


class _Room:
    """How many bytes of columns may still be kept in this process."""

    def __init__(self, size_bytes: int) -> None:
        self._left_bytes = size_bytes
        self._lock = threading.Lock()

    def take(self, size_bytes: int) -> bool:
        """Takes so many, if there are."""
        with self._lock:
            if size_bytes > self._left_bytes:
                return False
            self._left_bytes -= size_bytes
            return True

    def give(self, size_bytes: int) -> None:
        """Gives so many back."""
        with self._lock:
            self._left_bytes += size_bytes


_ROOM = _Room(_KEPT_BYTES)


class Proven:
    """Texts that became columns in a first pass. Their columns are kept for the second as long as there is room: 64 MB
    for all reads of the process."""

    def __init__(self) -> None:
        self._kept: dict[int, pa.RecordBatch | None] = {}

    def add(self, text: bytes, batch: pa.RecordBatch) -> None:
        """Takes a text and its columns."""
        self._drop(hash(text))
        self._kept[hash(text)] = batch if _ROOM.take(batch.nbytes) else None

    def __contains__(self, text: bytes) -> bool:
        return hash(text) in self._kept

    def take(self, text: bytes, schema: pa.Schema) -> pa.RecordBatch | None:
        """The columns kept of a text, which are given once; None if there are none that can have these types."""
        if (batch := self._drop(hash(text))) is None:
            return None
        missing = pa.nulls(batch.num_rows)
        try:
            arrays = [batch[f.name] if f.name in batch.schema.names else missing for f in schema]
            return pa.RecordBatch.from_arrays(
                [a.cast(f.type) for a, f in zip(arrays, schema, strict=True)], schema=schema
            )
        except pa.ArrowException:
            return None

    def _drop(self, key: int) -> pa.RecordBatch | None:
        if (batch := self._kept.get(key)) is not None:
            self._kept[key] = None
            _ROOM.give(batch.nbytes)
        return batch

    def __del__(self) -> None:
        for key in self._kept:
            self._drop(key)


class ColumnReader:
    """Reads records into columns whose types are known.

    Args:
        columns: name and type of each.
        seen: what was seen of them.
        declared: those whose values are brought into their type; the others' have it.
    """

    def __init__(
        self,
        columns: Sequence[tuple[str, pa.DataType]],
        seen: Mapping[str, Seen],
        declared: Container[str] = frozenset(),
    ) -> None:
        self._columns = tuple(columns)
        self._declared = declared
        self._attempts = Attempts()
        nothing = Seen()
        types = {
            name: strict_type(seen.get(name, nothing), pa.null() if name in declared else pa.string())
            for name, _ in columns
        }
        certain = all(types[n] is not None and (n in declared or types[n] == t) for n, t in columns)
        self._schema = pa.schema(list(types.items())) if certain else None

    def read(self, records: Sequence[bytes], proven: Proven | None = None) -> pa.RecordBatch | None:
        """The records, all of them, if it is certain that the exact parser gives the same; else None.

        Args:
            records: JSON texts, each a record or not.
            proven: what `read_columns` has read before.
        """
        if self._schema is None or not records or not self._attempts.worth():
            return None
        text = b"\n".join(records)
        found = proven.take(text, self._schema) if proven else None
        if found is None:
            known = proven is not None and text in proven
            found = read_columns(records, text, self._schema, proven=known)
        batch = None if found is None else self._typed(found)
        self._attempts.note(batch is not None)
        return batch

    def _typed(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        arrays = []
        for (name, dtype), array in zip(self._columns, batch.columns, strict=True):
            if name in self._declared:
                made = as_declared(array, dtype)
                if made is None or made[1]:
                    return None
                array = made[0]
            arrays.append(array)
        return pa.RecordBatch.from_arrays(arrays, names=[n for n, _ in self._columns])


def read_columns(
    records: Sequence[bytes], text: bytes, schema: pa.Schema, *, proven: bool = False
) -> pa.RecordBatch | None:
    """The records, if it is certain that the exact parser gives the same; else None.

    Args:
        records: JSON texts, each a record or not.
        text: the same, line by line.
        schema: of types that `strict_type` gives.
        proven: this text has been read before without None, with types of the same kinds.
    """
    if not proven and not _are_objects(records):
        return None
    batch = _read(text, schema, "error")
    if batch is None or batch.num_rows != len(records):
        return None
    with_floats = pa.schema([f for f in schema if _widened(f.type, pa.null()) != f.type])
    if not len(with_floats):
        return batch
    floats = [leaf for f in with_floats for leaf in _floats(batch.column(f.name))]
    if not all(map(_is_plain, floats)):
        return None
    return batch if proven or _are_exact(text, with_floats, floats) else None


def _are_objects(records: Sequence[bytes]) -> bool:
    """Whether each record is one JSON value, and an object. Arrow's reader crashes on a null in its place."""
    try:
        deque(map(_RAW.decode, records), maxlen=0)
    except (ValueError, RecursionError):
        return False
    return set(map(itemgetter(0), records)) <= {_BRACE}


def _read(text: bytes, schema: pa.Schema, unexpected: str) -> pa.RecordBatch | None:
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected)
    whole = pj.ReadOptions(use_threads=False, block_size=len(text) + 1)
    try:
        table = pj.read_json(pa.BufferReader(text), read_options=whole, parse_options=options)
        table.validate(full=True)
    except (pa.ArrowException, UnicodeDecodeError):  # the latter for a message about such text
        return None
    batches = table.combine_chunks().to_batches()
    return batches[0].select(schema.names) if batches else None


def _floats(array: pa.Array) -> Iterator[pa.Array]:
    """The numbers with a fraction anywhere in a column."""
    if pa.types.is_struct(array.type):
        for inner in array.flatten():
            yield from _floats(inner)
    elif pa.types.is_list(array.type):
        yield from _floats(array.flatten())
    elif pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        yield array


def _is_plain(floats: pa.Array) -> bool:
    """Whether none of them is NaN, infinite, minus zero, or so big that integers are not exact."""
    if pc.any(pc.is_nan(floats)).as_py():
        return False
    bounds = pc.min_max(floats)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is None:
        return True
    if not -_DOUBLE_INTS < low <= high < _DOUBLE_INTS:
        return False
    zeros = floats.filter(pc.equal(floats, _ZERO))
    return not len(zeros) or pc.min(pc.divide(_ONE, zeros)).as_py() > 0


def _are_exact(text: bytes, schema: pa.Schema, floats: list[pa.Array]) -> bool:
    """Whether each number is what is written there."""
    for dtype in _WIDE:
        wide = _read(text, pa.schema([(f.name, _widened(f.type, dtype)) for f in schema]), "ignore")
        if wide is None:
            continue
        written = [leaf for f in schema for leaf in _floats(wide.column(f.name))]
        try:
            return all(
                f.cast(pa.string()).cast(dtype).equals(w) for f, w in zip(floats, written, strict=True)
            )
        except pa.ArrowException:
            return False
    return False


def _widened(dtype: pa.DataType, wide: pa.DataType) -> pa.DataType:
    """The type with this one for numbers with a fraction."""
    if pa.types.is_floating(dtype):
        return wide
    if pa.types.is_list(dtype):
        return pa.list_(_widened(dtype.value_type, wide))
    if pa.types.is_struct(dtype):
        return pa.struct([(f.name, _widened(f.type, wide)) for f in dtype])
    return dtype


def note(seen: Seen, array: pa.Array) -> None:
    """Adds the values of a column that was read as `seen` says."""
    if pa.types.is_integer(array.type):
        bounds = pc.min_max(array)
        ends = [bounds["min"].as_py(), bounds["max"].as_py()]
        narrow = ends[0] is None or max(-ends[0], ends[1]) <= _DOUBLE_INTS
        seen.add(ends if narrow else array.to_pylist())
    elif pa.types.is_struct(array.type):
        for field, inner in zip(array.type, array.flatten(), strict=True):
            note(seen.fields[field.name], inner)
    elif pa.types.is_list(array.type) and seen.element:
        note(seen.element, array.flatten())


def as_declared(array: pa.Array, dtype: pa.DataType) -> tuple[pa.Array, list[int]] | None:
    """Values as a declared type and the places of those that are not of it, as `cast_texts` has it; None where
    their text is needed as they were written."""
    if pa.types.is_nested(array.type) or pa.types.is_nested(dtype):
        return None
    if pa.types.is_floating(array.type) and not (pa.types.is_floating(dtype) or pa.types.is_decimal(dtype)):
        return None
    return cast_texts(array if pa.types.is_string(array.type) else array.cast(pa.string()), dtype)
