"""What identifies a table's rows: upkeep makes new versions, but not new rows."""

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.lake.store import Store
from superinsight_sync.model.tables import TableRef


def rows_identity(store: Store, table: TableRef) -> str:
    """Equal for equal rows: the loads that all its checkpoints name; the version where there are none."""
    points = store.checkpoints(table)
    if not points:
        return f"version {store.version(table)}"
    return fingerprint({key: point.load_id for key, point in points.items()})
