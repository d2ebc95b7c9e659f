"""What a pull cannot do without: the rows over the wire, and the same Arrow data into a Delta table.

    BENCH_DSN=… BENCH_TABLE=… BENCH_DIR=… python benchmarks/wire.py copy|save|write

`copy` reads the table by COPY … (FORMAT binary) with psycopg and keeps nothing. `save` puts what our source reads into
a file, and `write` writes that file, mapped into memory, as a Delta table by its own writer.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

DSN = os.environ["BENCH_DSN"]
TABLE = os.environ["BENCH_TABLE"]
FOLDER = Path(os.environ["BENCH_DIR"])
ARROW = Path(os.environ.get("BENCH_ARROW", FOLDER / "rows.arrow"))


def copy() -> int:
    """Bytes received."""
    import psycopg

    with (
        psycopg.connect(DSN) as db,
        db.cursor() as cursor,
        cursor.copy(f"COPY public.{TABLE} TO STDOUT (FORMAT binary)") as rows,
    ):
        return sum(map(len, rows))


def save() -> Path:
    """Where the rows are, in Arrow's file format."""
    import pyarrow as pa

    from superinsight_sync.core.settings import load_settings
    from superinsight_sync.model.declaration import StreamSpec
    from superinsight_sync.model.read import ReadRequest
    from superinsight_sync.sources.opening import open_source

    settings = load_settings({"SIS_PROJECT_DIR": str(FOLDER)})
    source = open_source(json.loads(os.environ["BENCH_CONNECTION"]), settings)
    stream = StreamSpec.model_validate({"name": "lineitem", **json.loads(os.environ["BENCH_STREAM"])})
    with (
        source.read(ReadRequest(stream)) as reader,
        pa.OSFile(str(ARROW), "wb") as file,
        pa.ipc.new_file(file, reader.schema) as target,
    ):
        for batch in reader:
            target.write_batch(batch)
    return ARROW


def write() -> Path:
    """Where the Delta table is."""
    import pyarrow as pa
    from deltalake import write_deltalake

    from superinsight_sync.lake.delta_write import REWRITING

    target = FOLDER / "written"
    with pa.memory_map(str(ARROW)) as file, pa.ipc.open_file(file) as found:
        batches = (found.get_batch(n) for n in range(found.num_record_batches))
        rows = pa.RecordBatchReader.from_batches(found.schema, batches)
        write_deltalake(target, rows, writer_properties=REWRITING)
    return target


if __name__ == "__main__":
    print({"copy": copy, "save": save, "write": write}[sys.argv[1]]())
