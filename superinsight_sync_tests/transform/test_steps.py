"""map, standardise, rule and sql on the cells people really have."""

import json
from typing import Any

import pyarrow as pa
import pytest

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.transform.protocol import STEPS
from superinsight_sync_tests.transform.conftest import Run

PERSON = pa.table(
    {
        "id": [1, 2],
        "Street": ["Main St", None],
        "city": ["Bern", "東京"],
        "geo": [{"lat": 1.5, "lon": None}, None],
    }
)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"rename": {"id": "key"}},
            {"key": 1, "Street": "Main St", "city": "Bern", "geo": {"lat": 1.5, "lon": None}},
        ),
        (
            {"rename": {"id": "city", "city": "id"}, "drop": ["geo"]},
            {"city": 1, "Street": "Main St", "id": "Bern"},
        ),
        ({"select": ["city", "id"]}, {"city": "Bern", "id": 1}),
        ({"select": ["geo"], "unnest": "geo"}, {"geo_lat": 1.5, "geo_lon": None}),
        ({"select": ["id", "geo"], "unnest": ["geo"], "prefix": ""}, {"id": 1, "lat": 1.5, "lon": None}),
        (
            {"drop": ["geo"], "rename": {"Street": "street"}, "nest": {"address": ["street", "city"]}},
            {"id": 1, "address": {"street": "Main St", "city": "Bern"}},
        ),
        (
            {"unnest": "geo", "nest": {"geo": ["geo_lat", "geo_lon"]}, "select": ["geo"]},
            {"geo": {"lat": 1.5}},
        ),
    ],
)
def test_map_shapes_the_first_row(run: Run, config: dict[str, Any], expected: dict[str, Any]) -> None:
    outcome = run(PERSON, {"step": "map", **config})
    if "geo" in expected and expected["geo"] == {"lat": 1.5}:
        expected = {"geo": {"geo_lat": 1.5, "geo_lon": None}}
    assert outcome.rows[0] == expected
    assert list(outcome.rows[0]) == list(expected)


