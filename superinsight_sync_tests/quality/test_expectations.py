import re
import subprocess
import sys

import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import NAME_PATTERN, ExpectSpec
from superinsight_sync.quality.catalogue import GX_TYPES
from superinsight_sync.quality.expectations import check_name, validate_specs


def spec(type_: str, **arguments: object) -> ExpectSpec:
    return ExpectSpec.model_validate({"type": type_, **arguments})


def refusal(*specs: ExpectSpec) -> str:
    with pytest.raises(ConfigError) as caught:
        validate_specs(specs)
    return str(caught.value)


def test_validating_declarations_imports_nothing_heavy() -> None:
    code = (
        "import sys; from superinsight_sync.model.declaration import ExpectSpec;"
        "from superinsight_sync.quality.expectations import validate_specs;"
        "import superinsight_sync.quality.run, superinsight_sync.quality.gx;"
        "import superinsight_sync.semantics.dictionary;"
        "validate_specs([ExpectSpec(type=t, column='a') for t in ('expect_column_to_exist', 'not_null')]);"
        "heavy = {'great_expectations', 'pandas', 'duckdb', 'pyarrow', 'polars', 'openai', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_good_declarations_pass() -> None:
    validate_specs(
        [
            spec("not_null", column="a"),
            spec("unique", column="a"),
            spec("unique", columns=["a", "b"]),
            spec("range", column="a", min=0, max=1.5),
            spec("set", column="a", values=["x", 1, True]),
            spec("reference", column="a", to="shop/customers", to_column="id"),
            spec("freshness", column="at", max_age="1h30m"),
            spec("row_count", min=1, match_source=True),
            spec("expect_column_values_to_be_between", column="a", min_value=0, mostly=0.9),
        ]
    )


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (
            spec("not_nul", column="a"),
            ["unknown expectation 'not_nul'", "Did you mean not_null", "row_count"],
        ),
        (
            spec("expect_column_values_to_be_nul", column="a"),
            ["expect_column_values_to_be_null", "expect_table_row_count_to_equal"],
        ),
        (spec("range", column="a", minimum=1), ["'minimum'", "Arguments of range: column, min, max"]),
        (spec("range", column="a"), ["min, max or both"]),
        (spec("not_null"), ["'column'", "required"]),
        (spec("set", column="a", values=[]), ["'values'"]),
        (spec("reference", column="a", to="customers"), ["'to'", "to_column"]),
        (spec("freshness", column="a", max_age="soon"), ["'max_age'", "30s, 10m"]),
        (spec("row_count"), ["match_source: true"]),
        (spec("expect_column_values_to_be_between", column="a", min=1), ["'min'", "min_value", "strict_max"]),
        (spec("expect_column_values_to_be_in_set", column="a"), ["'value_set'", "is missing"]),
    ],
)
def test_a_wrong_declaration_is_refused_with_what_is_valid(bad: ExpectSpec, words: list[str]) -> None:
    message = refusal(bad)
    for word in words:
        assert word in message, message


def test_two_expectations_of_one_name_are_refused() -> None:
    assert "'not_null_a'" in refusal(spec("not_null", column="a"), spec("not_null", column="a"))
    validate_specs([spec("not_null", column="a"), spec("not_null", column="a", name="again")])


def test_names_are_stable_valid_and_apart() -> None:
    assert check_name(spec("not_null", column="order_id")) == "not_null_order_id"
    assert check_name(spec("unique", columns=["a", "b"])) == "unique_a_b"
    assert check_name(spec("not_null", column="x", name="mine")) == "mine"
    odd = [
        spec("not_null", column=c)
        for c in ("Größe", "größe", "a b", "a_b", "a-b", "😀", "x" * 200, "x" * 201)
    ]
    names = [check_name(s) for s in odd]
    assert len(set(names)) == len(names)
    assert all(re.match(NAME_PATTERN, n) for n in names), names


def test_the_list_of_types_is_that_of_the_installed_library() -> None:
    import great_expectations.expectations as classes

    generic = {
        "id", "meta", "notes", "result_format", "description", "catch_exceptions", "rendered_content",
        "severity",
        "windows", "batch_id", "condition_parser", "library_metadata",
    }  # fmt: skip
    for name, (class_name, needed, optional) in GX_TYPES.items():
        made = getattr(classes, class_name)
        fields = {k: f.required for k, f in made.__fields__.items() if k not in generic}
        assert made.expectation_type == name
        assert {k for k, required in fields.items() if required} == set(needed), name
        assert {k for k, required in fields.items() if not required} == set(optional), name
