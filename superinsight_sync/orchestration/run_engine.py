"""The engine of a run: one per process and run, shared by its steps."""

import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

import dagster as dg

from superinsight_sync.pipeline.engine import Engine, Progress, open_engine

FORCE_TAG = "sis/force"
"""A run with this tag set to ``true`` does everything anew, also where nothing changed."""

_engines: dict[str, Engine] = {}
_progress: list[Progress] = []
_lock = threading.Lock()


def engine_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Engine:
    """The engine of the context's run."""
    return engine_of_run(
        context.run_id if isinstance(context, dg.AssetExecutionContext) else context.run.run_id
    )


def is_forced(context: dg.AssetExecutionContext) -> bool:
    """Whether the run asks for everything to be done anew."""
    return context.run.tags.get(FORCE_TAG) == "true"


def engine_of_run(run_id: str) -> Engine:
    """The engine of a run; runs before it in this process have ended, so their engines are released."""
    with _lock:
        for other in [r for r in _engines if r != run_id]:
            _engines.pop(other).release()
        if run_id not in _engines:
            _engines[run_id] = open_engine(run_id)
            if _progress:
                _engines[run_id].progress = _progress[-1]
        return _engines[run_id]


@contextmanager
def stopped_if_left(engine: Engine, threads: Executor) -> Iterator[None]:
    """Whatever interrupts the block (Ctrl-C, a termination asked for in the UI) stops what the threads do.

    Without it, leaving the block would wait for reads that wait for their source.
    """
    try:
        yield
    except BaseException:
        engine.stop.set()
        threads.shutdown(wait=False, cancel_futures=True)
        raise


@contextmanager
def progress_shown(progress: Progress) -> Iterator[None]:
    """Runs executed in this process inside the block tell `progress` of each batch they read."""
    _progress.append(progress)
    try:
        yield
    finally:
        _progress.pop()
