"""The same rows at servers that are no SQL databases, each started for the run as a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.kinds import COLUMNS, ROWS, Prepared, write_file

PAGE_ROWS = 1_000
_TYPES = {
    **dict.fromkeys(("id", "order_id", "part_id", "line_number", "warehouse_id"), "int64"),
    **dict.fromkeys(("quantity", "price"), "decimal(12,2)"),
    "weight": "float64",
    "ship_date": "date",
    "created_at": "timestamp_ntz",
    "returned": "bool",
    **dict.fromkeys(("status", "mode", "instructions", "comment", "attributes"), "string"),
}


def records(rows: int, replaced: str = "") -> Iterator[dict[str, Any]]:
    """The rows as Python objects."""
    with closing(duckdb.connect()) as db:
        found = db.execute(f"SELECT * {replaced} FROM ({ROWS.format(rows=rows)})")
        while batch := found.fetchmany(10_000):
            yield from (dict(zip(COLUMNS, row, strict=True)) for row in batch)


def mongodb(stack: ExitStack, folder: Path, rows: int) -> Prepared:
    """Numbers as doubles and dates as points in time, which all of the tools read."""
    from pymongo import MongoClient

    from superinsight_sync_tests.servers.mongo import running_mongo

    dsn = stack.enter_context(running_mongo()).new_dsn()
    replaced = (
        "REPLACE (quantity::DOUBLE AS quantity, price::DOUBLE AS price, ship_date::TIMESTAMP AS ship_date)"
    )
    left = ({"_id": r["id"], **r} for r in records(rows, replaced))
    with MongoClient[dict[str, Any]](dsn) as client:
        collection = client.get_default_database()["lineitem"]
        while chunk := list(islice(left, 10_000)):
            collection.insert_many(chunk, ordered=False)
    peers = {
        "dlt, resource over pymongo": "dlt_mongo",
        "dlt, resource over pymongoarrow": "dlt_mongo_arrow",
        "pymongoarrow → parquet, plain": "pymongoarrow",
    }
    connection = {"kind": "mongodb", "dsn": "{{ env.BENCH_SECRET }}"}
    return Prepared(connection, {"collection": "lineitem"}, dsn, peers, dsn)


@contextmanager
def running_pages(folder: Path, rows: int, server: str = "json_server.py") -> Iterator[str]:
    """The address of a server of pages of the rows."""
    path = folder / "lineitem.jsonl"
    write_file(path, rows, "FORMAT json")
    command = [sys.executable, str(Path(__file__).with_name(server)), str(path), str(PAGE_ROWS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def rest(stack: ExitStack, folder: Path, rows: int) -> Prepared:
    url = stack.enter_context(running_pages(folder, rows))
    peers = {"dlt rest_api, its only": "dlt_rest", "requests + pandas → parquet": "pandas_rest"}
    pages = {"records": "data", "pagination": {"type": "page", "pages_path": "pages"}}
    connection = {"kind": "rest", "base_url": url, "allow_private": True}
    return Prepared(connection, {"endpoint": "lineitem", "options": pages}, url, peers)


def graphql(stack: ExitStack, folder: Path, rows: int) -> Prepared:
    url = stack.enter_context(running_pages(folder, rows))
    query = (
        "query($after: String) { items(first: 1000, after: $after) {"
        f" nodes {{ {' '.join(COLUMNS)} }} pageInfo {{ hasNextPage endCursor }} }} }}"
    )
    connection = {"kind": "graphql", "base_url": f"{url}/graphql", "allow_private": True}
    return Prepared(connection, {"query": query}, url)


def soap(stack: ExitStack, folder: Path, rows: int) -> Prepared:
    url = stack.enter_context(running_pages(folder, rows, "soap_server.py"))
    connection = {"kind": "soap", "wsdl": f"{url}/?wsdl", "allow_private": True}
    return Prepared(connection, {"operation": "ListLines", "options": {"page": {"param": "page"}}}, url)


def kafka(stack: ExitStack, folder: Path, rows: int) -> Prepared:
    from confluent_kafka import Producer

    from superinsight_sync_tests.servers.kafka import running_kafka

    server = stack.enter_context(running_kafka())
    topic = server.new_topic("lineitem", partitions=3)
    path = folder / "lineitem.jsonl"
    write_file(path, rows, "FORMAT json")
    producer = Producer({"bootstrap.servers": server.servers, "linger.ms": 50})
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            producer.produce(topic, line, str(number))
            if number % 1_000 == 0:
                producer.flush(60)
    assert producer.flush(60) == 0
    stream = {"topic": topic, "options": {"columns": _TYPES}}
    return Prepared({"kind": "kafka", "servers": server.servers}, stream)


def redis(stack: ExitStack, folder: Path, rows: int) -> Prepared:
    from superinsight_sync_tests.servers.valkey import running_valkey

    server = stack.enter_context(running_valkey())
    key = server.new_key()
    left = records(rows, "REPLACE (returned::VARCHAR AS returned)")
    with server.connect() as client:
        while chunk := list(islice(left, 5_000)):
            pipe = client.pipeline(transaction=False)
            for row in chunk:
                pipe.xadd(key, {k: str(v) for k, v in row.items() if v is not None})
            pipe.execute()
    stream = {"topic": key, "options": {"columns": _TYPES}}
    return Prepared({"kind": "redis", "dsn": "{{ env.BENCH_SECRET }}"}, stream, secret=server.dsn())
