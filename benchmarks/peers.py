"""The peers, each as its documentation shows it. Runs in the peers' own environment."""

import os
import subprocess
import sys
from collections.abc import Callable
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


def dlt_files_to_delta(reader: str, pattern: str) -> str:
    """dlt's filesystem source with one of its readers, written as a Delta table."""
    from dlt.sources import filesystem as source

    files = source.filesystem(bucket_url=f"file://{DSN}", file_glob=pattern)
    records = (files | getattr(source, reader)()).with_name(TABLE)
    dlt_pipeline("files").run(records, write_disposition="replace", table_format="delta")
    return f"{FOLDER}/files-lake/bench/{TABLE}"


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
    "sling_sql": lambda: sling_to_parquet(
        DSN.replace("sqlite:////", "sqlite:///"), TABLE if DSN.startswith("mysql") else f"main.{TABLE}"
    ),
    "sling_csv": lambda: sling_to_parquet("", f"file://{DSN}/{TABLE}.csv"),
    "sling_parquet": lambda: sling_to_parquet("", f"file://{DSN}/{TABLE}.parquet"),
    "sling_jsonl": lambda: sling_to_parquet("", f"file://{DSN}/{TABLE}.jsonl"),
}


def main() -> None:
    written = PEERS[sys.argv[1]]()
    print(written)


if __name__ == "__main__":
    main()
