"""What a PostgreSQL target remembers beside the rows: its tables, loads and checkpoints.

Three tables in the target's schema, written in the same transaction as the rows: `_sis_tables` (which table
belongs to which stream, and its version), `_sis_loads` (a row per version) and `_sis_checkpoints`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from superinsight_sync.core.canonical import decode, encode
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.store import TableVersion
from superinsight_sync.model.tables import Checkpoint, Commit, CommitResult, TableRef

_TABLES = """
CREATE TABLE IF NOT EXISTS {schema}._sis_tables (
  path text PRIMARY KEY, name text NOT NULL UNIQUE, version bigint NOT NULL);
CREATE TABLE IF NOT EXISTS {schema}._sis_loads (
  path text NOT NULL, version bigint NOT NULL, at timestamptz NOT NULL, operation text NOT NULL, load_id text,
  rows bigint, size_bytes bigint, rows_inserted bigint, rows_updated bigint, rows_deleted bigint,
  undone boolean NOT NULL DEFAULT false, checkpoints_before text NOT NULL, metadata text NOT NULL,
  PRIMARY KEY (path, version));
CREATE UNIQUE INDEX IF NOT EXISTS _sis_loads_once ON {schema}._sis_loads (path, load_id) WHERE NOT undone;
CREATE TABLE IF NOT EXISTS {schema}._sis_checkpoints (
  path text NOT NULL, partition text NOT NULL, checkpoint text NOT NULL, PRIMARY KEY (path, partition));
