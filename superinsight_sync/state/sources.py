"""Which sources were declared, whether their declaration changed, and how the last connection test went."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack

from sqlalchemy import select, update

from superinsight_sync.core.clock import utc_now
from superinsight_sync.state.database import Database, insert_into, matching
from superinsight_sync.state.tables import sources


@dataclass(frozen=True)
class KnownSource:
    """A source as last seen. `probe` is what the last connection test told, None before the first."""

    tenant: str
    name: str
    kind: str
    fingerprint: str
    changed_at: datetime
    seen_at: datetime
    probed_at: datetime | None
    probe_ok: bool | None
    probe: Mapping[str, Any] | None


class SourceFilter(TypedDict, total=False):
    """Columns that must equal a value."""

    tenant: str
    name: str
    kind: str


class Sources:
    """Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, name: str, kind: str, fingerprint: str, tenant: str = "default") -> bool:
        """Keeps what is declared now; whether it differs from what was known (a new source does)."""
        at = utc_now()
        row = {
            "tenant": tenant,
            "name": name,
            "kind": kind,
            "fingerprint": fingerprint,
            "seen_at": at,
            "changed_at": at,
        }
        is_same = (sources.c.tenant == tenant, sources.c.name == name, sources.c.fingerprint == fingerprint)
        with self._database.write() as connection:
            if connection.execute(update(sources).where(*is_same).values(seen_at=at, kind=kind)).rowcount:
                return False
            statement = insert_into(connection, sources).values(**row, probe=None)
            connection.execute(statement.on_conflict_do_update(index_elements=["tenant", "name"], set_=row))
            return True

    def record_probe(self, name: str, ok: bool, probe: Mapping[str, Any], tenant: str = "default") -> None:
        """Keeps the connection test's result of a recorded source; nothing if it is not recorded."""
        found = matching(sources, {"tenant": tenant, "name": name})
        values = {"probed_at": utc_now(), "probe_ok": ok, "probe": dict(probe)}
        with self._database.write() as connection:
            connection.execute(update(sources).where(*found).values(values))

    def list(self, **where: Unpack[SourceFilter]) -> tuple[KnownSource, ...]:
        """Those that match, by tenant and name."""
        statement = (
            select(sources).where(*matching(sources, where)).order_by(sources.c.tenant, sources.c.name)
        )
        with self._database.read() as connection:
            return tuple(KnownSource(**row) for row in connection.execute(statement).mappings())

    def get(self, name: str, tenant: str = "default") -> KnownSource | None:
        """The source of that name."""
        return next(iter(self.list(name=name, tenant=tenant)), None)
