"""Records that could not be read as rows are kept beside the raw table, each with its reason."""

import pyarrow as pa

from superinsight_sync.core.clock import utc_now
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.tables import LOAD_ID, Commit, TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.execution import told
from superinsight_sync.pipeline.same_rows import RowSums


def keep_unreadable(engine: Engine, raw: TableRef, found: pa.Table, *, load_id: str, anew: bool) -> None:
    """Lands them. Before the rows, so that no end in between can lose one; landed again after such an end, it is
    there once.

    Args:
        anew: they replace those of earlier loads, unless they are the same.
    """
    table = raw.at("unreadable")
    exists = engine.lake.exists(table)
    if not found.num_rows and not (anew and exists):
        return
    commit = Commit(f"{load_id}-unreadable", metadata={"run_id": engine.run_id, "verb": "pull"})

    def read() -> pa.RecordBatchReader:
        return add_system_columns(found.to_reader(), load_id=load_id, extracted_at=utc_now())

    if anew and exists and RowSums.of(read()).are_of(engine.lake, table, read().schema):
        held = engine.lake.scan(table, columns=[LOAD_ID]).read_all()
        load_id = held[LOAD_ID][0].as_py() if held.num_rows else load_id
    elif anew:
        engine.lake.replace(table, read, commit)
    else:
        engine.lake.merge(table, read, commit, keys=found.schema.names)
    told(
        "the records set aside are in the lake, but not counted in our state",
        lambda: engine.state.quarantine.record(table, load_id, {"unreadable": found.num_rows}),
    )
