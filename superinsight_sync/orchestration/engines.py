"""The engine of a run: one per process and run, shared by its steps."""

import threading

import dagster as dg

from superinsight_sync.pipeline.engine import Engine, open_engine

_engines: dict[str, Engine] = {}
_lock = threading.Lock()


def engine_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Engine:
    """The engine of the context's run."""
    return engine_of_run(context.run_id if isinstance(context, dg.AssetExecutionContext) else context.run.run_id)


def engine_of_run(run_id: str) -> Engine:
    """The engine of a run; runs before it in this process have ended, so their engines are released."""
    with _lock:
        for other in [r for r in _engines if r != run_id]:
            _engines.pop(other).release()
        if run_id not in _engines:
            _engines[run_id] = open_engine(run_id)
        return _engines[run_id]
