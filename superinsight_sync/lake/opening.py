"""From the lake's URL to its stores. Cheap to import: Delta and Arrow load with the first store."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from superinsight_sync.lake.change_log import ChangeLog
    from superinsight_sync.lake.change_merge import ChangeMerge
    from superinsight_sync.lake.change_view import ChangeView
    from superinsight_sync.lake.delta import DeltaStore


def open_store(url: str, scratch_dir: Path | None = None) -> "DeltaStore":
    """The tables below a local path or ``s3://…``. Opens nothing yet: an error shows at the first use.

    Args:
        scratch_dir: for rows on their way; None: the system's temporary folder.
    """
    from superinsight_sync.lake.delta import DeltaStore

    return DeltaStore(url, scratch_dir=scratch_dir)


def open_change_log(url: str) -> "ChangeLog":
    """The change logs of captured streams in the same lake."""
    from superinsight_sync.lake.change_log import ChangeLog

    return ChangeLog(url)


def open_change_merge(url: str, scratch_dir: Path, memory_limit_bytes: int) -> "ChangeMerge":
    """What brings them into their raw tables."""
    from superinsight_sync.lake.change_merge import ChangeMerge

    return ChangeMerge(open_store(url, scratch_dir), url, scratch_dir, memory_limit_bytes)


def open_change_view(url: str, scratch_dir: Path, memory_limit_bytes: int) -> "ChangeView":
    """What reads both together."""
    from superinsight_sync.lake.change_view import ChangeView

    return ChangeView(open_store(url, scratch_dir), scratch_dir, memory_limit_bytes)
