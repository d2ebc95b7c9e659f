import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from superinsight_sync.model.declaration import DictionarySpec
from superinsight_sync.semantics.dictionary import bucket, describe
from superinsight_sync.semantics.model import Dictionary
from superinsight_sync.semantics.profile import ColumnProfile, profile
from superinsight_sync.semantics.rules import Shape, Sibling, find_relations
from superinsight_sync.semantics.words import readable, singular

EARLY, LATE = datetime.fromisoformat("1900-01-01"), datetime.fromisoformat("2200-01-01")

COLUMN = st.one_of(
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=20, max_size=20).map(
        lambda v: pa.array(v, pa.int64())
    ),
    st.lists(st.one_of(st.none(), st.floats()), min_size=20, max_size=20).map(
        lambda v: pa.array(v, pa.float64())
    ),
    st.lists(st.one_of(st.none(), st.text(max_size=8)), min_size=20, max_size=20).map(
        lambda v: pa.array(v, pa.string())
    ),
    st.lists(st.one_of(st.none(), st.sampled_from(["a", "b|c", "😀"])), min_size=20, max_size=20).map(
        lambda v: pa.array(v, pa.string())
    ),
    st.lists(
        st.one_of(st.none(), st.datetimes(EARLY, LATE, timezones=st.just(UTC))),
        min_size=20,
        max_size=20,
    ).map(lambda v: pa.array(v, pa.timestamp("us", "UTC"))),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=20, max_size=20).map(
        lambda v: pa.array(v, pa.bool_())
    ),
)
NAME = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12).filter(
    lambda n: not n.startswith("_sis_")
)


def dictionary(table: pa.Table, **shape: Any) -> Dictionary:
    found = profile(ds.dataset(table), table="things")
    return describe(found, Shape("shop/things", **shape), DictionarySpec()).dictionary


def column(table: pa.Table, name: str = "x", stream: str = "") -> ColumnProfile:
    return next(c for c in profile(ds.dataset(table), table=stream).columns if c.name == name)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(COLUMN, min_size=1, max_size=2),
    st.lists(NAME, min_size=2, max_size=2, unique_by=str.lower),
    st.integers(0, 99),
)
def test_the_dictionary_of_the_same_data_is_the_same_bytes(
    columns: list[pa.Array], names: list[str], seed: int
) -> None:
    table = pa.table(columns, names=names[: len(columns)])
    order = list(range(table.num_rows))
    random.Random(seed).shuffle(order)
    cut = pa.Table.from_batches(table.take(order).to_batches(max_chunksize=7))
    first, again = dictionary(table), dictionary(cut)
    assert first.to_json().encode() == again.to_json().encode()
    assert first.to_markdown().encode() == again.to_markdown().encode()
    assert first.fingerprint == again.fingerprint
    assert Dictionary.model_validate_json(Dictionary.model_dump_json(first)) == first


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dep_delay", "Departure delay"),
        ("tailnum", "Tail number"),
        ("schedDepTime", "Scheduled departure time"),
        ("customerID", "Customer ID"),
        ("wind_dir", "Wind direction"),
        ("paid", "Paid"),
        ("updated_at", "Updated at"),
        ("😀", "😀"),
        ("姓名", "姓名"),
    ],
)
def test_names_become_readable(name: str, text: str) -> None:
    assert readable(name) == text


def test_nouns_become_singular() -> None:
    assert [singular(w) for w in ("orders", "companies", "boxes", "status", "address")] == [
        "order",
        "company",
        "box",
        "status",
        "address",
    ]


@pytest.mark.parametrize(
    ("name", "type_", "unit"),
    [
        ("wait_ms", pa.int64(), "milliseconds"),
        ("distance_km", pa.float64(), "kilometres"),
        ("price_usd", pa.decimal128(12, 2), "US dollars"),
        ("percent", pa.float64(), "percent"),
        ("s", pa.int64(), None),
        ("wait_ms", pa.string(), None),
    ],
)
def test_units_come_from_the_end_of_a_number_s_name(name: str, type_: pa.DataType, unit: str | None) -> None:
    assert dictionary(pa.table({name: pa.nulls(2, type_)})).fields[0].unit == unit


def test_a_database_comment_is_the_description_and_may_tell_the_unit() -> None:
    field = dictionary(pa.table({"temp": [1.5]}), column_comments={"temp": "Air temperature in °C"}).fields[0]
    assert (field.description, field.unit, field.source) == (
        "Air temperature in °C",
        "degrees Celsius",
        "db_comment",
    )


def test_a_profile_shows_values_only_of_small_sets_with_five_rows_each() -> None:
    table = pa.table({"x": ["red"] * 9 + ["blue"] * 5 + ["rare"] * 4})
    assert column(table).top == (("red", 9), ("blue", 5))
    many = pa.table({"x": [f"v{i}" for i in range(51)] * 5})
    assert column(many).top == ()
    assert column(pa.table({"x": [f"v{i}" for i in range(50)] * 5})).top != ()


def test_a_few_rows_show_no_bounds() -> None:
    assert column(pa.table({"x": [1, 2, 3, 4]})).low is None
    assert column(pa.table({"x": [1, 2, 3, 4, 5]})).high == 5


