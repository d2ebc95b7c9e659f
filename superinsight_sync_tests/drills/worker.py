"""One process of a drill: does a verb, and may be killed at any moment.

python -m superinsight_sync_tests.drills.worker <project folder> <verb> [partition…]
"""

import sys
from pathlib import Path

from superinsight_sync.core.settings import load_settings
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync_tests.drills.declared import dataset, source


def main() -> None:
    folder, verb, *partitions = sys.argv[1:]
    settings = load_settings({"SIS_PROJECT_DIR": folder, "SIS_LEASE_TTL_S": "1", "SIS_LEASE_WAIT_S": "30"})
    engine = open_engine(settings=settings)
    declared = source(Path(folder) / "shop.db")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    streams = [s for s in declared.streams if bool(s.partition) == bool(partitions)]
    if verb in ("pull", "chain"):
        from superinsight_sync.pipeline.pull import pull_stream

        for stream in streams:
            pull_stream(engine, declared, stream, partitions=partitions)
    if verb in ("refine", "chain"):
        from superinsight_sync.pipeline.refine import refine_stream

        for stream in streams:
            refine_stream(engine, declared, stream, partitions=partitions)
    if verb in ("export", "chain"):
        from superinsight_sync.pipeline.export import export_dataset

        export_dataset(engine, dataset())


if __name__ == "__main__":
    main()
