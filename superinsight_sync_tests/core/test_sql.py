"""SQL out of declarations: what is harmless passes, everything else is refused with a reason."""

import subprocess
import sys

import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import safe_expression, safe_select

COLUMNS = ("amount", "Status", "data", "placed_at")
TABLES = {"flights": ("Origin", "delay", "tailnum", "order"), "planes": ("tailnum", "seats", "x.y")}

HOSTILE_EXPRESSIONS = [
    "read_csv('/etc/passwd') IS NULL",
    "read_text('/etc/passwd') = ''",
    "1; DROP TABLE raw",
    "amount > 0; SELECT 1",
    "(SELECT 1) = 1",
    "amount IN (SELECT amount FROM raw)",
    "EXISTS (SELECT 1)",
    "getenv('HOME') = 'x'",
    "current_setting('memory_limit') = ''",
    "count(*) > 1",
    "sum(amount) OVER () > 1",
    "raw.amount > 1",
    "random() < 0.5",
    "now() > placed_at",
    "current_timestamp > placed_at",
    "uuid() IS NULL",
    "$1 = amount",
    "? = amount",
    "repeat('x', 1000000000) > ''",
    "lpad(status, 1000000000, 'x') > ''",
    "lpad(status, amount, 'x') > ''",
    "range(1000000000000) IS NULL",
    "list_transform([1], x -> x) IS NULL",
    "COLUMNS('.*') IS NULL",
    "amount::secret_type IS NULL",
    "nextval('s') = 1",
    "query('select 1') IS NULL",
    "ATTACH 'x.db'",
    "COPY raw TO '/tmp/x'",
    "PRAGMA database_list",
    "SET memory_limit='1GB'",
    "NOT " * 3000 + "true",
    "(" * 400 + "1" + ")" * 400,
    "- " * 3000 + "1",
    "amount" + "::int" * 2400,
    "[" * 300 + "]" * 300,
    "x" * 30_000,
    "",
    "-- nothing",
    "'",
]


@pytest.mark.parametrize("sql", HOSTILE_EXPRESSIONS, ids=lambda s: s[:30])
def test_a_hostile_expression_is_refused(sql: str) -> None:
    with pytest.raises(ConfigError):
        safe_expression(sql, COLUMNS)


HOSTILE_SELECTS = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    'SELECT * FROM "flights.parquet"',
    "SELECT * FROM glob('/*')",
    "SELECT * FROM range(1000000000000)",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM main.flights",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM flights; DELETE FROM flights",
    "DELETE FROM flights",
    "CREATE TABLE t AS SELECT * FROM flights",
    "INSERT INTO flights SELECT * FROM flights",
    "COPY (SELECT * FROM flights) TO '/tmp/x'",
    "SELECT * INTO t FROM flights",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CALL pragma_version()",
    "EXPLAIN SELECT * FROM flights",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
    "WITH flights AS (SELECT 1 AS a) SELECT a FROM flights",
    "SELECT * FROM flights TABLESAMPLE 10%",
    "SELECT * FROM flights, LATERAL (SELECT 1)",
    "SELECT unnest(range(1000000000)) AS n FROM flights",
    "SELECT random() AS r FROM flights",
    "PIVOT flights ON origin USING sum(delay)",
    "SELECT nothing FROM flights",
    "SELECT f.seats FROM flights f",
    "SELECT tailnum FROM flights JOIN planes ON true",
    "SELECT f.tailnum, p.tailnum FROM flights f JOIN planes p ON true",
    "SELECT count(*) FROM flights",
    "SELECT * FROM " + ", ".join(f"flights f{n}" for n in range(40)),
    "SELECT delay + delay AS a0, "
    + ", ".join(f"a{n} + a{n} AS a{n + 1}" for n in range(60))
    + " FROM flights",
    "amount > 0",
    "",
]


