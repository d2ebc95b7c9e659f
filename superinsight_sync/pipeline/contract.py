"""The schema contract: what a change of the source's columns means for the table that holds them."""

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.store import Store
from superinsight_sync.model.tables import SYSTEM_COLUMNS, TableRef
from superinsight_sync.sources.protocol import StreamShape


def schema_changes(store: Store, table: TableRef, shape: StreamShape, *, frozen: bool) -> tuple[str, ...]:
    """What differs between the source now and the table: new and missing columns, in words.

    Raises ConfigError if the contract is `freeze` and anything differs.
    """
    if not store.exists(table):
        return ()
    landed = set(store.schema(table).names) - set(SYSTEM_COLUMNS)
    found = {c.name for c in shape.columns}
    changes = (
        *(f"new column {n}" for n in sorted(found - landed)),
        *(f"missing column {n}" for n in sorted(landed - found)),
    )
    if frozen and changes:
        raise ConfigError(
            f"the schema changed ({', '.join(changes)}) and its contract is frozen",
            hint="Set schema_contract: evolve to take the change, or restore the source's columns",
        )
    return changes
