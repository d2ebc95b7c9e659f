"""The engine: nothing lost, nothing twice, bounded, locked down, and told in counts."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError, DataError, ThresholdError, TransientError
from superinsight_sync.transform.engine import RowErrors, plan, refine
from superinsight_sync.transform.protocol import StepContext
from superinsight_sync_tests.transform.conftest import Run, steps

START = datetime(2026, 1, 1, tzinfo=UTC)
ORDERS = pa.schema(
    [
        ("_sis_load_id", pa.string()),
        ("_sis_extracted_at", pa.timestamp("us", tz="UTC")),
        ("_sis_hash", pa.string()),
        ("_sis_partition", pa.string()),
        ("order_id", pa.int64()),
        ("amount", pa.string()),
        ("updated_at", pa.timestamp("us", tz="UTC")),
    ]
)
CONTEXT = StepContext(("order_id",), "updated_at")
CLEAN = (
    {"step": "cast", "columns": {"amount": "decimal(12,2)"}},
    {"step": "dedupe"},
    {"step": "rule", "name": "positive", "check": "amount > 0"},
)


def order(
    key: int | None, amount: str | None, minute: int | None, extracted: int = 0, mark: str = "h"
) -> dict[str, Any]:
    return {
        "_sis_load_id": "L1",
        "_sis_extracted_at": START + timedelta(seconds=extracted),
        "_sis_hash": mark,
        "_sis_partition": "2026-01-01",
        "order_id": key,
        "amount": amount,
        "updated_at": None if minute is None else START + timedelta(minutes=minute),
    }


ROWS = st.lists(
    st.builds(
        order,
        st.none() | st.integers(0, 4),
        st.none() | st.sampled_from(["1.50", "-2", "x", "", "1,5", "7"]),
        st.none() | st.integers(0, 3),
        st.integers(0, 2),
        st.sampled_from("abc"),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, batch_rows=st.integers(1, 40))
def test_rows_in_are_rows_out_plus_quarantined_plus_duplicates(
    run: Run, rows: list[dict[str, Any]], batch_rows: int
) -> None:
    outcome = run(pa.Table.from_pylist(rows, ORDERS), *CLEAN, context=CONTEXT, batch_rows=batch_rows)
    duplicates = outcome.dropped["duplicates"]
    assert len(rows) == outcome.table.num_rows + outcome.quarantine.num_rows + duplicates
    assert outcome.rows_read == len(rows)
    for record in outcome.records:
        raw = json.loads(record["_sis_record"])
        assert raw["amount"] in [r["amount"] for r in rows if r["order_id"] == raw["order_id"]]
    assert all(r["amount"] > 0 for r in outcome.rows)


def _latest(rows: list[dict[str, Any]], keep: str) -> list[tuple[Any, ...]]:
    """Python's own idea of which record stays."""
    whole: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["order_id"] is not None:
            whole.setdefault(row["order_id"], []).append(row)

    def rank(row: dict[str, Any]) -> tuple[Any, ...]:
        return (row["updated_at"] or START, row["_sis_extracted_at"], row["_sis_hash"])

    kept = [r for r in rows if r["order_id"] is None]
    for group in whole.values():
        dated = [r for r in group if r["updated_at"] is not None] or group
        kept.append(max(dated, key=rank) if keep == "latest" else min(dated, key=rank))
    return sorted((str(r["order_id"]), *map(str, rank(r))) for r in kept)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=ROWS,
    keep=st.sampled_from(["latest", "first"]),
    seed=st.integers(0, 2**32),
    batch_rows=st.integers(1, 40),
)
def test_dedupe_keeps_exactly_the_latest_per_key_whatever_the_batch_order(
    run: Run, rows: list[dict[str, Any]], keep: str, seed: int, batch_rows: int
) -> None:
    shuffled = rows[:]
    random.Random(seed).shuffle(shuffled)
    table = pa.Table.from_pylist(shuffled, ORDERS)
    outcome = run(table, {"step": "dedupe", "keep": keep}, context=CONTEXT, batch_rows=batch_rows)
    found = [
        (str(r["order_id"]), str(r["updated_at"] or START), str(r["_sis_extracted_at"]), r["_sis_hash"])
        for r in outcome.rows
    ]
    assert sorted(found) == _latest(rows, keep)


