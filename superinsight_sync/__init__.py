"""SuperInsight Sync: customers' data becomes AI-ready data, as a Dagster project."""

import os
from typing import TYPE_CHECKING, Any

# NumPy's threads for matrices sleep at once when they have nothing to do. By default each of them turns for 2^26
# cycles first, a tenth of a start's CPU time. To be set before NumPy is imported, so here.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

if TYPE_CHECKING:
    from superinsight_sync.components.dataset import Dataset
    from superinsight_sync.components.entity import Entity
    from superinsight_sync.components.push_source import PushSource
    from superinsight_sync.components.sync_source import SyncSource

__all__ = ["Dataset", "Entity", "PushSource", "SyncSource"]

_COMPONENTS = {
    "Dataset": "superinsight_sync.components.dataset",
    "Entity": "superinsight_sync.components.entity",
    "PushSource": "superinsight_sync.components.push_source",
    "SyncSource": "superinsight_sync.components.sync_source",
}


def __dir__() -> list[str]:
    return sorted([*globals(), *_COMPONENTS])


def __getattr__(name: str) -> Any:
    """Gives the components, so that YAML says ``type: superinsight_sync.SyncSource``; loads them when asked."""
    if name in _COMPONENTS:
        import importlib

        return getattr(importlib.import_module(_COMPONENTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