def test_map_carries_lineage_and_types_through(run: Run) -> None:
    table = pa.table({"a": pa.array([1], pa.int16()), "b": pa.array(["x"], pa.large_string())})
    outcome = run(table, {"step": "map", "rename": {"a": "c"}, "nest": {"n": ["c", "b"]}})
    assert outcome.lineage == {"n": ("a", "b")}
    assert outcome.table.schema.field("n").type == pa.struct([("c", pa.int16()), ("b", pa.large_string())])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rename": {"stret": "x"}}, "no column 'stret'. Did you mean 'Street'?"),
        ({"drop": ["nothing"]}, "no column 'nothing'"),
        ({"rename": {"id": "CITY"}}, "two columns would be called"),
        ({"rename": {"id": "_sis_id"}}, "cannot be a column's name"),
        ({"unnest": "city"}, "is no struct"),
        ({"select": []}, "leaves no column"),
        ({"derive": {"x": "1"}}, "derive"),
    ],
)
def test_a_wrong_map_is_refused(run: Run, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(PERSON, {"step": "map", **config})
    assert message in str(caught.value)
    assert str(caught.value).startswith("refine step 1 (map)")


STANDARD: list[tuple[Any, dict[str | None, str | None]]] = [
    ("text", {" a  b ": "a b", "\u3000x\u00a0\n y": "x y", "e\u0301": "é", "": "", "😀": "😀", None: None}),
    (
        "text",
        {
            "a\u200bb": "ab",
            "\ufeffx": "x",
            "so\u00adft": "soft",
            "\u200b": "",
            "👩\u200d💻": "👩\u200d💻",
            " \u200b a": "a",
        },
    ),
    ({"type": "text", "case": "upper"}, {"straße": "STRAẞE"}),
    (
        "email",
        {
            " Ann@Example.COM ": "ann@example.com",
            "a@b": None,
            "a b@c.de": None,
            "a@@b.de": None,
            "x@exämple.de": "x@exämple.de",
            "a..b@c.de": None,
            ".a@c.de": None,
            "a.@c.de": None,
            "a.b+c@c.de": "a.b+c@c.de",
            "a@c..de": None,
            "a@-c.de": None,
            "\u200ba@c.de": "a@c.de",
        },
    ),
    (
        {"type": "phone", "region": "DE"},
        {
            "030 123456": "+4930123456",
            "+1 (212) 555-0100": "+12125550100",
            "0049 30 123456": "+4930123456",
            "12": None,
            "abc": None,
        },
    ),
    ("phone", {"+86 138 0013 8000": "+8613800138000", "13800138000": None, "+1 212 555 0100 ext. 9": None}),
    (
        "date",
        {
            "2026/03/05": "2026-03-05",
            "2026年3月5日": "2026-03-05",
            "Mar 5, 2026": "2026-03-05",
            "05/03/2026": None,
            "5. März 2026": "2026-03-05",
            "5 de marzo de 2026": "2026-03-05",
            "二〇二六年三月五日": "2026-03-05",
            "2026-W10-4": "2026-03-05",
            "31 févr. 2026": None,
        },
    ),
    (
        {"type": "date", "day_first": True},
        {"05/03/2026": "2026-03-05", "5.3.2026": "2026-03-05", "31.02.2026": None},
    ),
    (
        "country",
        {
            "Germany": "DE",
            "deu": "DE",
            "U.S.A.": "US",
            "uk": "GB",
            "Atlantis": None,
            "Viet Nam": "VN",
            "türkiye": "TR",
            "Deutschland": "DE",
            "Allemagne": "DE",
            "Alemania": "DE",
            "德国": "DE",
            "Vereinigte Staaten von Amerika": "US",
            "Etats-Unis": "US",
            "États-Unis": "US",
            "EE.UU.": "US",
            "Estados Unidos": "US",
            "美国": "US",
            "中国": "CN",
            "Schweiz": "CH",
            "Suisse": "CH",
            "Republik Korea": "KR",
            "Südkorea": "KR",
            "Corée du Sud": "KR",
            "Bolivien": "BO",
            "Côte d’Ivoire": "CI",
            "Elfenbeinküste": "CI",
            "Großbritannien": "GB",
            "The Netherlands": "NL",
            "Países Bajos": "NL",
            "Kongo-Kinshasa": None,
            "Niger": "NE",
            "Nigeria": "NG",
            "Guinea": "GN",
            "Congo": "CG",
            "Virgin Islands": None,
        },
    ),
]


@pytest.mark.parametrize(("how", "cells"), STANDARD, ids=lambda v: str(v)[:40])
@pytest.mark.parametrize("otherwise", ["keep", "quarantine"])
def test_standardise_writes_alike_keeps_or_quarantines(
    run: Run, how: Any, cells: dict[str | None, str | None], otherwise: str
) -> None:
    table = {"key": list(range(len(cells))), "c": list(cells)}
    outcome = run(table, {"step": "standardise", "columns": {"c": how}, "else": otherwise})
    found = dict(zip(outcome.column("key"), outcome.column("c"), strict=True))
    for key, (text, standard) in enumerate(cells.items()):
        if standard is None and otherwise == "quarantine" and text is not None:
            assert key not in found
        else:
            assert found[key] == (text if standard is None else standard)
    assert {r["_sis_rule"] for r in outcome.records} <= {"standardise_c"}


def test_a_lookup_of_many_values_keeps_each_row_its_own(run: Run) -> None:
    numbers = [f"030 {n:06d}" for n in range(100_000, 140_000)]
    table = {"c": numbers + numbers, "d": ["Germany", None] * len(numbers)}
    columns = {"c": {"type": "phone", "region": "DE"}, "d": "country"}
    outcome = run(table, {"step": "standardise", "columns": columns}, batch_rows=50_000)
    rows = {(r["c"], r["d"]) for r in outcome.rows}
    assert rows == {("+4930" + n[4:], "DE" if at % 2 == 0 else None) for at, n in enumerate(numbers)}
    assert outcome.table.num_rows == 2 * len(numbers)


AMOUNTS = {
    "id": [1, 2, 3, 4],
    "amount": [5, -1, None, 9_223_372_036_854_775_807],
    "s": ["a", "b", None, "😀"],
}


@pytest.mark.parametrize(
    ("rule", "passing"),
    [
        ({"check": "amount > 0"}, [1, 4]),
        ({"check": "amount > 0", "nulls": "pass"}, [1, 3, 4]),
        ({"check": "amount * amount > 0"}, [1, 2]),
        ({"check": "amount * amount > 0", "nulls": "pass"}, [1, 2, 3, 4]),
        ({"check": "s IN ('a', '😀')"}, [1, 4]),
        ({"check": "s IS NULL OR length(s) = 1"}, [1, 2, 3, 4]),
        ({"check": "regexp_matches(s, '^[a-z]$')"}, [1, 2]),
        ({"check": "s::int > 0"}, []),
        ({"check": "NULL"}, []),
    ],
)
def test_a_rule_passes_only_what_is_true(run: Run, rule: dict[str, Any], passing: list[int]) -> None:
    outcome = run(AMOUNTS, {"step": "rule", "name": "r", **rule})
    assert outcome.column("id") == passing
    assert sorted(json.loads(r["_sis_record"])["id"] for r in outcome.records) == sorted(
        {1, 2, 3, 4} - set(passing)
    )


def test_a_warning_lets_pass_and_counts_what_stayed(run: Run) -> None:
    outcome = run(
        AMOUNTS,
        {"step": "rule", "name": "known", "check": "s IS NOT NULL"},
        {"step": "rule", "name": "small", "check": "amount < 100", "else": "warn"},
        {"step": "rule", "name": "positive", "check": "amount > 0"},
    )
    assert outcome.column("id") == [1, 4]
    assert outcome.warned == {"small": 1}
    assert outcome.quarantined == {"known": 1, "positive": 1}


HOSTILE = [
    "amount > (SELECT 1)",
    "read_csv('/etc/passwd') IS NULL",
    "1; DROP TABLE _sis_base_0",
    "_sis_row > 0",
    "amont > 1",
]


@pytest.mark.parametrize("check", HOSTILE)
def test_a_hostile_rule_is_refused_before_a_row_is_read(run: Run, check: str) -> None:
    with pytest.raises(ConfigError, match=r"^refine step 1 \(rule\)"):
        run(AMOUNTS, {"step": "rule", "name": "r", "check": check})


@pytest.mark.parametrize(
    "select",
    [
        "SELECT * FROM _sis_base_0",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM duckdb_tables()",
        "SELECT amount AS _sis_x FROM input",
        "SELECT _sis_load_id FROM input",
        "SELECT nothing FROM input",
        "SELECT sum(s) AS t FROM input",
    ],
)
def test_a_hostile_select_is_refused_before_a_row_is_read(run: Run, select: str) -> None:
    with pytest.raises(ConfigError, match=r"^refine step 1 \(sql\)"):
        run(AMOUNTS, {"step": "sql", "select": select})


def test_sql_makes_new_rows_and_later_steps_judge_those(run: Run) -> None:
    table = {
        "city": ["a", "b", "a", "c"],
        "n": [1, 2, 3, None],
        "_sis_load_id": ["L1", "L1", "L2", "L1"],
        "_sis_hash": list("wxyz"),
    }
    outcome = run(
        table,
        {"step": "rule", "name": "number", "check": "n IS NOT NULL"},
        {"step": "sql", "select": "SELECT city, sum(n)::bigint AS total FROM input GROUP BY city"},
        {"step": "rule", "name": "big", "check": "total > 3"},
    )
    assert [(r["city"], r["total"], r["_sis_load_id"]) for r in outcome.rows] == [("a", 4, "L2")]
    assert len(outcome.rows[0]["_sis_hash"]) == 64
    assert {r["_sis_rule"]: json.loads(r["_sis_record"]) for r in outcome.records} == {
        "number": {"city": "c", "n": None},
        "big": {"city": "b", "total": 2},
    }
    assert outcome.dropped == {"left_out_by_sql": 1}
    assert outcome.lineage == {"city": ("city",), "total": ("n",)}


def test_sql_that_carries_rows_keeps_their_system_columns(run: Run) -> None:
    table = {"a": [1, 2], "_sis_load_id": ["L1", "L2"], "_sis_hash": ["x", "y"], "_sis_partition": ["p", "q"]}
    outcome = run(table, {"step": "sql", "select": "SELECT *, a * 2 AS b FROM input WHERE a > 1"})
    assert outcome.rows == [{"a": 2, "b": 4, "_sis_load_id": "L2", "_sis_hash": "y", "_sis_partition": "q"}]


KINDS: dict[str, dict[str, Any]] = {
    "preview": {},
    "table": {"_sis_hash": pa.array([7, 8, 9], pa.int64())},
    "files": {"_sis_file": ["a.csv", "a.csv", "b.csv"], "_sis_hash": pa.array([7, 8, 9], pa.int64())},
    "pushes": {
        "_sis_delivery": ["d1", "d2", "d2"],
        "_sis_seq": pa.array([1, 2, 2], pa.int64()),
        "_sis_received_at": pa.array([1, 2, 2], pa.timestamp("us", "UTC")),
        "_sis_hash": pa.array([7, 8, 9], pa.int64()),
    },
    "soft deletes": {
        "_sis_hash": pa.array([7, 8, 9], pa.int64()),
        "_sis_deleted_at": pa.array([None, 5, None], pa.timestamp("us", "UTC")),
    },
    "partitions": {"_sis_hash": pa.array([7, 8, 9], pa.int64()), "_sis_partition": ["p", "q", None]},
}
ONE_OF_ONE = [
    "SELECT * FROM input",
    "SELECT id, n * 2 AS n2 FROM input",
    "SELECT i.id, upper(i.s) AS s FROM input AS i WHERE n >= 0 ORDER BY n DESC",
    "SELECT id, row_number() OVER (ORDER BY n) AS nth FROM input",
    "SELECT id, unnest([s]) AS s FROM input",
    "SELECT i.id, t.c FROM input i, unnest([i.s]) AS t(c)",
]
ONE_OF_SEVERAL = [
    "SELECT s, count(*) AS flights FROM input GROUP BY s",
    "SELECT sum(n)::bigint AS t FROM input",
    "SELECT DISTINCT s FROM input",
    "WITH a AS (SELECT id, n FROM input) SELECT a.id, b.n FROM a JOIN a AS b USING (id)",
    "SELECT id FROM input UNION ALL SELECT id FROM input",
]


@pytest.mark.parametrize("kind", KINDS)
def test_any_select_works_on_every_kind_of_stream(run: Run, kind: str) -> None:
    given: dict[str, Any] = {"id": [1, 2, 3], "n": [10, 20, 30], "s": ["x", "x", "y"]}
    stamped = {
        "_sis_load_id": ["L1", "L2", "L1"],
        "_sis_extracted_at": pa.array([1, 2, 1], pa.timestamp("us", "UTC")),
    }
    table = pa.table({**given, **(stamped if kind != "preview" else {}), **KINDS[kind]})
    own = [n for n in table.column_names if n.startswith("_sis_")]
    by_id = {r["id"]: {n: r[n] for n in own} for r in table.to_pylist()}
    for select in ONE_OF_ONE:
        outcome = run(table, {"step": "sql", "select": select})
        assert {r["id"]: {n: r[n] for n in own} for r in outcome.rows} == by_id, select
        assert [outcome.table.schema.field(n).type for n in own] == [table.schema.field(n).type for n in own]
    for select in ONE_OF_SEVERAL:
        outcome = run(table, {"step": "sql", "select": select})
        assert outcome.table.num_rows, select
        assert [outcome.table.schema.field(n).type for n in own] == [table.schema.field(n).type for n in own]
        for name in set(own) - {"_sis_load_id", "_sis_extracted_at", "_sis_hash", "_sis_partition"}:
            assert outcome.column(name) == [None] * outcome.table.num_rows
        if "_sis_hash" in own:
            data = [tuple(v for n, v in r.items() if not n.startswith("_sis_")) for r in outcome.rows]
            assert len(set(outcome.column("_sis_hash"))) == len(set(data)), select


def test_sql_runs_for_each_partition_by_itself(run: Run) -> None:
    table = {
        "a": [1, 2, 4, 8],
        "_sis_partition": ["p", "q", "q", None],
        "_sis_load_id": ["L1", "L2", "L3", "L1"],
    }
    outcome = run(table, {"step": "sql", "select": "SELECT sum(a)::bigint AS t FROM input"})
    rows = {r["_sis_partition"]: (r["t"], r["_sis_load_id"]) for r in outcome.rows}
    assert rows == {"p": (1, "L1"), "q": (6, "L3"), None: (8, "L1")}


def test_a_system_column_cannot_become_something_else(run: Run) -> None:
    with pytest.raises(ConfigError, match="_sis_load_id"):
        run(
            {"a": [1], "_sis_load_id": ["L"]},
            {"step": "sql", "select": "SELECT a, a AS _sis_load_id FROM input"},
        )


COMMITS = '[{"sha": "f0", "n": 1}, {"sha": "f1", "n": 2}]'


@pytest.mark.parametrize(
    ("select", "found"),
    [
        ("SELECT id, unnest(from_json(commits, '[{\"sha\": \"VARCHAR\"}]')).sha AS v FROM input", ["f0", "f1"]),
        ("SELECT input.id, e.value ->> 'sha' AS v FROM input, json_each(commits) AS e", ["f0", "f1"]),
        ("SELECT id, unnest(json_extract(commits, '$[*]')) ->> 'sha' AS v FROM input", ["f0", "f1"]),
        ("SELECT id, unnest(commits ->> '$[*].sha') AS v FROM input", ["f0", "f1"]),
        ("SELECT id, json_array_length(commits)::varchar AS v FROM input", ["2"]),
        ("SELECT id, t.c.sha AS v FROM input i, unnest(i.structs) AS t(c)", ["f0", "f1"]),
        ("SELECT id, unnest(list_transform(structs, c -> c.sha || id)) AS v FROM input", ["f01", "f11"]),
        ("SELECT id, array_to_string(list_filter(list_transform(structs, c -> c.sha), x -> x <> 'f0'), ',') AS v FROM input", ["f1"]),
        ("SELECT id, json_type(commits) AS v FROM input", ["ARRAY"]),
        ("SELECT 1 AS id, (json_object('a', id))::varchar AS v FROM input", ['{"a":1}']),
    ],
)  # fmt: skip
def test_sql_takes_json_and_lists_apart(run: Run, select: str, found: list[str]) -> None:
    structs = pa.array([[{"sha": "f0"}, {"sha": "f1"}]])
    table = pa.table({"id": [1], "commits": [COMMITS], "structs": structs, "_sis_load_id": ["L"]})
    outcome = run(table, {"step": "sql", "select": select})
    assert sorted((r["id"], r["v"], r["_sis_load_id"]) for r in outcome.rows) == [(1, v, "L") for v in found]
    assert set(outcome.lineage["v"]) <= {"commits", "structs", "id"}
    assert outcome.lineage["v"]


@pytest.mark.parametrize(
    ("select", "name"),
    [
        ("SELECT unnest(range(1000000000000)) AS x FROM input", "range"),
        ("SELECT getenv('HOME') AS x FROM input", "getenv"),
        ("SELECT current_setting('temp_directory') AS x FROM input", "current_setting"),
        ("SELECT x.* FROM input, read_text('/etc/passwd') AS x", "read_text"),
        ("SELECT x.content AS c FROM input, read_json('/etc/passwd') AS x", "read_json"),
        ("SELECT x.j AS c FROM input, glob('/*') AS x", "glob"),
    ],
)
def test_other_functions_stay_refused_by_the_name_that_was_written(run: Run, select: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}|only plain table names"):
        run(AMOUNTS, {"step": "sql", "select": select})


def test_a_select_that_fails_on_its_data_tells_no_value(run: Run) -> None:
    with pytest.raises(DataError) as caught:
        run({"s": ["secret-value"]}, {"step": "sql", "select": "SELECT s::int AS n FROM input"})
    assert "secret-value" not in str(caught.value)
    assert caught.value.where == "refine step 1 (sql)"


@pytest.mark.parametrize("name", STEPS.names())
def test_every_step_has_a_documented_config(name: str) -> None:
    schema = STEPS.config(name).model_json_schema()
    assert schema["description"]
    assert all("description" in p for p in schema["properties"].values()), schema["properties"]
    assert STEPS.load(name).__doc__


def test_steps_are_imported_without_heavy_libraries() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom superinsight_sync.transform.protocol import STEPS\n"
        "[STEPS.config(n) for n in STEPS.names()]\n"
        "heavy = {'duckdb', 'pyarrow', 'sqlglot', 'phonenumbers', 'pycountry'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


PUSHES = {
    "event": ["push", "push", "ping", "bad", "long"],
    "payload": [
        '{"repo": {"id": 7, "full.name": "x"}, "at": "2026-03-05T10:00:00Z", "commits": [{"sha": "a"}, {"sha": "b"}]}',
        '{"repo": {"id": 8}, "extra": 1, "commits": []}',
        "null",
        '{"repo": {"id": 1.5}}',
        '{"repo": {"id": 9}, "at": "2026-03-05", "n": 1234567890123456.789}',
    ],
    "_sis_load_id": ["L1", "L2", "L3", "L4", "L5"],
}


def test_map_flattens_json_objects_by_the_rules_of_cast(run: Run) -> None:
    flatten = {"payload": {"repo.id": "int64", "at": "timestamp", "commits": "string", "repo": "string"}}
    outcome = run(PUSHES, {"step": "map", "flatten": flatten, "rename": {"payload_repo_id": "repo_id"}})
    assert [r["repo_id"] for r in outcome.rows] == [7, 8, None]
    assert outcome.rows[0]["payload_at"].isoformat() == "2026-03-05T10:00:00+00:00"
    assert json.loads(outcome.rows[0]["payload_commits"]) == [{"sha": "a"}, {"sha": "b"}]
    assert outcome.lineage["repo_id"] == ("payload",)
    assert [json.loads(r["_sis_record"])["event"] for r in outcome.records] == ["bad", "long"]
    assert {r["_sis_reason"] for r in outcome.records} == {
        "'repo.id' does not convert to int64 without loss",
        "a number in the JSON text has more digits than can be kept",
    }


@pytest.mark.parametrize("kind", ["text", "list"])
@pytest.mark.parametrize("keep_empty", [False, True])
def test_map_explodes_arrays_with_the_parents_key(run: Run, kind: str, keep_empty: bool) -> None:
    lists = [[{"sha": "a", "n": 1}, {"sha": "b", "n": 2}], [], None, [{"sha": "c", "n": 3}]]
    texts = [None if v is None else json.dumps(v) for v in lists]
    table = {
        "id": [1, 2, 3, 4],
        "commits": pa.array(texts if kind == "text" else lists),
        "_sis_load_id": ["L1", "L2", "L3", "L4"],
        "_sis_file": ["f", "f", "f", "g"],
    }
    apart = (
        {"flatten": {"commits": {"sha": "string", "n": "int64"}}} if kind == "text" else {"unnest": "commits"}
    )
    step = {
        "step": "map",
        "explode": "commits",
        "position": "at",
        "keep_empty": keep_empty,
        "prefix": "",
        **apart,
    }
    outcome = run(table, step)
    found = [(r["id"], r["sha"], r["n"], r["at"], r["_sis_load_id"], r["_sis_file"]) for r in outcome.rows]
    empty = [(2, None, None, 1, "L2", "f"), (3, None, None, 1, "L3", "f")] if keep_empty else []
    assert sorted(found, key=str) == sorted(
        [(1, "a", 1, 1, "L1", "f"), (1, "b", 2, 2, "L1", "f"), (4, "c", 3, 1, "L4", "g"), *empty], key=str
    )
    assert outcome.rows_read == outcome.table.num_rows + sum(outcome.dropped.values())


def test_what_is_no_array_is_quarantined_and_its_reason_said(run: Run) -> None:
    table = {"id": [1, 2, 3, 4, 5], "c": ["[1]", "{}", "[1", "7", '["x", null]']}
    outcome = run(table, {"step": "map", "explode": "c"})
    assert [(r["id"], r["c"]) for r in outcome.rows] == [(1, "1"), (5, "x"), (5, None)]
    assert [json.loads(r["_sis_record"])["id"] for r in outcome.records] == [2, 3, 4]
    assert {r["_sis_reason"] for r in outcome.records} == {"the text is no JSON array"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"explode": "id"}, "is no list"),
        ({"explode": "nope"}, "no column 'nope'"),
        ({"position": "p"}, "belong to explode"),
        ({"flatten": {"id": {"a": "int64"}}}, "is no JSON text"),
        ({"flatten": {"s": {"a..b": "int64"}}}, "is no path"),
        ({"flatten": {"s": {"a": "intt"}}}, "Did you mean"),
        ({"unnest": "s"}, "flatten: {s: {path: type}}"),
        ({"explode": "l", "position": "id"}, "two columns would be called"),
    ],
)
def test_a_wrong_flatten_or_explode_is_refused_with_what_to_write(
    run: Run, config: Any, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run({"id": [1], "s": ["{}"], "l": [[1]]}, {"step": "map", **config})
    assert message in str(caught.value)
