"""Properties of every store."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import TransientError
from superinsight_sync.lake.store import Store
from superinsight_sync.lake.types import storable_type
from superinsight_sync_tests.lake.conftest import STORES
from superinsight_sync_tests.lake.rows import breaking, commit, names, new_table, orders, reads

NAIVE = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))
AWARE = NAIVE.map(lambda at: at.replace(tzinfo=UTC))
ORDER = "order"
TEXT = st.text(st.characters(codec="utf-8"))
NS = st.integers(-(2**62) // 1000, 2**62 // 1000).map(lambda us: us * 1000)


def pairs(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[str, Any]]]:
    return st.dictionaries(TEXT, values, max_size=3).map(lambda d: list(d.items()))


TYPES: Sequence[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.bool_(), st.booleans()),
    *((t, st.integers(-(2 ** (b - 1)), 2 ** (b - 1) - 1)) for b, t in [(8, pa.int8()), (16, pa.int16())]),
    *((t, st.integers(-(2 ** (b - 1)), 2 ** (b - 1) - 1)) for b, t in [(32, pa.int32()), (64, pa.int64())]),
    *((t, st.integers(0, 2**b - 1)) for b, t in [(8, pa.uint8()), (16, pa.uint16()), (32, pa.uint32())]),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float16(), st.floats(width=16)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.decimal128(38, 10), st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(f"{n}e-10"))),
    (pa.decimal128(5, -2), st.integers(-99999, 99999).map(lambda n: Decimal(f"{n}e2"))),
    (pa.decimal256(30, 3), st.integers(-(10**30) + 1, 10**30 - 1).map(lambda n: Decimal(f"{n}e-3"))),
    (pa.string(), TEXT),
    (pa.large_string(), TEXT),
    (pa.string_view(), TEXT),
    (pa.dictionary(pa.int32(), pa.string()), TEXT),
    (pa.binary(), st.binary()),
    (pa.binary_view(), st.binary()),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.date32(), st.dates()),
    (pa.date64(), st.dates()),
    (pa.time32("ms"), st.times().map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000))),
    (pa.time64("us"), st.times()),
    (pa.timestamp("us"), NAIVE),
    (pa.timestamp("s", "UTC"), AWARE.map(lambda t: t.replace(microsecond=0))),
    (pa.timestamp("us", "Europe/Berlin"), AWARE.filter(lambda at: 1 < at.year < 9999)),
    (pa.timestamp("ns"), NS),
    (pa.duration("us"), st.integers(-(2**62), 2**62)),
    (pa.null(), st.none()),
    (pa.list_(pa.int32()), st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=3)),
    (pa.list_(pa.uint64()), st.lists(st.none() | st.integers(0, 2**64 - 1), max_size=3)),
    (pa.list_(pa.string_view()), st.lists(st.none() | TEXT, max_size=3)),
    (pa.map_(pa.string(), pa.int64()), pairs(st.integers(0, 9))),
    (pa.map_(pa.string(), pa.time64("us")), pairs(st.times())),
    (
        pa.struct([("a", pa.time64("us")), ("b", pa.list_(pa.uint8()))]),
        st.fixed_dictionaries({"a": st.none() | st.times(), "b": st.none() | st.lists(st.integers(0, 255))}),
    ),
    (
        pa.list_(pa.struct([("x", pa.float16())])),
        st.lists(st.none() | st.fixed_dictionaries({"x": st.none() | st.floats(width=16)}), max_size=2),
    ),
]  # fmt: skip


@st.composite
def columns(draw: st.DrawFn) -> pa.Table:
    """Up to 8 rows of up to 5 columns of any supported type, under awkward names."""
    kinds = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=5))
    count = draw(st.integers(0, 8))
    arrays = [pa.array(draw(st.lists(st.none() | v, min_size=count, max_size=count)), t) for t, v in kinds]
    arrays.append(pa.array(range(count), pa.int64()))
    awkward = ["id", "a b", 'q"uote', "dot.ted", "größe 😀", "`tick`"]
    return pa.table(dict(zip([*awkward[: len(arrays) - 1], ORDER], arrays, strict=True)))


def plain(kind: pa.DataType, value: Any) -> Any:
    """What a value must read back as, by Python's own arithmetic."""
    match value:
        case None:
            return None
        case float():
            return "nan" if value != value else value + 0.0
        case time():
            return value.isoformat(timespec="milliseconds" if kind == pa.time32("ms") else "microseconds")
        case timedelta():
            return value // timedelta(microseconds=1)
        case list() if pa.types.is_map(kind):
            return {k: plain(kind.item_type, v) for k, v in value}
        case list():
            return [plain(kind.value_type, v) for v in value]
        case dict():
            return {n: plain(kind.field(n).type, v) for n, v in value.items()}
    return value


