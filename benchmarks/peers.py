"""The peers, each as its documentation shows it. Runs in the peers' own environment."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

DSN = os.environ["BENCH_DSN"]
TABLE = os.environ["BENCH_TABLE"]
FOLDER = os.environ["BENCH_DIR"]


def dlt_pipeline(name: str) -> Any:
    """A pipeline to a local folder."""
    import dlt

    os.environ["DLT_DATA_DIR"] = f"{FOLDER}/{name}"
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    return dlt.pipeline(
        name,
        destination=dlt.destinations.filesystem(f"file://{FOLDER}/{name}-lake"),
        dataset_name="bench",
        pipelines_dir=f"{FOLDER}/{name}-state",
    )


def dlt_to_delta(backend: str) -> str:
    """dlt's sql_table with a backend, written as a Delta table to a local folder."""
    from dlt.sources.sql_database import sql_table

    drivers = {"postgresql": "postgresql+psycopg2", "mysql": "mysql+pymysql"}
    scheme, rest = DSN.split("://", 1)
    options: dict[str, Any] = {"schema": "public"} if scheme == "postgresql" else {}
    credentials = f"{drivers.get(scheme, scheme)}://{rest}"
    if backend == "connectorx":
        options["backend_kwargs"] = {"return_type": "arrow_stream"}
        if scheme == "mysql":
            options["backend_kwargs"]["conn"] = DSN
    source = sql_table(credentials=credentials, table=TABLE, backend=backend, **options)
    dlt_pipeline("sql").run(source, write_disposition="replace", table_format="delta")
    return f"{FOLDER}/sql-lake/bench/{TABLE}"


def dlt_files_to_delta(reader: str, pattern: str, **options: Any) -> str:
    """dlt's filesystem source with one of its readers, written as a Delta table."""
    from dlt.sources import filesystem as source

    files = source.filesystem(bucket_url=f"file://{DSN}", file_glob=pattern)
    records = (files | getattr(source, reader)(**options)).with_name(TABLE)
    dlt_pipeline("files").run(records, write_disposition="replace", table_format="delta")
    return f"{FOLDER}/files-lake/bench/{TABLE}"


def dlt_rest_to_delta() -> str:
    """dlt's rest_api source, written as a Delta table."""
    from dlt.sources.rest_api import rest_api_source

    resource = {
        "name": TABLE,
        "endpoint": {
            "path": TABLE,
            "data_selector": "data",
            "paginator": {"type": "page_number", "base_page": 1, "total_path": "pages"},
        },
    }
    source = rest_api_source({"client": {"base_url": DSN}, "resources": [resource]})
    dlt_pipeline("rest").run(source, write_disposition="replace", table_format="delta")
    return f"{FOLDER}/rest-lake/bench/{TABLE}"


def pages() -> Iterator[list[dict[str, Any]]]:
    """The server's pages through one session of requests."""
    import requests

    with requests.Session() as session:
        page, last = 0, 1
        while page < last:
            page += 1
            answer = session.get(f"{DSN}/{TABLE}", params={"page": page}).json()
            last = answer["pages"]
            yield answer["data"]


def pandas_rest_to_parquet() -> str:
    """The plain way."""
    import pandas as pd

    pd.DataFrame([row for page in pages() for row in page]).to_parquet(f"{FOLDER}/rest.parquet")
    return f"{FOLDER}/rest.parquet"


def dlt_mongo_to_delta(as_arrow: bool) -> str:
    """A dlt resource of our own: its MongoDB source comes by `dlt init` from the network, not with the package.

    Like that one, it gives lists of 10,000 documents, or the Arrow tables of pymongoarrow.
    """
    import dlt
    from pymongo import MongoClient

    def documents() -> Iterator[Any]:
        with MongoClient[dict[str, Any]](DSN) as client:
            collection = client.get_default_database()[TABLE]
            if as_arrow:
                from pymongoarrow.api import find_arrow_all

                yield find_arrow_all(collection, {})
                return
            found = collection.find({}, batch_size=10_000)
            while chunk := list(islice(found, 10_000)):
                yield chunk

    dlt_pipeline("mongo").run(
        dlt.resource(documents, name=TABLE), write_disposition="replace", table_format="delta"
    )
    return f"{FOLDER}/mongo-lake/bench/{TABLE}"


def pymongoarrow_to_parquet() -> str:
    """MongoDB's own library for Arrow: the whole collection as a table, its types guessed from the first document."""
    import pyarrow.parquet as pq
    from pymongo import MongoClient
    from pymongoarrow.api import find_arrow_all

    with MongoClient[dict[str, Any]](DSN) as client:
        table = find_arrow_all(client.get_default_database()[TABLE], {})
    pq.write_table(table, f"{FOLDER}/mongo.parquet")
    return f"{FOLDER}/mongo.parquet"


