"""A group is in one split only, stays there as data grows, and shares come near the declared ratios."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.export.split import bounds, bucket_sql, split_sql
from superinsight_sync.model.dataset import SplitSpec

SCHEMA = pa.schema(
    [
        ("customer", pa.string()),
        ("region", pa.int32()),
        ("score", pa.float64()),
        ("at", pa.timestamp("us", "UTC")),
        ("price", pa.decimal128(10, 2)),
    ]
)
KEYS = st.tuples(
    st.none() | st.sampled_from(["", "a", "b", "a|v1:b", "é😀", "|n"]),
    st.none() | st.integers(-2, 2),
    st.none() | st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf"), 1e-300]),
    st.none() | st.sampled_from([datetime(2026, 1, 1, tzinfo=UTC), datetime(1, 1, 2, 3, tzinfo=UTC)]),
    st.none() | st.sampled_from([Decimal("0.00"), Decimal("1.10")]),
)
ROWS = st.lists(KEYS, max_size=25)
SPECS = st.builds(
    lambda group, seed, ratios: SplitSpec(group_by=group, seed=seed, ratios=ratios),
    st.lists(st.sampled_from(SCHEMA.names), unique=True, max_size=3).map(tuple),
    st.integers(-5, 5),
    st.sampled_from(
        [
            {"train": 0.8, "validation": 0.1, "test": 0.1},
            {"a": 0.5, "b": 0.5},
            {"whole": 1.0},
            {"x": 0.1, "y": 0.9},
        ]
    ),
)


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    found = duckdb.connect()
    found.execute("SET TimeZone = 'UTC'")
    return found


def splits_of(connection: duckdb.DuckDBPyConnection, spec: SplitSpec, table: pa.Table) -> list[int]:
    connection.register("t", table)
    relation = connection.sql("SELECT * FROM t")
    bucket = bucket_sql(spec, {n: str(t) for n, t in zip(relation.columns, relation.types, strict=True)})
    query = f"SELECT {split_sql(spec, '_b')} AS s FROM (SELECT *, {bucket} AS _b FROM t)"
    return [row[0] for row in connection.sql(query).fetchall()]


def table_of(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    return pa.Table.from_arrays(
        [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(SCHEMA)], schema=SCHEMA
    )


def group_of(row: tuple[Any, ...], spec: SplitSpec) -> Any:
    """What SQL takes for equal is one group; a NULL in the key makes the whole row the group."""
    names = spec.group_by or tuple(SCHEMA.names)
    key = tuple(row[SCHEMA.names.index(n)] for n in names)
    if spec.group_by and None in key:
        key = row
    return repr(tuple(0.0 if v == 0 and isinstance(v, float) else v for v in key)), key is row


@given(ROWS, SPECS)
def test_a_group_is_never_in_two_splits(
    connection: duckdb.DuckDBPyConnection, rows: list[tuple[Any, ...]], spec: SplitSpec
) -> None:
    seen: dict[Any, int] = {}
    for row, split in zip(rows, splits_of(connection, spec, table_of(rows)), strict=True):
        assert seen.setdefault(group_of(row, spec), split) == split
        assert 0 <= split < len(spec.ratios)


@given(ROWS, ROWS, SPECS)
def test_a_group_stays_in_its_split_as_data_grows(
    connection: duckdb.DuckDBPyConnection,
    old: list[tuple[Any, ...]],
    new: list[tuple[Any, ...]],
    spec: SplitSpec,
) -> None:
    before = splits_of(connection, spec, table_of(old))
    grown = splits_of(connection, spec, table_of([*new, *old]))
    assert grown[len(new) :] == before


@given(st.integers(0, 2**31), st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.3, 0.2), (0.98, 0.01, 0.01)]))
def test_shares_of_many_groups_come_near_the_ratios(
    connection: duckdb.DuckDBPyConnection, seed: int, ratios: tuple[float, float, float]
) -> None:
    count = 4_000
    spec = SplitSpec(ratios=dict(zip(("a", "b", "c"), ratios, strict=True)), group_by=("g",), seed=seed)
    found = splits_of(connection, spec, pa.table({"g": range(count)}))
    for number, ratio in enumerate(ratios):
        deviation = (ratio * (1 - ratio) / count) ** 0.5
        assert abs(found.count(number) / count - ratio) < 6 * deviation


@pytest.mark.parametrize("name", ["a", "é😀", "", "a|v1:b"])
def test_the_documented_algorithm_gives_the_split(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    spec = SplitSpec(group_by=("customer", "region"), seed=13)
    table = table_of([(name, 7, None, None, None)])
    text = f"13|g|v{len(name.encode())}:{name}|v1:7"
    share = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) / 2**64
    expected = 0 if share < 0.8 else 1 if share < 0.9 else 2
    assert splits_of(connection, spec, table) == [expected]


def test_splits_are_the_same_forever(connection: duckdb.DuckDBPyConnection) -> None:
    """Pinned: a change here would move customers' rows from training to test sets."""
    spec = SplitSpec(group_by=("g",), seed=0)
    found = splits_of(connection, spec, pa.table({"g": [f"c{i}" for i in range(24)]}))
    assert "".join(map(str, found)) == "000000020001100002002100"