@pytest.mark.parametrize("sql", HOSTILE_SELECTS, ids=lambda s: s[:40])
def test_a_hostile_select_is_refused(sql: str) -> None:
    with pytest.raises(ConfigError):
        safe_select(sql, TABLES)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("AMOUNT > 0 -- comment", '"amount" > 0'),
        ("status IN ('a', 'b') /* x */", "\"Status\" IN ('a', 'b')"),
        ("data->>'$.x' = 'y'", "(\"data\" ->> '$.x') = 'y'"),
        ("amount::decimal(10,2) BETWEEN 1 AND 2", 'CAST("amount" AS DECIMAL(10, 2)) BETWEEN 1 AND 2'),
        ("lpad(status, 5, '0') = 'a'", "LPAD(\"Status\", 5, '0') = 'a'"),
        ("data['x'] = 'it''s'", "\"data\"['x'] = 'it''s'"),
    ],
)
def test_an_expression_is_written_anew(sql: str, expected: str) -> None:
    assert safe_expression(sql, COLUMNS) == expected


def test_a_wrong_column_is_answered_with_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"no column 'amoumt'. Did you mean 'amount'\?"):
        safe_expression("amoumt > 0", COLUMNS)


def test_a_wrong_table_is_answered_with_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"no table 'flight'. Did you mean 'flights'\?"):
        safe_select("SELECT * FROM flight", TABLES)


@pytest.mark.parametrize(
    ("sql", "lineage"),
    [
        (
            "SELECT * EXCLUDE (delay, tailnum) FROM flights",
            {"Origin": ["flights.Origin"], "order": ["flights.order"]},
        ),
        (
            "WITH d AS (SELECT tailnum t, avg(delay) m, count(*) n FROM flights GROUP BY 1) "
            "SELECT t, m / seats AS r, n, (SELECT max(seats) FROM planes) AS top "
            "FROM d JOIN planes p ON p.tailnum = t",
            {
                "t": ["flights.tailnum"],
                "r": ["flights.delay", "planes.seats"],
                "n": [],
                "top": ["planes.seats"],
            },
        ),
        (
            "SELECT tailnum FROM flights UNION ALL SELECT tailnum FROM planes",
            {"tailnum": ["flights.tailnum", "planes.tailnum"]},
        ),
        (
            'SELECT ORIGIN, "x.y" AS xy FROM flights JOIN planes USING (tailnum)',
            {"Origin": ["flights.Origin"], "xy": ["planes.x.y"]},
        ),
        ("SELECT o FROM (SELECT origin || 'x' AS o, 1 AS n FROM flights)", {"o": ["flights.Origin"]}),
        (
            "SELECT delay * 2 AS a, a + seats AS b FROM flights, planes",
            {"a": ["flights.delay"], "b": ["flights.delay", "planes.seats"]},
        ),
    ],
)
def test_lineage_leads_to_the_tables_columns(sql: str, lineage: dict[str, list[str]]) -> None:
    found = safe_select(sql, TABLES).lineage
    assert {column: [f"{t}.{c}" for t, c in sources] for column, sources in found.items()} == lineage


def test_what_passes_runs_in_duckdb_as_written() -> None:
    import duckdb

    with duckdb.connect() as con:
        con.execute(
            "CREATE TABLE flights AS SELECT 'JFK' AS \"Origin\", 5 AS delay, 'N1' AS tailnum, 1 AS \"order\""
        )
        con.execute("CREATE TABLE planes AS SELECT 'N1' AS tailnum, 100 AS seats, 2 AS \"x.y\"")
        sql = "SELECT f.*, P.SEATS * 2 AS s, lag(delay) OVER (ORDER BY delay) AS l "
        sql += "FROM flights F LEFT JOIN planes p USING (tailnum)"
        safe = safe_select(sql, TABLES)
        result = con.execute(safe.sql)
        assert [d[0] for d in result.description] == list(safe.lineage)
        assert result.fetchall() == [("JFK", 5, "N1", 1, 200, None)]


def test_importing_it_loads_no_parser() -> None:
    code = "import sys, superinsight_sync.core.sql; sys.exit('sqlglot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