def test_bounds_and_means_of_every_ordered_type() -> None:
    times = [datetime(2024, 1, d, tzinfo=UTC) for d in range(1, 6)]
    table = pa.table(
        {
            "d": pa.array([Decimal(i) / 4 for i in range(5)], pa.decimal128(10, 2)),
            "f": pa.array([1.0, 2.0, 3.0, float("nan"), float("inf")]),
            "t": pa.array(times, pa.timestamp("us", "UTC")),
            "n": pa.array(times, pa.timestamp("ns", "UTC")),
        }
    )
    found = {c.name: c for c in profile(ds.dataset(table)).columns}
    assert (found["d"].low, found["d"].high, found["d"].mean) == (0.0, 1.0, 0.5)
    assert (found["f"].low, found["f"].high, found["f"].mean) == (1.0, 3.0, 2.0)
    for name in "tn":
        assert (found[name].low, found[name].mean) == ("2024-01-01 00:00:00+00", "2024-01-03 00:00:00")


def test_an_empty_table_and_one_of_system_columns_have_a_dictionary() -> None:
    empty = dictionary(pa.table({"x": pa.array([], pa.int64()), "_sis_hash": pa.array([], pa.string())}))
    assert (empty.rows, [f.name for f in empty.fields]) == (0, ["x"])
    assert dictionary(pa.table({"_sis_hash": ["a"]})).fields == ()


def test_types_the_engine_does_not_know_still_count_nulls() -> None:
    table = pa.table(
        {"x": pa.array([Decimal(1), None], pa.decimal256(60, 1)), "n": pa.nulls(2), "l": [[1], None]}
    )
    assert [(c.name, c.nulls) for c in profile(ds.dataset(table)).columns] == [("x", 1), ("n", 2), ("l", 1)]


def test_unique_columns_are_key_candidates_and_a_declared_key_is_the_key() -> None:
    table = pa.table({"order_id": list(range(30)), "twice": [*range(29), 0], "hole": [None, *range(29)]})
    assert [k.columns for k in dictionary(table).keys] == [("order_id",)]
    declared = dictionary(table, primary_key=("order_id", "twice")).keys
    assert [(k.columns, k.source) for k in declared] == [(("order_id", "twice"), "declared")]


def test_relations_come_from_the_catalogue_and_from_names_and_values() -> None:
    customers = ds.dataset(pa.table({"id": list(range(100))}))
    airports = ds.dataset(pa.table({"faa": [f"A{i:02}" for i in range(50)]}))
    orders = pa.table(
        {
            "customer_id": list(range(90)),
            "quantity": list(range(1, 91)),
            "dest": [f"A{i % 20:02}" for i in range(90)],
            "shop": list(range(90)),
        }
    )
    shape = Shape(
        "shop/orders",
        foreign_keys=((("shop",), "public.shops", ("id",)),),
        tables={"public.shops": "shop/shops"},
    )
    data = ds.dataset(orders)
    siblings = [Sibling("shop/customers", ("id",), customers), Sibling("shop/airports", ("faa",), airports)]
    found = profile(data)
    relations = find_relations(found, shape, data, siblings)
    made = describe(found, shape, DictionarySpec(), relations=relations).dictionary
    assert [(r.columns, r.to, r.source) for r in made.relations] == [
        (("shop",), "shop/shops", "catalogue"),
        (("customer_id",), "shop/customers", "profile"),
        (("dest",), "shop/airports", "profile"),
    ]


def test_markdown_cells_cannot_break_the_table() -> None:
    text = dictionary(pa.table({"a|b\n<script>": [1]})).to_markdown()
    row = next(line for line in text.splitlines() if "script" in line)
    assert "a\\|b &lt;script&gt;" in row
    assert row.replace("\\|", "").count("|") == 11


def test_numbers_are_bucketed_to_two_digits() -> None:
    assert [bucket(v) for v in (336_776, 0.123, -4_321, None, "2024-05-06 07:00:00+00")] == [
        340_000,
        0.12,
        -4300,
        None,
        "2024",
    ]


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("active", [0, 1], "boolean"),
        ("active", [0.0, 1.0], "boolean"),
        ("is_new", [1, 1], "boolean"),
        ("has_delay", [0, 1], "boolean"),
        ("active", ["Y", "N"], "boolean"),
        ("active", ["yes", "No"], "boolean"),
        ("active", [True, False], "boolean"),
        ("qty", [0, 1], "count"),
        ("level", [0, 2], "quantity"),
        ("customer_id", [0, 1], "identifier"),
        ("size", ["S", "M"], "category"),
    ],
)
def test_a_flag_is_a_boolean(name: str, values: list[Any], kind: str) -> None:
    assert dictionary(pa.table({name: values * 10})).fields[0].semantic_type == kind


def test_pay_and_free_text_about_people_are_personal_and_show_nothing() -> None:
    table = pa.table({"salary": [5_000] * 20, "note": ["ask jane@acme.com"] + ["nothing"] * 19})
    made = dictionary(table)
    assert [(f.semantic_type, f.sensitivity) for f in made.fields] == [
        ("amount", "personal"),
        ("text", "personal"),
    ]
    assert "nothing" not in made.to_json()
    assert column(table, "salary").low is None


def test_counts_in_markdown_say_when_they_are_estimates() -> None:
    text = dictionary(
        pa.table({"few": ["a", "b", "c"] * 800, "x": [i / 7 for i in range(2_400)]})
    ).to_markdown()
    assert "| 3 | rule |" in text
    assert "| ≈ 2" in text
