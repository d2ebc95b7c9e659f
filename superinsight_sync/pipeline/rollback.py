"""Restore: take a load back from the tables it wrote."""

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine


def tables_of_load(engine: Engine, load_id: str) -> list[TableRef]:
    """The lake's tables that the load wrote. Raises ConfigError if there are none."""
    found = [
        t for t in engine.lake.tables() if any(v.load_id == load_id for v in engine.lake.history(t, 1000))
    ]
    if not found:
        raise ConfigError(
            f"no table has a load '{load_id}'",
            hint="`sis history <source>.<stream>` lists the loads of a stream",
        )
    return found


def rollback(engine: Engine, load_id: str) -> dict[TableRef, int]:
    """Restores each table the load wrote to the state before it; the new version of each."""
    return {table: _taken_back(engine, table, load_id) for table in tables_of_load(engine, load_id)}


def _taken_back(engine: Engine, table: TableRef, load_id: str) -> int:
    with engine.state.audit.act(table.tenant, "load.rollback", str(table), load_id=load_id) as act:
        act.detail["version"] = engine.lake.rollback(table, load_id)
    return int(act.detail["version"])
