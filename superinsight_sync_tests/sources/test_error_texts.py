"""What drivers say reaches a person without customers' values."""

import pytest

from superinsight_sync.core.errors import DataError
from superinsight_sync.databases.errors import mapped


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ('invalid input syntax for type integer: "4111-1111"', "invalid input syntax for type integer: '…'"),
        ("Integer value 4111111111 not in range: -128 to 127", "Integer value … not in range: … to …"),
        ("could not convert -41.11e3 to decimal128(38, 10)", "could not convert … to decimal128(38, …)"),
        ("Data truncated for column 'card' at row 3", "Data truncated for column '…' at row 3"),
        (
            "Could not convert '4111' with type str: tried 4111",
            "Could not convert '…' with type str: tried …",
        ),
    ],
)
def test_an_error_about_a_value_does_not_show_it(told: str, shown: str) -> None:
    error = mapped(ValueError(told))
    assert isinstance(error, DataError)
    assert str(error).startswith(shown + ".")