def test_null_keys_are_kept_or_quarantined(run: Run) -> None:
    table = pa.Table.from_pylist(
        [order(None, "1", 1), order(None, "1", 1), order(1, "1", 1), order(1, "2", 2)], ORDERS
    )
    kept = run(table, {"step": "dedupe"}, context=CONTEXT)
    assert (kept.column("order_id"), kept.dropped) == ([None, None, 1], {"duplicates": 1})
    aside = run(table, {"step": "dedupe", "null_keys": "quarantine"}, context=CONTEXT)
    assert (aside.column("amount"), aside.quarantined) == (["2"], {"dedupe_null_key": 2})


def test_dedupe_without_a_key_or_with_a_wrong_one_is_refused(run: Run) -> None:
    with pytest.raises(ConfigError, match="primary_key"):
        run({"a": [1]}, {"step": "dedupe"})
    with pytest.raises(ConfigError, match="Did you mean 'order_id'"):
        run({"order_id": [1]}, {"step": "dedupe", "keys": ["orderid"]})


def test_a_record_fails_once_by_the_first_step_that_refuses_it(run: Run) -> None:
    table = {"n": ["x", "-1", "5"]}
    outcome = run(
        table,
        {"step": "cast", "columns": {"n": "int64"}},
        {"step": "rule", "name": "positive", "check": "n > 0"},
        {"step": "rule", "name": "huge", "check": "n > 100"},
    )
    found = {
        json.loads(r["_sis_record"])["n"]: (r["_sis_step"], r["_sis_rule"], r["_sis_column"])
        for r in outcome.records
    }
    assert found == {
        "x": ("1:cast", "cast_n", "n"),
        "-1": ("2:rule", "positive", None),
        "5": ("3:rule", "huge", None),
    }
    assert outcome.table.schema == pa.schema([("n", pa.int64())])


def test_the_quarantined_record_is_the_raw_one_exactly(run: Run) -> None:
    values: dict[str, pa.Array] = {
        "big": pa.array([2**63 - 1]),
        "dec": pa.array([Decimal("12345678901234567890.10")], pa.decimal128(38, 2)),
        "at": pa.array([datetime(2026, 1, 1, 10, 0, 0, 123456, tzinfo=UTC)]),
        "bin": pa.array([b"\x00\xff"]),
        "txt": pa.array(['"quoted" 😀\n\\']),
        "dbl": pa.array([0.1]),
        "nan": pa.array([float("nan")]),
        "nul": pa.array([None], pa.int64()),
        "lst": pa.array([[1, None]]),
        "A b": pa.array([True]),
    }
    outcome = run(
        {**values, "_sis_hash": ["h"]},
        {"step": "map", "rename": {"big": "other"}},
        {"step": "rule", "name": "never", "check": "false"},
    )
    assert outcome.table.num_rows == 0
    record = outcome.records[0]
    assert record["_sis_hash"] == "h"
    assert json.loads(record["_sis_record"]) == {
        "big": 2**63 - 1,
        "dec": "12345678901234567890.10",
        "at": "2026-01-01 10:00:00.123456+00",
        "bin": "AP8=",
        "txt": '"quoted" 😀\n\\',
        "dbl": 0.1,
        "nan": "nan",
        "nul": None,
        "lst": [1, None],
        "A b": True,
    }


EVERY_TYPE = [
    pa.array([None, 1], pa.int8()),
    pa.array([None, 2**64 - 1], pa.uint64()),
    pa.array([None, 1.5], pa.float32()),
    pa.array([None, Decimal("-1.10")], pa.decimal128(38, 10)),
    pa.array([None, START], pa.timestamp("us", tz="Europe/Berlin")),
    pa.array([None, 1], pa.timestamp("ns", tz="UTC")),
    pa.array([None, 1], pa.timestamp("ms")),
    pa.array([None, 1], pa.date32()),
    pa.array([None, 1], pa.time64("us")),
    pa.array([None, b"\xff"], pa.binary(1)),
    pa.array([None, "😀"], pa.large_string()),
    pa.array([None, "x"]).dictionary_encode(),
    pa.array([None, [{"a": [1]}]]),
    pa.array([None, [("k", 1)]], pa.map_(pa.string(), pa.int64())),
    pa.array([None, True]),
]


