"""Our pull of the benchmark table, as the pipeline does it: read, system columns, Delta commit, checkpoint.

Prints the pull's seconds and the size of what was read in Arrow memory, and then where the table is.
Starts and ends as the `sis` command does.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from superinsight_sync.core.process import ease_collector, leave

ease_collector()

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.pull import pull_stream


def main() -> None:
    engine = open_engine(settings=load_settings({"SIS_PROJECT_DIR": os.environ["BENCH_DIR"]}))
    stream = {"name": "lineitem", **json.loads(os.environ["BENCH_STREAM"])}
    connection = json.loads(os.environ["BENCH_CONNECTION"])
    source = SourceSpec.model_validate({"name": "bench", "connection": connection, "streams": [stream]})
    began_s = time.perf_counter()
    result = pull_stream(engine, source, source.streams[0])
    pull_s = time.perf_counter() - began_s
    assert result.stats.rows == result.table_rows
    print(json.dumps({"pull_s": pull_s, "size_bytes": result.stats.size_bytes}))
    print(f"{os.environ['BENCH_DIR']}/.sis/lake/default/bench/lineitem/raw")


if __name__ == "__main__":
    main()
    leave(0)
