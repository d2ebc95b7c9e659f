"""What a pushed stream's table is does not depend on which records were landed together."""

import json
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.sources.inbox.shape import OWN, Shape

INTEGERS = [0, 7, -3, 2**53 + 1, 2**60, -(2**63), 2**64, 10**39]
TEXTS = ["", "plain", "7", "true", '{"a": 1}', "[urgent]", '"quoted"', " {", "größe"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers() | st.sampled_from(INTEGERS),
    st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1.0, -0.0, 1e22, 2.0**60]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3) | st.sampled_from(TEXTS),
)
VALUES = SCALARS | st.sampled_from([{"a": 1}, {}, [], [1, "a"], {"a": [1.0]}, ["urgent"]])
RECORDS = st.dictionaries(st.sampled_from(["x", "y", "Y", "z"]), VALUES, max_size=3)


def landed(records: list[dict[str, Any]], cuts: set[int]) -> tuple[pa.Table, list[tuple[int, str]]]:
    """The table after all records, landed also before those of these numbers, and the misfits."""
    table, kinds, aside = pa.table({}), dict[str, list[str]](), list[tuple[int, str]]()
    starts = sorted({0, *cuts})
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        texts = [json.dumps(r).encode() for r in records[start:end]]
        shape = Shape({"d": "int64"}, table.schema, kinds=kinds)
        shape.see(texts)
        arrays, places, misfits = shape.rows(texts)
        for name, convert in shape.rewrites().items():
            column = convert(table.column(name).combine_chunks())
            table = table.set_column(table.schema.get_field_index(name), name, column)
        arrays["_sis_n"] = pa.array([start + n for n in places], pa.int64())
        table = pa.concat_tables([table, pa.table(arrays)], promote_options="default")
        aside += [(start + n, reason) for n, reason in misfits]
        kinds = shape.kinds
        assert {c.name for c in shape.columns} - {c.name for c in OWN} == set(arrays) - {"_sis_n"}
    return table.select(sorted(table.column_names)), aside


@given(st.lists(RECORDS, min_size=1, max_size=8), st.sets(st.integers(0, 7), max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_cutting_of_the_same_records_gives_the_same_table(
    records: list[dict[str, Any]], cuts: set[int]
) -> None:
    whole, kept = landed(records, set())
    cut, kept_too = landed(records, {c for c in cuts if c < len(records)})
    assert cut.schema.equals(whole.schema)
    assert repr(cut.to_pylist()) == repr(whole.to_pylist())
    assert kept_too == kept


@given(st.lists(VALUES, min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_text_and_an_object_are_never_the_same_and_both_come_back(values: list[Any]) -> None:
    found, _ = landed([{"x": v} for v in values], set())
    cells = found.column("x").to_pylist() if "x" in found.column_names else [None] * len(values)
    for value, cell in zip(values, cells, strict=True):
        if isinstance(value, str):
            mixed = any(isinstance(v, dict | list) for v in values)
            assert (json.loads(cell) if mixed and cell[:1] == '"' else cell) == value
        if isinstance(value, dict | list):
            assert cell[0] in "{[" and json.loads(cell) == value
    texts = {c for v, c in zip(values, cells, strict=True) if isinstance(v, str)}
    objects = {c for v, c in zip(values, cells, strict=True) if isinstance(v, dict | list)}
    assert not texts & objects
