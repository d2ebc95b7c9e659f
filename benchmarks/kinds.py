"""The same rows as each kind of source holds them: 16 mixed columns, about 190 bytes a row in Arrow."""

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

ROWS = """
SELECT i AS id, i // 4 AS order_id, CAST(i % 200000 AS INTEGER) AS part_id, CAST(i % 7 AS INTEGER) AS line_number,
  CASE WHEN i % 11 = 0 THEN NULL ELSE CAST(i % 50 AS INTEGER) END AS warehouse_id,
  CAST((i % 5000) / 100 AS DECIMAL(12,2)) AS quantity, CAST((i % 9000000) / 100 AS DECIMAL(12,2)) AS price,
  CAST(i * 0.731 AS DOUBLE) AS weight, DATE '2024-01-01' + CAST(i % 365 AS INTEGER) AS ship_date,
  TIMESTAMP '2024-01-01' + INTERVAL (i) SECOND AS created_at, i % 5 = 0 AS returned,
  ['open','filled','pending'][i % 3 + 1] AS status, ['AIR','RAIL','SHIP','TRUCK','MAIL'][i % 5 + 1] AS mode,
  CASE WHEN i % 4 = 0 THEN NULL ELSE 'DELIVER IN PERSON ' || i % 90 END AS instructions,
  'règlement ' || md5(CAST(i AS VARCHAR)) || ' 包装 🚚 ' || i % 1000 AS comment,
  '{{"a": ' || i % 100 || '}}' AS attributes
FROM range(1, {rows} + 1) t(i)
"""
COLUMNS = ["id", "order_id", "part_id", "line_number", "warehouse_id", "quantity", "price", "weight", "ship_date",
           "created_at", "returned", "status", "mode", "instructions", "comment", "attributes"]  # fmt: skip
_SQLITE = """CREATE TABLE lineitem (id INTEGER PRIMARY KEY, order_id INTEGER, part_id INTEGER, line_number INTEGER,
  warehouse_id INTEGER, quantity TEXT, price TEXT, weight REAL, ship_date TEXT, created_at TEXT, returned INTEGER,
  status TEXT, mode TEXT, instructions TEXT, comment TEXT, attributes TEXT)"""
_POSTGRES = """CREATE TABLE lineitem (id bigint PRIMARY KEY, order_id bigint, part_id int, line_number int,
  warehouse_id int, quantity decimal(12,2), price decimal(12,2), weight double precision, ship_date date,
  created_at timestamp, returned boolean, status text, mode text, instructions text, comment text, attributes text)"""
_MYSQL = """CREATE TABLE lineitem (id bigint PRIMARY KEY, order_id bigint, part_id int, line_number int,
  warehouse_id int, quantity decimal(12,2), price decimal(12,2), weight double, ship_date date,
  created_at datetime, returned boolean, status varchar(20), mode varchar(20), instructions varchar(60),
  comment varchar(120), attributes varchar(40)) CHARACTER SET utf8mb4"""
_TABS = "FORMAT csv, HEADER false, NULLSTR '\\N', DELIMITER '\t', QUOTE '', ESCAPE ''"


@dataclass(frozen=True)
class Prepared:
    """A source that is ready to be pulled.

    Attributes:
        connection, stream: what our declaration says of it.
        peer: what the peers need to know: a DSN, a folder, an address.
        secret: the value of the environment variable that the declaration refers to.
        peers: the peers that read this kind, by the name they are shown under. The first is dlt's default.
    """

    connection: dict[str, Any]
    stream: dict[str, Any]
    peer: str = ""
    peers: dict[str, str] = field(default_factory=dict)
    secret: str = ""


Prepare = Callable[[ExitStack, Path, int], Prepared]


def write_file(path: Path, rows: int, options: str) -> None:
    with closing(duckdb.connect()) as db:
        db.execute("SET preserve_insertion_order = true")
        db.execute(f"COPY ({ROWS.format(rows=rows)}) TO '{path}' ({options})")


def sqlite(stack: ExitStack, folder: Path, rows: int) -> Prepared:
    path = folder / "shop.db"
    with closing(duckdb.connect()) as source, closing(sqlite3.connect(path)) as db, db:
        db.execute(_SQLITE)
        text = "* REPLACE (quantity::VARCHAR AS quantity, price::VARCHAR AS price, ship_date::VARCHAR AS ship_date,"
        text += " created_at::VARCHAR AS created_at, returned::INTEGER AS returned)"
        found = source.execute(f"SELECT {text} FROM ({ROWS.format(rows=rows)})")
        while batch := found.fetchmany(50_000):
            db.executemany(f"INSERT INTO lineitem VALUES ({','.join('?' * 16)})", batch)
    peers = {"dlt default": "dlt_sql", "dlt pyarrow backend": "dlt_sql_pyarrow", "sling": "sling_sql"}
    return Prepared({"kind": "sqlite", "path": str(path)}, {"table": "lineitem"}, f"sqlite:///{path}", peers)


