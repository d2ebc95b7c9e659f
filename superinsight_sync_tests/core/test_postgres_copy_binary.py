"""PostgreSQL's binary COPY, as its documentation describes it, read back: whatever is in it, and whatever is wrong."""

import random
import struct
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.core import postgres_copy_binary
from superinsight_sync.core.errors import DataError
from superinsight_sync.core.postgres_copy_binary import batches_of

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
PACKED = {
    pa.bool_(): "?",
    pa.int16(): ">h",
    pa.int32(): ">i",
    pa.int64(): ">q",
    pa.float32(): ">f",
    pa.float64(): ">d",
}
DAY, NOON = date(2000, 1, 1), datetime(2000, 1, 1)
VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.bool_(): st.booleans(),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.string(): st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    pa.binary(): st.binary(max_size=40),
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("us", tz="UTC"): st.datetimes(timezones=st.just(UTC)),
}
KINDS = st.sampled_from(list(VALUES)) | st.sampled_from([pa.list_(kind) for kind in VALUES])


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    inner = VALUES[kind.value_type] if pa.types.is_list(kind) else VALUES[kind]
    return st.none() | (st.lists(st.none() | inner, max_size=4) if pa.types.is_list(kind) else inner)


FIXED = st.sampled_from([k for k in VALUES if not (pa.types.is_string(k) or pa.types.is_binary(k))])
TABLES = (st.lists(KINDS, min_size=1, max_size=5) | st.lists(FIXED, min_size=6, max_size=20)).flatmap(
    lambda kinds: st.tuples(st.just(kinds), st.lists(st.tuples(*map(values, kinds)), max_size=12))
)


def packed(value: Any, kind: pa.DataType) -> bytes:
    """One field."""
    if value is None:
        return struct.pack(">i", -1)
    if kind in PACKED:
        data = struct.pack(PACKED[kind], value)
    elif pa.types.is_list(kind):
        elements = b"".join(packed(v, kind.value_type) for v in value)
        data = struct.pack(">iii", 1, None in value, 23) + struct.pack(">ii", len(value), 1) + elements
        data = data if value else struct.pack(">iii", 0, 0, 23)
    elif pa.types.is_date(kind):
        data = struct.pack(">i", (value - DAY).days)
    elif pa.types.is_timestamp(kind):
        data = struct.pack(">q", (value.replace(tzinfo=None) - NOON) // timedelta(microseconds=1))
    else:
        data = value.encode() if isinstance(value, str) else value
    return struct.pack(">i", len(data)) + data


def messages(kinds: Sequence[pa.DataType], rows: Sequence[Sequence[Any]]) -> list[bytes]:
    """As a server sends them: the header goes with what is first."""
    sent = [struct.pack(">h", len(kinds)) + b"".join(map(packed, row, kinds)) for row in rows]
    sent.append(TRAILER)
    return [HEADER + sent[0], *sent[1:]]


def schema(kinds: Sequence[pa.DataType]) -> pa.Schema:
    return pa.schema([(f"c{n}", kind) for n, kind in enumerate(kinds)])


@settings(max_examples=300)
@given(TABLES, st.integers(1, 5), st.integers(1, 300))
def test_every_value_comes_back_whatever_the_batches(
    table: tuple[list[pa.DataType], list[tuple[Any, ...]]], most_rows: int, most_bytes: int
) -> None:
    kinds, rows = table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_copy_binary, "BATCH_ROWS", most_rows)
        patch.setattr(postgres_copy_binary, "BATCH_BYTES", most_bytes)
        batches = list(batches_of(messages(kinds, rows), schema(kinds)))
    found = pa.Table.from_batches(batches, schema(kinds))
    found.validate(full=True)
    columns = [pa.array([row[n] for row in rows], kind) for n, kind in enumerate(kinds)]
    assert found.combine_chunks().equals(pa.table(columns, schema(kinds)))


def test_many_columns_of_nulls_at_the_end() -> None:
    kinds = [pa.int64()] * 40
    rows = [tuple(range(40)), (None,) * 40]
    (batch,) = batches_of(messages(kinds, rows), schema(kinds))
    assert [tuple(row.values()) for row in batch.to_pylist()] == rows


@settings(max_examples=300)
@given(TABLES.filter(lambda table: bool(table[1])), st.randoms(use_true_random=False))
def test_bytes_that_are_no_such_rows_are_an_error_and_nothing_worse(
    table: tuple[list[pa.DataType], list[tuple[Any, ...]]], rng: random.Random
) -> None:
    kinds, rows = table
    sent = messages(kinds, rows)
    number = rng.randrange(len(sent))
    broken = bytearray(sent[number])
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(broken))
        broken[place : place + rng.randint(0, 4)] = rng.randbytes(rng.choice([0, 1, 4]))
        if not broken:
            broken = bytearray(b"\0")
    sent[number] = bytes(broken)
    try:
        for batch in batches_of(sent, schema(kinds)):
            batch.validate(full=True)
    except (DataError, pa.ArrowInvalid):
        return


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_rows_that_end_without_the_trailer_are_an_error(cut: int) -> None:
    sent = messages([pa.int32()], [(1,), (2,)])[:cut]
    with pytest.raises(DataError, match="did not send rows in PostgreSQL's binary COPY format"):
        list(batches_of(sent, schema([pa.int32()])))


def test_infinite_times_are_smaller_than_all_others() -> None:
    kinds = [pa.date32(), pa.timestamp("us")]
    low = struct.pack(">hii", 2, 4, -(2**31)) + struct.pack(">iq", 8, -(2**63))
    high = struct.pack(">hii", 2, 4, 2**31 - 1) + struct.pack(">iq", 8, 2**63 - 1)
    (batch,) = batches_of([HEADER + low, high, TRAILER], schema(kinds))
    assert all(day < -2_440_588 for day in batch.column(0).cast(pa.int32()).to_pylist())
    assert all(at < -210_866_803_200_000_000 for at in batch.column(1).cast(pa.int64()).to_pylist())


def test_batches_stay_bounded_when_rows_become_long_all_at_once() -> None:
    long = 3_000_000
    rows = [("x",)] * 5_000 + [("y" * long,)] * 60 + [("z",)] * 5_000
    sizes, count = [], 0
    for batch in batches_of(messages([pa.string()], rows), schema([pa.string()])):
        sizes.append(batch.nbytes)
        count += batch.num_rows
    assert count == len(rows)
    assert max(sizes) <= 4 * postgres_copy_binary.BATCH_BYTES + 2 * long


def test_vectors_of_many_numbers_arrive() -> None:
    vectors = [[float(n + m) for n in range(1_536)] for m in range(500)] + [None, []]
    kind = pa.list_(pa.float32())
    found = list(batches_of(messages([kind], [(v,) for v in vectors]), schema([kind])))
    assert [v for batch in found for v in batch.column(0).to_pylist()] == vectors
