"""Values made without Arrow's own conversion are those that it makes."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.arrow_values import falses, moment, null, number, numbers, python_of, text, texts

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MOMENTS = st.datetimes(timezones=st.just(UTC))
KINDS = [
    pa.int8(), pa.uint8(), pa.int16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64(),
    pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.duration("us"),
]  # fmt: skip


@given(st.lists(st.none() | TEXTS, max_size=30))
def test_texts_are_arrows(values: list[str | None]) -> None:
    made = texts(values)
    made.validate(full=True)
    assert made.equals(pa.array(values, pa.string()))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(values=st.lists(st.none() | st.integers(0, 127), max_size=30))
def test_numbers_are_arrows(kind: pa.DataType, values: list[int | None]) -> None:
    made = numbers(values, kind)
    made.validate(full=True)
    assert made.equals(
        pa.array(values, pa.int64()).cast(made.type if kind.bit_width == 64 else pa.int32()).cast(kind)
    )


@given(MOMENTS)
def test_a_moment_comes_back_as_it_was(at: datetime) -> None:
    assert moment(at) == pa.scalar(at, pa.timestamp("us", "UTC"))
    assert python_of(moment(at)) == at
    assert python_of(moment(at)).tzinfo is UTC


def test_single_values_and_what_is_false() -> None:
    assert text("😀") == pa.scalar("😀")
    assert number(-3, pa.int16()) == pa.scalar(-3, pa.int16())
    assert not null(pa.list_(pa.string())).is_valid
    assert python_of(null(pa.timestamp("us", "UTC"))) is None
    assert python_of(text("a")) == "a"
    assert [falses(n).to_pylist() for n in (0, 1, 9)] == [[], [False], [False] * 9]
