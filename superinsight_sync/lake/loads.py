"""What a table's history says about its loads."""

from collections.abc import Iterable

from superinsight_sync.lake.store import TableVersion


def loads_in(entries: Iterable[TableVersion]) -> list[str] | None:
    """Load ids of history entries, oldest first; None if one of them did more than add or update rows."""
    loads = []
    for entry in sorted(entries, key=lambda v: v.version):
        if entry.operation in ("append", "merge") and entry.load_id:
            loads.append(entry.load_id)
        elif entry.operation != "set_checkpoint":
            return None
    return loads
