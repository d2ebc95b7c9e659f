"""Declared type names."""

import subprocess
import sys

import pyarrow as pa
import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.types import arrow_type, type_text

CASES = {
    "string": pa.string(),
    "Text": pa.string(),
    "int64": pa.int64(),
    " integer ": pa.int64(),
    "uint32": pa.uint32(),
    "float": pa.float64(),
    "double": pa.float64(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "decimal(12,2)": pa.decimal128(12, 2),
    "DECIMAL( 38 , 0 )": pa.decimal128(38, 0),
    "numeric(9)": pa.decimal128(9, 0),
    "decimal128(12, 2)": pa.decimal128(12, 2),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
    "timestamp_ntz": pa.timestamp("us"),
    "binary": pa.binary(),
    "list<decimal(3,1)>": pa.list_(pa.decimal128(3, 1)),
    "struct<Name: string, b: list<int32>, c: decimal(3,1)>": pa.struct(
        [("Name", pa.string()), ("b", pa.list_(pa.int32())), ("c", pa.decimal128(3, 1))]
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.items())
def test_a_declared_type_is_its_arrow_type_and_back(text: str, expected: pa.DataType) -> None:
    assert arrow_type(text) == expected
    assert arrow_type(type_text(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "intt64", "decimal", "decimal(x)", "timestamp[ns]", "struct<a>", "list<>", "struct<:int>", "null"],
)
def test_an_unknown_type_is_refused_with_the_valid_ones(text: str) -> None:
    with pytest.raises(ConfigError, match=r"no column type.*Valid: string, bool") as caught:
        arrow_type(text)
    assert text != "intt64" or "Did you mean 'int64'" in str(caught.value)


@pytest.mark.parametrize("text", ["decimal(39,2)", "decimal(0,0)", "decimal(4,5)"])
def test_a_decimal_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="1 to 38 digits"):
        arrow_type(text)


def test_importing_the_types_does_not_import_pyarrow() -> None:
    code = "import sys, superinsight_sync.model.types; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