def polars_to_parquet(scan: str, name: str) -> str:
    """The plain way: one streaming query."""
    import polars as pl

    getattr(pl, scan)(f"{DSN}/{name}").sink_parquet(f"{FOLDER}/polars.parquet")
    return f"{FOLDER}/polars.parquet"


def duckdb_to_parquet(reader: str, name: str) -> str:
    """The plain way: one COPY."""
    import duckdb

    target = f"{FOLDER}/duckdb.parquet"
    duckdb.sql(
        f"COPY (SELECT * FROM {reader}('{DSN}/{name}')) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
    )
    return target


def sling_of_database() -> str:
    """sling's names of the table: in MySQL `database.table`, in PostgreSQL and SQLite `schema.table`."""
    scheme, rest = DSN.split("://", 1)
    schema = {"mysql": rest.rpartition("/")[2], "postgresql": "public"}.get(scheme, "main")
    plain = "?sslmode=disable" if scheme == "postgresql" else ""
    return sling_to_parquet(DSN.replace("sqlite:////", "sqlite:///") + plain, f"{schema}.{TABLE}")


def sling_to_parquet(source: str, stream: str) -> str:
    """sling's own binary, the newest that PyPI carries whole, without its DuckDB (which it would download)."""
    import sling_linux_amd64

    binary = Path(sling_linux_amd64.__file__).parent / "bin" / "sling-linux-amd64"
    target = f"{FOLDER}/sling.parquet"
    command = [str(binary), "run", "--src-stream", stream, "--tgt-object", f"file://{target}"]
    command += ["--src-conn", source] if source else []
    env = {**os.environ, "SLING_DUCKDB_COMPUTE": "false", "DUCKDB_COMPUTE": "false", "HOME": FOLDER}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-1000:] + done.stderr[-1000:])
    return target


def pandas_to_parquet() -> str:
    """The plain way."""
    import pandas as pd
    import sqlalchemy as sa

    engine = sa.create_engine(DSN.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        frame = pd.read_sql(sa.text(f"SELECT * FROM public.{TABLE}"), connection)
    frame.to_parquet(f"{FOLDER}/pandas.parquet")
    return f"{FOLDER}/pandas.parquet"


PEERS: dict[str, Callable[[], str]] = {
    "dlt_connectorx": lambda: dlt_to_delta("connectorx"),
    "dlt_default": lambda: dlt_to_delta("sqlalchemy"),
    "pandas": pandas_to_parquet,
    "dlt_sql": lambda: dlt_to_delta("sqlalchemy"),
    "dlt_sql_pyarrow": lambda: dlt_to_delta("pyarrow"),
    "dlt_sql_connectorx": lambda: dlt_to_delta("connectorx"),
    "dlt_csv": lambda: dlt_files_to_delta("read_csv", "*.csv"),
    "dlt_csv_duckdb": lambda: dlt_files_to_delta("read_csv_duckdb", "*.csv"),
    "dlt_parquet": lambda: dlt_files_to_delta("read_parquet", "*.parquet"),
    "dlt_jsonl": lambda: dlt_files_to_delta("read_jsonl", "*.jsonl"),
    "dlt_csv_duckdb_arrow": lambda: dlt_files_to_delta("read_csv_duckdb", "*.csv", use_pyarrow=True),
    "dlt_parquet_arrow": lambda: dlt_files_to_delta(
        "read_parquet", "*.parquet", use_pyarrow=True, chunksize=65_536
    ),
    "dlt_rest": dlt_rest_to_delta,
    "pandas_rest": pandas_rest_to_parquet,
    "dlt_mongo": lambda: dlt_mongo_to_delta(as_arrow=False),
    "dlt_mongo_arrow": lambda: dlt_mongo_to_delta(as_arrow=True),
    "pymongoarrow": pymongoarrow_to_parquet,
    "polars_parquet": lambda: polars_to_parquet("scan_parquet", f"{TABLE}.parquet"),
    "polars_jsonl": lambda: polars_to_parquet("scan_ndjson", f"{TABLE}.jsonl"),
    "duckdb_jsonl": lambda: duckdb_to_parquet("read_json", f"{TABLE}.jsonl"),
    "sling_sql": sling_of_database,
    "sling_csv": lambda: sling_to_parquet("", f"file://{DSN}/{TABLE}.csv"),
    "sling_jsonl": lambda: sling_to_parquet("", f"file://{DSN}/{TABLE}.jsonl"),
}


def main() -> None:
    written = PEERS[sys.argv[1]]()
    print(written)


if __name__ == "__main__":
    main()
