"""Numbers of JSON: a float printed to any number of digits is that float, others keep their digits."""

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from superinsight_sync.records.json_text import number_of


@given(value=st.floats(allow_nan=False, allow_infinity=False), digits=st.integers(17, 60))
@example(value=8.39459, digits=17)
@example(value=5e-324, digits=17)
def test_a_float_printed_to_any_number_of_digits_is_that_float(value: float, digits: int) -> None:
    assert number_of(f"{value:.{digits - 1}e}") == value
    assert isinstance(number_of(f"{value:.{digits - 1}e}"), float)
    assert number_of(repr(value)) == value


@pytest.mark.parametrize(
    "text", ["8.3945900000000008", "9007199254740993.0", "1.0000000000000000001", "1e400"]
)
def test_a_number_that_no_float_was_printed_as_keeps_its_digits(text: str) -> None:
    assert number_of(text) == Decimal(text)
    assert isinstance(number_of(text), Decimal)