def test_columns_no_step_touches_come_out_as_they_went_in(run: Run) -> None:
    table = pa.table({f"c{n}": a for n, a in enumerate(EVERY_TYPE)} | {"drop_me": [1, 2]})
    outcome = run(
        table, {"step": "map", "drop": ["drop_me"]}, {"step": "rule", "name": "all", "check": "true"}
    )
    assert outcome.table.schema == table.schema.remove(table.num_columns - 1)
    assert outcome.rows == table.drop_columns("drop_me").to_pylist()


@pytest.mark.parametrize("declared", [(), CLEAN])
def test_empty_input_gives_an_empty_table_of_the_planned_schema(
    run: Run, declared: tuple[dict[str, Any], ...]
) -> None:
    outcome = run(ORDERS.empty_table(), *declared, context=CONTEXT)
    planned = plan(steps(*declared), ORDERS, CONTEXT)
    assert outcome.table.num_rows == outcome.quarantine.num_rows == outcome.rows_read == 0
    assert outcome.table.schema == planned.schema
    assert planned.row_wise == (declared == ())
    assert not planned.multiplies


def test_no_steps_pass_everything_through_in_order(run: Run) -> None:
    table = pa.table({"a": list(range(200_000))})
    outcome = run(table, batch_rows=10_000)
    assert outcome.table.equals(table)
    assert outcome.lineage == {"a": ("a",)}


def test_rows_come_in_the_order_they_were_read_whatever_is_left_out(run: Run) -> None:
    table = pa.table({"a": list(range(200_000)), "c": ["Germany", "x"] * 100_000})
    rule = {"step": "rule", "name": "third", "check": "a % 3 <> 0"}
    country = {"step": "standardise", "columns": {"c": "country"}}
    for declared in ((rule,), (country,), (country, rule, {"step": "dedupe", "keys": ["a"]})):
        numbers = run(table, *declared, batch_rows=10_000).column("a")
        assert numbers == [n for n in range(200_000) if rule not in declared or n % 3]


def test_names_that_need_quotes_survive_every_step(run: Run) -> None:
    name = 'Sel"ect; --'
    outcome = run(
        {name: ["1", "1", "x"], "group": ["a", "a", "b"]},
        {"step": "cast", "columns": {name: "int64"}},
        {"step": "dedupe", "keys": [name]},
        {"step": "standardise", "columns": {"group": "text"}},
        {"step": "map", "rename": {"group": "order"}},
    )
    assert outcome.rows == [{name: 1, "order": "a"}]
    assert json.loads(outcome.records[0]["_sis_record"]) == {name: "x", "group": "b"}


def test_columns_that_differ_only_in_case_are_refused(run: Run) -> None:
    with pytest.raises(ConfigError, match="but for the case"):
        run({"a": [1], "A": [2]})


def test_a_wrong_step_is_named_with_its_number_and_nothing_is_read() -> None:
    def read() -> pa.RecordBatchReader:
        def batches() -> Iterator[pa.RecordBatch]:
            raise AssertionError("was read")
            yield

        return pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches())

    declared = steps({"step": "map"}, {"step": "csat", "columns": {}})
    with pytest.raises(
        ConfigError, match=r"^refine step 2 \(csat\): unknown refine step 'csat'. Did you mean 'cast'"
    ):
        refine(read, declared, StepContext(), scratch_dir=Path("/tmp"), memory_limit_bytes=64 << 20)


def _refine(rows: list[dict[str, Any]], scratch: Path, errors: RowErrors) -> Any:
    table = pa.Table.from_pylist(rows, ORDERS)
    return refine(
        lambda: table.to_reader(2),
        steps(*CLEAN),
        CONTEXT,
        scratch_dir=scratch,
        memory_limit_bytes=64 << 20,
        row_errors=errors,
    )


BAD = [order(n, "-1" if n % 2 else "bad value", 0) for n in range(6)] + [order(10, "1", 0)]


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        (
            RowErrors(max_row_errors=5),
            "6 of 7 records failed (cast_amount 3, positive 3), more than max_row_errors: 5",
        ),
        (RowErrors(max_row_error_share=0.5), "more than max_row_error_share: 0.5"),
        (RowErrors(max_row_errors=6, max_row_error_share=0.9), None),
        (RowErrors(), None),
    ],
)
def test_the_threshold_stops_and_leaves_the_quarantine_readable(
    tmp_path: Path, errors: RowErrors, message: str | None
) -> None:
    with _refine(BAD, tmp_path, errors) as refined:
        if message is None:
            refined.check_threshold()
        else:
            with pytest.raises(ThresholdError) as caught:
                refined.check_threshold()
            assert message in str(caught.value)
            assert "bad value" not in str(caught.value)
        assert refined.open_quarantine().read_all().num_rows == 6
        assert refined.open().read_all()["order_id"].to_pylist() == [10]
        assert refined.rows_by_partition == {"2026-01-01": 1}
    assert list(tmp_path.iterdir()) == []


