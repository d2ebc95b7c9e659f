"""The peers, each as its documentation shows it. Runs in the peers' own environment."""

import os
import sys

DSN = os.environ["BENCH_DSN"]
TABLE = os.environ["BENCH_TABLE"]
FOLDER = os.environ["BENCH_DIR"]


def dlt_to_delta(backend: str, name: str) -> str:
    """dlt's sql_table with a backend, written as a Delta table to a local folder."""
    import dlt
    from dlt.sources.sql_database import sql_table

    os.environ["DLT_DATA_DIR"] = f"{FOLDER}/{name}"
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    credentials = DSN.replace("postgresql://", "postgresql+psycopg2://")
    options = {"backend_kwargs": {"return_type": "arrow_stream"}} if backend == "connectorx" else {}
    pipeline = dlt.pipeline(
        name,
        destination=dlt.destinations.filesystem(f"file://{FOLDER}/{name}-lake"),
        dataset_name="bench",
        pipelines_dir=f"{FOLDER}/{name}-state",
    )
    source = sql_table(credentials=credentials, table=TABLE, schema="public", backend=backend, **options)
    pipeline.run(source, write_disposition="replace", table_format="delta")
    return f"{FOLDER}/{name}-lake/bench/{TABLE}"


def pandas_to_parquet() -> str:
    """The plain way."""
    import pandas as pd
    import sqlalchemy as sa

    engine = sa.create_engine(DSN.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        frame = pd.read_sql(sa.text(f"SELECT * FROM public.{TABLE}"), connection)
    frame.to_parquet(f"{FOLDER}/pandas.parquet")
    return f"{FOLDER}/pandas.parquet"


def main() -> None:
    match sys.argv[1]:
        case "dlt_connectorx":
            written = dlt_to_delta("connectorx", "cx")
        case "dlt_default":
            written = dlt_to_delta("sqlalchemy", "sa")
        case "pandas":
            written = pandas_to_parquet()
        case other:
            sys.exit(f"no peer {other}")
    print(written)


if __name__ == "__main__":
    main()