"""


@dataclass(frozen=True)
class Load:
    """A load that landed and was not rolled back."""

    version: int
    operation: str
    result: CommitResult

    @property
    def only_added(self) -> bool:
        return self.result.rows_updated == 0 and self.result.rows_deleted == 0


@dataclass(frozen=True)
class Journal:
    """The journal of one table, over an open connection.

    Args:
        schema: the target's schema.
        name: the target table's name.
    """

    connection: psycopg.Connection[Any]
    table: TableRef
    schema: str
    name: str

    @property
    def target(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def set_up(self) -> None:
        """Makes schema and journal tables where they are missing; safe against others doing the same."""
        if self._exists("_sis_checkpoints"):
            return
        with self.connection.transaction():
            self._locked("_sis_journal")
            found = self.connection.execute(
                "SELECT FROM pg_namespace WHERE nspname = %s", [self.schema]
            ).fetchone()
            if found is None:
                self.connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self.schema)))
            self._run(_TABLES)

    def lock(self) -> None:
        """Waits until no other transaction writes this table; until this one's end."""
        self._locked(self.name)

    def is_set_up(self) -> bool:
        return self._exists("_sis_checkpoints")

    def table_exists(self) -> bool:
        """Whether the target table is there, ours or not."""
        return self._exists(self.name)

    def version(self) -> int | None:
        """The newest version; None if there is no such table of ours."""
        if not self.is_set_up():
            return None
        found = self._run(
            "SELECT version FROM {schema}._sis_tables WHERE path = %s", self.table.path
        ).fetchone()
        return int(found[0]) if found else None

    def register(self) -> None:
        """Claims the table's name for the stream. Raises ConfigError if somebody else has it."""
        owner = self._run("SELECT path FROM {schema}._sis_tables WHERE name = %s", self.name).fetchone()
        mine = self._run("SELECT name FROM {schema}._sis_tables WHERE path = %s", self.table.path).fetchone()
        if (owner and owner[0] != self.table.path) or (owner is None and self.table_exists()):
            whose = f"belongs to {owner[0]}" if owner else "exists and is not ours"
            raise ConfigError(
                f"the target table {self.schema}.{self.name} {whose}",
                where=str(self.table),
                hint="Name another one in save.table",
            )
        if mine and mine[0] != self.name:
            raise ConfigError(
                f"the rows are in {self.schema}.{mine[0]}, not in {self.schema}.{self.name}",
                where=str(self.table),
                hint="Change save.table back, or drop that table first",
            )
        if owner is None:
            self._run("INSERT INTO {schema}._sis_tables VALUES (%s, %s, 0)", self.table.path, self.name)

    def load(self, load_id: str) -> Load | None:
        """The load, if it landed and was not rolled back."""
        if not self.is_set_up():
            return None
        found = self._run(
            "SELECT version, operation, rows, size_bytes, rows_inserted, rows_updated, rows_deleted"
            " FROM {schema}._sis_loads WHERE path = %s AND load_id = %s AND NOT undone",
            self.table.path,
            load_id,
        ).fetchone()
        if found is None:
            return None
        version, operation, rows, size_bytes, inserted, updated, deleted = found
        result = CommitResult(version, rows, size_bytes, inserted, updated, deleted, repeated=True)
        return Load(version, operation, result)

    def write(self, operation: str, done: CommitResult, commit: Commit | None = None) -> None:
        """Adds a version and, of a commit, its checkpoints."""
        before = {k: self.checkpoints().get(k) for k in (commit.checkpoints if commit else {})}
        self._log(operation, done, commit, before)
        for partition, checkpoint in (commit.checkpoints if commit else {}).items():
            self._set(partition, checkpoint)

    def set_checkpoint(self, partition: str, checkpoint: Checkpoint | None) -> None:
        """Sets or removes one in a version of its own."""
        version = self.next_version()
        before = {partition: self.checkpoints().get(partition)}
        self._log("set_checkpoint", CommitResult(version, 0, 0), None, before)
        self._set(partition, checkpoint)

    def next_version(self) -> int:
        """Counts the table's version up."""
        found = self._run(
            "UPDATE {schema}._sis_tables SET version = version + 1 WHERE path = %s RETURNING version",
            self.table.path,
        ).fetchone()
        assert found is not None
        return int(found[0])

    def checkpoints(self) -> Mapping[str, Checkpoint]:
        rows = self._run(
            "SELECT partition, checkpoint FROM {schema}._sis_checkpoints WHERE path = %s", self.table.path
        ).fetchall()
        return {partition: Checkpoint(**decode(text)) for partition, text in rows}

    def later_loads(self, version: int) -> list[str]:
        """Loads after `version` that wrote rows."""
        rows = self._run(
            "SELECT load_id FROM {schema}._sis_loads"
            " WHERE path = %s AND version > %s AND NOT undone AND load_id IS NOT NULL"
            " AND rows + rows_deleted > 0 ORDER BY version",
            self.table.path,
            version,
        ).fetchall()
        return [r[0] for r in rows]

    def undo_from(self, version: int) -> None:
        """Puts the checkpoints back to what they were before `version`; marks the loads since as undone."""
        rows = self._run(
            "UPDATE {schema}._sis_loads SET undone = true WHERE path = %s AND version >= %s AND NOT undone"
            " RETURNING version, checkpoints_before",
            self.table.path,
            version,
        ).fetchall()
        for _, before in sorted(rows, reverse=True):
            for partition, values in decode(before).items():
                self._set(partition, None if values is None else Checkpoint(**values))

    def history(self, limit: int) -> list[TableVersion]:
        rows = self._run(
            "SELECT version, at, operation, load_id, rows, metadata FROM {schema}._sis_loads"
            " WHERE path = %s ORDER BY version DESC LIMIT %s",
            self.table.path,
            limit,
        ).fetchall()
        return [
            TableVersion(version, at, operation, load_id, written, decode(metadata))
            for version, at, operation, load_id, written, metadata in rows
        ]

    def forget(self) -> None:
        """Removes everything known of the table."""
        for name in ("_sis_tables", "_sis_loads", "_sis_checkpoints"):
            query = sql.SQL("DELETE FROM {} WHERE path = %s").format(sql.Identifier(self.schema, name))
            self.connection.execute(query, [self.table.path])

    def _set(self, partition: str, checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:
            self._run(
                "DELETE FROM {schema}._sis_checkpoints WHERE path = %s AND partition = %s",
                self.table.path,
                partition,
            )
            return
        self._run(
            "INSERT INTO {schema}._sis_checkpoints VALUES (%s, %s, %s)"
            " ON CONFLICT (path, partition) DO UPDATE SET checkpoint = excluded.checkpoint",
            self.table.path,
            partition,
            encode(vars(checkpoint)),
        )

    def _log(
        self,
        operation: str,
        done: CommitResult,
        commit: Commit | None,
        before: Mapping[str, Checkpoint | None],
    ) -> None:
        self._run(
            "INSERT INTO {schema}._sis_loads (path, version, at, operation, load_id, rows, size_bytes,"
            " rows_inserted, rows_updated, rows_deleted, checkpoints_before, metadata)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            self.table.path,
            done.version,
            utc_now(),
            operation,
            commit.load_id if commit else None,
            done.rows,
            done.size_bytes,
            done.rows_inserted,
            done.rows_updated,
            done.rows_deleted,
            encode({k: vars(v) if v else None for k, v in before.items()}),
            encode(dict(commit.metadata) if commit else {}),
        )

    def _run(self, query: str, *values: Any) -> psycopg.Cursor[Any]:
        composed = sql.SQL(query).format(schema=sql.Identifier(self.schema))
        return self.connection.execute(composed, values or None)

    def _exists(self, name: str) -> bool:
        found = self.connection.execute(
            "SELECT to_regclass(%s)", [f"{_quoted(self.schema)}.{_quoted(name)}"]
        ).fetchone()
        return bool(found and found[0])

    def _locked(self, name: str) -> None:
        key = f"sis:{self.schema}.{name}"
        self.connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def tables_in(connection: psycopg.Connection[Any]) -> Sequence[str]:
    """The paths of all our tables in the database."""
    schemas = connection.execute(
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = '_sis_tables' AND c.relkind = 'r' ORDER BY 1"
    ).fetchall()
    paths: list[str] = []
    for (schema,) in schemas:
        query = sql.SQL("SELECT path FROM {}").format(sql.Identifier(schema, "_sis_tables"))
        paths += [row[0] for row in connection.execute(query)]
    return paths
