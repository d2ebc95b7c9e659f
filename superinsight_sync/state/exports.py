"""Which versions of which datasets were published, and where."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TypedDict, Unpack

from sqlalchemy import select

from superinsight_sync.core.clock import utc_now
from superinsight_sync.state.database import Database, matching, upsert
from superinsight_sync.state.tables import exports


@dataclass(frozen=True)
class Export:
    """A published version. `manifest_fingerprint` is the manifest's, 64 hex digits."""

    dataset: str
    version: str
    path: str
    rows: int
    size_bytes: int
    manifest_fingerprint: str
    tenant: str = "default"
    at: datetime = field(default_factory=utc_now)


class ExportFilter(TypedDict, total=False):
    """Columns that must equal a value."""

    tenant: str
    dataset: str
    version: str


class Exports:
    """Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, export: Export) -> None:
        """Keeps it; the same version again replaces what was known of it."""
        with self._database.write() as connection:
            upsert(connection, exports, [asdict(export)])

    def list(self, limit: int = 100, **where: Unpack[ExportFilter]) -> tuple[Export, ...]:
        """Those that match, newest first."""
        statement = (
            select(exports)
            .where(*matching(exports, where))
            .order_by(exports.c.at.desc(), exports.c.version.desc())
        )
        with self._database.read() as connection:
            return tuple(Export(**row) for row in connection.execute(statement.limit(limit)).mappings())

    def latest(self, dataset: str, tenant: str = "default") -> Export | None:
        """The newest version of a dataset."""
        return next(iter(self.list(1, dataset=dataset, tenant=tenant)), None)
