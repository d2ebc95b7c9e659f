"""Types the lake maps, and those it refuses."""

import uuid
from datetime import time
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.lake.types import cast_array, storable_schema, storable_type, widens


def test_a_slice_is_cast_like_the_whole() -> None:
    lists = pa.array([[time(1, 2)], None, [], [None, time(3, 4)]], pa.list_(pa.time64("us")))
    maps = pa.array([[("a", time(1, 2))], None, [], [("b", None)]], pa.map_(pa.string(), pa.time64("us")))
    structs = pa.array(
        [{"t": time(1)}, None, {"t": None}, {"t": time(2)}], pa.struct([("t", pa.time64("us"))])
    )
    for whole in (lists, maps, structs):
        kind = storable_type(whole.type)
        for start in range(5):
            for length in range(5):
                part = cast_array(whole.slice(start, length), kind, "c")
                part.validate(full=True)
                assert part.to_pylist() == cast_array(whole, kind, "c").slice(start, length).to_pylist()


def test_uuids_intervals_and_run_ends_keep_their_values() -> None:
    ids = [uuid.uuid4(), None, uuid.UUID(int=0)]
    storage = pa.array([i.bytes if i else None for i in ids], pa.binary(16))
    array = pa.ExtensionArray.from_storage(pa.uuid(), storage)
    assert cast_array(array, pa.string(), "c").to_pylist() == [str(i) if i else None for i in ids]
    assert cast_array(array.slice(1), pa.string(), "c").to_pylist() == [None, str(ids[2])]
    spans = pa.array([(1, -2, 3), None, (0, 0, -(2**62))], pa.month_day_nano_interval())
    kept = cast_array(spans.slice(1), storable_type(spans.type), "c").to_pylist()
    assert kept == [None, {"months": 0, "days": 0, "nanoseconds": -(2**62)}]
    runs = pc.run_end_encode(pa.array(["a", "a", None]))
    assert cast_array(runs, pa.string(), "c").to_pylist() == ["a", "a", None]
    texts = pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(['{"a":1}', None]))
    assert cast_array(texts, storable_type(texts.type), "c").to_pylist() == ['{"a":1}', None]


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (pa.array([1], pa.timestamp("ns")), "timestamp"),
        (pa.array([2**62], pa.timestamp("s")), "timestamp"),
        (pa.array([1], pa.duration("ns")), "duration"),
        (pa.array([86_400_001], pa.int64()).cast(pa.date64()), "date64"),
    ],
)
def test_a_value_that_would_not_survive_is_an_error_without_the_value(array: pa.Array, what: str) -> None:
    with pytest.raises(
        DataError, match=f"column 'c' holds a value that does not survive from {what}"
    ) as caught:
        cast_array(array, storable_type(array.type), "c")
    assert "86400001" not in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [
        pa.decimal256(39, 0),
        pa.dense_union([pa.field("a", pa.int8())]),
        pa.struct([]),
        pa.list_(pa.decimal256(76, 0)),
    ],
)
def test_a_type_with_no_lossless_way_is_refused(kind: pa.DataType) -> None:
    with pytest.raises(ConfigError, match="column 'c' has the type"):
        storable_schema(pa.schema([("c", kind)]))


def test_columns_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="come twice"):
        storable_schema(pa.schema([("a", pa.int8()), ("a", pa.int8())]))


def test_what_widens_keeps_every_value() -> None:
    kinds = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(5, 2)]
    kinds += [pa.decimal128(20, 0), pa.decimal128(21, 2), pa.string(), pa.bool_(), pa.list_(pa.int8())]
    extremes = {8: 2**7 - 1, 16: 2**15 - 1, 32: 2**31 - 1, 64: 2**63 - 1}
    for source in kinds:
        for target in kinds:
            if not widens(source, target):
                continue
            value = extremes[source.bit_width] if pa.types.is_integer(source) else None
            if pa.types.is_decimal(source):
                value = Decimal("9" * (source.precision - source.scale) + "." + "9" * source.scale)
            found = cast_array(pa.array([value], source), target, "c").to_pylist()[0]
            assert found == value
    assert widens(pa.int32(), pa.float64())
    assert not widens(pa.int64(), pa.float64())
    assert not widens(pa.int64(), pa.int32())
    assert not widens(pa.string(), pa.int64())