def test_on_row_error_fail_stops_at_the_first_failing_rule(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^refine step 1 \(cast\): 3 of 7 records fail 'cast_amount'"):
        _refine(BAD, tmp_path, RowErrors("fail"))
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_reader_goes_through_as_it_is(tmp_path: Path) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"a": [1]})
        raise TransientError("the source went away", where="source 'crm'")

    def read() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches())

    with pytest.raises(TransientError, match="source 'crm': the source went away"):
        refine(read, [], StepContext(), scratch_dir=tmp_path, memory_limit_bytes=64 << 20)
    assert list(tmp_path.iterdir()) == []


def test_two_readers_are_open_at_once(tmp_path: Path) -> None:
    with _refine(BAD, tmp_path, RowErrors()) as refined:
        first, second = refined.open(), refined.open_quarantine()
        assert second.read_next_batch().num_rows == 6
        assert first.read_all().num_rows == 1


KEYS = ("a/b~\"c'", "n")
ROWS = st.dictionaries(
    st.tuples(st.none() | st.text(max_size=3), st.none() | st.decimals(-9, 9, places=2)),
    st.sampled_from(["1", "bad"]),
    max_size=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=ROWS, now=ROWS)
@example(before={("a", None): "bad", (None, None): "bad"}, now={("a", None): "1", (None, None): "bad"})
@example(before={('"\\\u00e9', Decimal("1.10")): "bad"}, now={('"\\\u00e9', Decimal("1.10")): "1"})
def test_a_row_takes_the_place_of_its_record_in_quarantine(tmp_path: Path, before: Any, now: Any) -> None:
    def refined(rows: dict[tuple[Any, Any], str]) -> Any:
        keys = list(rows)
        table = pa.table(
            {
                KEYS[0]: pa.array([k for k, _ in keys], pa.string()),
                KEYS[1]: pa.array([n for _, n in keys], pa.decimal128(9, 2)),
                "v": pa.array(list(rows.values()), pa.string()),
            }
        )
        rule = steps({"step": "rule", "name": "good", "check": "v <> 'bad'"})
        return refine(
            lambda: table.to_reader(2), rule, CONTEXT, scratch_dir=tmp_path, memory_limit_bytes=64 << 20
        )

    def values(reader: pa.RecordBatchReader) -> list[tuple[Any, ...]]:
        records = [json.loads(r) for r in reader.read_all()["_sis_record"].to_pylist()]
        return sorted(((r[KEYS[0]], r[KEYS[1]]) for r in records), key=repr)

    with refined(before) as first, refined(now) as second:
        landed = first.open_quarantine().read_all()
        kept = second.keep_quarantined(landed.to_reader(), KEYS)
        bad = {k for k, v in before.items() if v == "bad" and k not in now}
        assert kept == len(bad)
        bad |= {k for k, v in now.items() if v == "bad"}
        wanted = sorted(((k, None if n is None else str(n)) for k, n in bad), key=repr)
        assert values(second.open_quarantine()) == wanted


def test_a_plan_knows_that_exploding_makes_several_rows_of_one() -> None:
    schema = pa.schema([("id", pa.int64()), ("tags", pa.list_(pa.string()))])
    planned = plan(steps({"step": "map", "explode": "tags"}), schema, CONTEXT)
    assert planned.row_wise
    assert planned.multiplies
    assert planned.schema == pa.schema([("id", pa.int64()), ("tags", pa.string())])


def test_a_plan_is_made_once_for_the_same_steps_and_columns() -> None:
    declared = steps(*CLEAN)
    planned = plan(declared, ORDERS, CONTEXT)
    assert plan(steps(*CLEAN), ORDERS, CONTEXT) is planned
    assert plan(declared[:1], ORDERS, CONTEXT) is not planned
    assert plan(declared, ORDERS.append(pa.field("more", pa.int64())), CONTEXT).schema != planned.schema
