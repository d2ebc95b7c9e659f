"""SuperInsight Sync: customers' data becomes AI-ready data, as a Dagster project."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superinsight_sync.components.dataset import Dataset
    from superinsight_sync.components.push_source import PushSource
    from superinsight_sync.components.sync_source import SyncSource

__all__ = ["Dataset", "PushSource", "SyncSource"]

_COMPONENTS = {
    "Dataset": "superinsight_sync.components.dataset",
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