def expected(array: pa.ChunkedArray) -> list[Any]:
    kind = array.type
    if kind == pa.duration("us"):
        return list(array.cast(pa.int64()).to_pylist())
    if kind == pa.timestamp("ns"):
        array = array.cast(pa.timestamp("us"))
    return [plain(kind, v) for v in array.to_pylist()]


@pytest.fixture(params=["delta-local"])
def store(request: pytest.FixtureRequest) -> Store:
    return STORES[request.param](request)


@pytest.fixture
def s3_store(request: pytest.FixtureRequest) -> Store:
    return STORES["delta-s3"](request)


@given(rows=columns())
@settings(max_examples=150)
def test_any_arrow_value_of_a_supported_type_survives(store: Store, rows: pa.Table) -> None:
    check_values_survive(store, rows)


@given(rows=columns())
@settings(max_examples=100)
def test_any_arrow_value_of_a_supported_type_survives_on_s3(s3_store: Store, rows: pa.Table) -> None:
    check_values_survive(s3_store, rows)


def check_values_survive(store: Store, rows: pa.Table) -> None:
    table = new_table()
    store.append(table, reads(rows, "l1", by=None), commit("l1"))
    for found in (store.scan(table).read_all(), store.dataset(table).to_table()):
        found = found.sort_by(ORDER)
        for name in rows.column_names:
            kind = storable_type(rows[name].type)
            assert found.schema.field(name).type == kind
            assert [plain(kind, v) for v in found[name].to_pylist()] == expected(rows[name])


@dataclass(frozen=True)
class Step:
    """One thing that happens to a stream: a load that lands, breaks, or is repeated; upkeep; a rollback."""

    kind: str
    rows: int
    verb: str


STEP = st.builds(
    Step,
    st.sampled_from(["land", "land", "break", "break late", "repeat", "maintain", "rollback"]),
    st.integers(0, 3),
    st.sampled_from(["append", "merge", "replace"]),
)
STEPS = st.lists(STEP, min_size=1, max_size=7)
FEW_STEPS = st.lists(STEP, min_size=1, max_size=3)
"""For S3, where each step takes longer."""


class Lost(TransientError):
    """The interruption of a test."""


@given(steps=STEPS)
@settings(max_examples=100)
def test_a_checkpoint_saved_is_the_one_restored_after_any_interruption(
    store: Store, steps: list[Step]
) -> None:
    check_checkpoint_restored(store, steps)


@given(steps=FEW_STEPS)
@settings(max_examples=100)
def test_a_checkpoint_saved_is_the_one_restored_on_s3(s3_store: Store, steps: list[Step]) -> None:
    check_checkpoint_restored(s3_store, steps)


def check_checkpoint_restored(store: Store, steps: list[Step]) -> None:
    table = new_table()
    past: list[tuple[str, dict[int, str], int | None]] = []
    rows: dict[int, str] = {}
    cursor: int | None = None
    last = "none"
    for number, step in enumerate(steps):
        load = f"l{number}"
        some = {number * 10 + n: load for n in range(step.rows)}
        data = reads(orders(*((k, v, 1) for k, v in some.items())), load)
        if step.kind == "land":
            past.append((load, dict(rows), cursor))
            write(store, step.verb, table, data, load, number)
            rows = some if step.verb == "replace" else rows | some
            cursor, last = number, load
        elif step.kind in ("break", "break late"):
            broken = breaking(data, Lost("x"), after=0 if step.kind == "break" else 9)
            with pytest.raises(Lost):
                write(store, step.verb, table, broken, load, number)
        elif step.kind == "repeat" and past and last == past[-1][0]:
            write(store, step.verb, table, data, last, -1)
        elif step.kind == "maintain":
            store.maintain(table, retention=timedelta(days=1))
        elif step.kind == "rollback" and past and last == past[-1][0] and rows != past[-1][1]:
            last, rows, cursor = past.pop()
            store.rollback(table, last)
            last = "none"
        found = store.checkpoint(table)
        assert (found.cursor if found else None) == cursor
        if store.exists(table):
            assert names(store, table) == sorted(rows.items(), key=repr)


def write(store: Store, verb: str, table: Any, data: Any, load: str, number: int) -> None:
    if verb == "merge":
        store.merge(table, data, commit(load, number), keys=["id"])
    else:
        getattr(store, verb)(table, data, commit(load, number))
