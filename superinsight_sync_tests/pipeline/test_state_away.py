"""Our state is away for a while after what was read has landed: it is told when it is back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from superinsight_sync.core.errors import TransientError
from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.export import export_dataset
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync.state.database import Database

RAW = TableRef("default", "drop", "sales", "raw")


class Away(Database):
    """A database whose connection fails once, after the lake has a table."""

    def __init__(self, engine: Engine, table: TableRef) -> None:
        super().__init__(engine.settings.database_url)
        self._lake, self._table, self.failed = engine.lake, table, False

    @contextmanager
    def write(self) -> Iterator[Connection]:
        if not self.failed and self._lake.exists(self._table):
            self.failed = True
            raise TransientError("the state database is away")
        with super().write() as connection:
            yield connection


def away_for(engine: Engine, table: TableRef, *nouns: str) -> list[Away]:
    """From when the table is there, the first thing that each noun is told fails."""
    found = [Away(engine, table) for _ in nouns]
    for noun, database in zip(nouns, found, strict=True):
        vars(getattr(engine.state, noun))["_database"] = database
    return found


def test_what_landed_while_our_state_was_away_is_told(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "a.csv").write_text("id,name\n1,one\n2,two,too,many\nx,three\n")
    source = SourceSpec.model_validate(
        {
            "name": "drop",
            "connection": {"kind": "files", "path": str(folder)},
            "streams": [
                {
                    "name": "sales",
                    "path": "*.csv",
                    "refine": [{"step": "cast", "columns": {"id": "int64"}}],
                }
            ],
        }
    )
    (stream,) = source.streams
    away = away_for(engine, RAW.at("unreadable"), "checkpoints", "quarantine", "executions")
    pull_stream(engine, source, stream)
    away += away_for(engine, RAW.at("quarantine"), "checkpoints", "quarantine", "executions")
    refine_stream(engine, source, stream)
    away += away_for(engine, RAW, "exports")
    wanted = {"name": "training", "inputs": {"sales": "drop/sales"}, "select": "SELECT * FROM sales"}
    export_dataset(engine, DatasetSpec.model_validate(wanted))
    assert all(database.failed for database in away)
    ended = {row.verb: (row.status, row.rows) for row in engine.state.executions.recent()}
    assert ended == {v: ("succeeded", n) for v, n in (("pull", 2), ("refine", 1), ("export", 1))}
    assert len(engine.state.checkpoints.list(source="drop")) == 2
    assert sum(q.count for q in engine.state.quarantine.list()) == 2
    assert [kept.rows for kept in engine.state.exports.list()] == [1]