def duckdb_file(stack: ExitStack, folder: Path, rows: int) -> Prepared:
    path = folder / "shop.duckdb"
    with closing(duckdb.connect(path)) as db:
        db.execute(f"CREATE TABLE lineitem AS {ROWS.format(rows=rows)}")
    return Prepared({"kind": "duckdb", "path": str(path)}, {"table": "lineitem"})


def postgres(stack: ExitStack, folder: Path, rows: int) -> Prepared:
    import psycopg

    from superinsight_sync_tests.servers.postgres import running_postgres

    dsn = stack.enter_context(running_postgres()).create_database()
    path = folder / "load.tsv"
    write_file(path, rows, _TABS)
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(_POSTGRES)
        with path.open("rb") as lines, db.cursor().copy("COPY lineitem FROM STDIN") as copy:
            while chunk := lines.read(1 << 20):
                copy.write(chunk)
        db.execute("VACUUM ANALYZE lineitem")
    path.unlink()
    peers = {"dlt default": "dlt_sql", "dlt connectorx": "dlt_sql_connectorx", "sling": "sling_sql"}
    connection = {"kind": "postgres", "dsn": "{{ env.BENCH_SECRET }}"}
    return Prepared(connection, {"table": "public.lineitem"}, dsn, peers, dsn)


def mysql(stack: ExitStack, folder: Path, rows: int) -> Prepared:
    import pymysql

    from superinsight_sync_tests.servers.mariadb import PASSWORD, running_mariadb

    server = stack.enter_context(running_mariadb())
    dsn = server.create_database()
    path = folder / "load.tsv"
    write_file(path, rows, _TABS)
    database = dsn.rsplit("/", 1)[1]
    with (
        pymysql.connect(
            host="127.0.0.1",
            port=server.port,
            user="root",
            password=PASSWORD,
            database=database,
            local_infile=True,
            autocommit=True,
            charset="utf8mb4",
        ) as db,
        db.cursor() as cursor,
    ):
        cursor.execute(_MYSQL)
        columns = ",".join("@r" if c == "returned" else c for c in COLUMNS)
        cursor.execute(
            f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE lineitem CHARACTER SET utf8mb4 ({columns})"
            " SET returned = (@r = 'true')"
        )
    path.unlink()
    peers = {"dlt default": "dlt_sql", "dlt connectorx": "dlt_sql_connectorx", "sling": "sling_sql"}
    connection = {"kind": "mysql", "dsn": "{{ env.BENCH_SECRET }}"}
    return Prepared(connection, {"table": "lineitem"}, dsn, peers, dsn)


def files(kind: str, options: str, peers: dict[str, str]) -> Prepare:
    def prepare(stack: ExitStack, folder: Path, rows: int) -> Prepared:
        data = folder / "data"
        data.mkdir()
        write_file(data / f"lineitem.{kind}", rows, options)
        return Prepared({"kind": "files", "path": str(data)}, {"path": f"lineitem.{kind}"}, str(data), peers)

    return prepare


csv = files(
    "csv",
    "FORMAT csv, HEADER true",
    {
        "dlt read_csv (pandas), its default": "dlt_csv",
        "dlt read_csv_duckdb": "dlt_csv_duckdb",
        "dlt read_csv_duckdb, use_pyarrow": "dlt_csv_duckdb_arrow",
        "sling → parquet": "sling_csv",
    },
)
# The Parquet reader of sling 1.4.11 never ends.
parquet = files(
    "parquet",
    "FORMAT parquet",
    {
        "dlt read_parquet, its default": "dlt_parquet",
        "dlt read_parquet, use_pyarrow, 64k rows": "dlt_parquet_arrow",
        "polars → parquet, plain": "polars_parquet",
    },
)
jsonl = files(
    "jsonl",
    "FORMAT json",
    {
        "dlt read_jsonl, its only": "dlt_jsonl",
        "sling → parquet": "sling_jsonl",
        "duckdb → parquet, plain": "duckdb_jsonl",
        "polars → parquet, plain": "polars_jsonl",
    },
)