def test_rows_without_a_group_do_not_pile_up_in_one_split(connection: duckdb.DuckDBPyConnection) -> None:
    table = pa.table({"g": pa.array([None] * 2_000, pa.string()), "n": range(2_000)})
    found = splits_of(connection, SplitSpec(group_by=("g",)), table)
    assert 0.75 < found.count(0) / 2_000 < 0.85


def test_bounds_are_exact_where_ratios_are_not() -> None:
    spec = SplitSpec(ratios={"a": 0.1, "b": 0.2, "c": 0.7})
    assert bounds(spec) == [("a", "199999999999999a"), ("b", "4ccccccccccccccd"), ("c", "f" * 16)]


def test_an_unknown_group_column_is_refused_with_the_close_one() -> None:
    with pytest.raises(ConfigError, match=r"'custmer'.*Did you mean 'customer'"):
        bucket_sql(SplitSpec(group_by=("custmer",)), {"customer": "VARCHAR"})


NUMBERS = st.integers(-(2**53), 2**53) | st.sampled_from([10**30, -(10**30), 0])
HALVES = st.integers(-(10**9), 10**9).map(lambda n: Decimal(n) / 4)
TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))


def same_group(connection: duckdb.DuckDBPyConnection, columns: Sequence[pa.Array]) -> bool:
    spec = SplitSpec(ratios={f"s{n}": 0.05 for n in range(20)}, group_by=("g",))
    found = [splits_of(connection, spec, pa.table({"g": values})) for values in columns]
    return all(one == found[0] for one in found)


@given(st.lists(NUMBERS.map(lambda n: float(int(float(n)))), min_size=1, max_size=5))
def test_equal_whole_numbers_are_one_group_whatever_their_type(
    connection: duckdb.DuckDBPyConnection, values: list[float]
) -> None:
    whole = [int(v) for v in values]
    columns = [pa.array(values, pa.float64()), pa.array(list(map(Decimal, whole)), pa.decimal128(38, 0))]
    if all(abs(v) < 2**63 for v in whole):
        columns += [pa.array(whole, pa.int64()), pa.array(list(map(str, whole)))]
    if all(abs(v) < 2**53 for v in whole):
        columns.append(pa.array(list(map(Decimal, whole)), pa.decimal128(25, 4)))
    assert same_group(connection, columns)


@given(st.lists(HALVES, min_size=1, max_size=5), st.lists(TIMES, min_size=1, max_size=5))
def test_equal_fractions_and_times_are_one_group_whatever_their_type(
    connection: duckdb.DuckDBPyConnection, numbers: list[Decimal], times: list[datetime]
) -> None:
    decimals = [pa.array(numbers, pa.decimal128(20, places)) for places in (2, 3, 9)]
    assert same_group(connection, [*decimals, pa.array(list(map(float, numbers)), pa.float64())])
    naive = pa.array(times, pa.timestamp("us"))
    assert same_group(connection, [naive, naive.cast(pa.timestamp("us", "UTC"))])
    days = naive.cast(pa.date32(), safe=False)
    assert same_group(connection, [days, days.cast(pa.timestamp("us")), days.cast(pa.timestamp("s", "UTC"))])


def test_rows_without_a_group_are_what_is_declared(connection: duckdb.DuckDBPyConnection) -> None:
    table = pa.table({"g": pa.array([None] * 500, pa.string()), "h": ["x"] * 500, "n": range(500)})
    each = SplitSpec(group_by=("g", "h"))
    one = SplitSpec(group_by=("g", "h"), null_groups="one_group")
    assert len(set(splits_of(connection, each, table))) == 3
    assert len(set(splits_of(connection, one, table))) == 1


def test_all_is_no_name_of_a_split() -> None:
    with pytest.raises(ValueError, match="'all' is no split name"):
        SplitSpec(ratios={"all": 1.0})
