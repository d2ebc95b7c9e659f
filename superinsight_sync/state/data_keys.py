"""The keys that tenants' bodies are sealed with. Without a master key nothing is sealed, nothing sealed is opened."""

import secrets
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property

from sqlalchemy import Connection, delete, select, update

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.master_keys import MASTER_KEY_FILE, MasterKeys, load_master_keys
from superinsight_sync.security.sealing import ID_BYTES, DataKey
from superinsight_sync.state.audit import INSTALLATION, Entry, note
from superinsight_sync.state.database import Database, insert_into
from superinsight_sync.state.tables import data_keys as t

REMEMBERED_S = 60.0
"""For so long a process goes on with a key that was replaced."""
RETIRED_AFTER = timedelta(seconds=10 * REMEMBERED_S)
"""A replaced key is deleted no sooner, so that nobody still seals with it."""


class DataKeys:
    """Threads may share it. Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database, env: Mapping[str, str] | None = None) -> None:
        self._database, self._env = database, env
        self._lock = threading.Lock()
        self._current: dict[str, tuple[DataKey, float]] = {}
        self._known: dict[str, DataKey] = {}

    @cached_property
    def _master(self) -> MasterKeys | None:
        return load_master_keys(self._env)

    @property
    def is_on(self) -> bool:
        """Whether bodies are sealed."""
        return self._master is not None

    def current(self, tenant: str) -> DataKey:
        """The key to seal with; the tenant's first one is made now. Only where `is_on`."""
        with self._lock:
            found = self._current.get(tenant)
        if found is not None and time.monotonic() < found[1]:
            return found[0]
        until_s = time.monotonic() + REMEMBERED_S
        is_current = (t.c.tenant == tenant, t.c.replaced_at.is_(None))
        with self._database.read() as connection:
            key_id = connection.scalar(select(t.c.id).where(*is_current))
        if key_id is None:
            with self._database.write() as connection:
                self._make(connection, tenant)
                key_id = connection.execute(select(t.c.id).where(*is_current)).scalar_one()
        key = self.find(key_id)
        with self._lock:
            self._current[tenant] = (key, until_s)
        return key

    def find(self, key_id: str) -> DataKey:
        """The key to open with. Raises ConfigError if it, or the master key that wraps it, is lost."""
        with self._lock:
            if key_id in self._known:
                return self._known[key_id]
        with self._database.read() as connection:
            row = connection.execute(select(t).where(t.c.id == key_id)).first()
        if row is None:
            raise ConfigError(
                f"data key {key_id} is lost: what it sealed cannot be opened",
                where="encryption",
                hint="Restore the table sis_data_keys from a backup",
            )
        secret = self._needed().unwrap(row.wrapped, _context(row.id, row.tenant), row.master)
        key = DataKey(key_id, secret)
        with self._lock:
            self._known[key_id] = key
        return key

    def rotate(self, tenant: str) -> str:
        """From now on the tenant's bodies are sealed with a new key, by other processes within `REMEMBERED_S`; its id.
        What the old one sealed is still opened."""
        is_current = (t.c.tenant == tenant, t.c.replaced_at.is_(None))
        with self._database.write() as connection:
            connection.execute(update(t).where(*is_current).values(replaced_at=utc_now()))
            self._make(connection, tenant)
        with self._lock:
            self._current.pop(tenant, None)
        return self.current(tenant).id

    def rewrap(self) -> int:
        """Wraps by the newest master key what an older one wraps; how many keys."""
        master = self._needed()
        with self._database.write() as connection:
            rows = connection.execute(select(t).where(t.c.master != master.current)).all()
            for row in rows:
                context = _context(row.id, row.tenant)
                wrapped = master.wrap(master.unwrap(row.wrapped, context, row.master), context)
                values = {"wrapped": wrapped, "master": master.current}
                connection.execute(update(t).where(t.c.id == row.id).values(values))
            note(connection, INSTALLATION, Entry("master_key.rewrap", master.current, {"keys": len(rows)}))
        return len(rows)

    def retire(self, used: frozenset[str]) -> int:
        """Deletes keys that were replaced a while ago and seal nothing any more; how many."""
        is_old = (t.c.replaced_at < utc_now() - RETIRED_AFTER, t.c.id.not_in(used))
        with self._database.write() as connection:
            gone = connection.execute(delete(t).where(*is_old).returning(t.c.id, t.c.tenant)).all()
            for key_id, tenant in sorted(gone, key=lambda row: row.tenant):
                note(connection, tenant, Entry("data_key.retire", key_id))
        return len(gone)

    def list(self) -> tuple[Mapping[str, object], ...]:
        """All keys without what is secret of them, by tenant, oldest first."""
        shown = [c for c in t.c if c is not t.c.wrapped]
        with self._database.read() as connection:
            rows = connection.execute(select(*shown).order_by(t.c.tenant, t.c.created_at)).mappings()
            return tuple(dict(row) for row in rows)

    def _make(self, connection: Connection, tenant: str) -> None:
        """Makes a tenant's key, unless it has a current one."""
        key_id, master = secrets.token_hex(ID_BYTES), self._needed()
        row = {
            "id": key_id,
            "tenant": tenant,
            "wrapped": master.wrap(secrets.token_bytes(32), _context(key_id, tenant)),
            "master": master.current,
            "created_at": utc_now(),
        }
        made = insert_into(connection, t).values(row).on_conflict_do_nothing().returning(t.c.id)
        if connection.scalar(made) is not None:
            note(connection, tenant, Entry("data_key.make", key_id, {"master": master.current}))

    def _needed(self) -> MasterKeys:
        if self._master is None:
            raise ConfigError(
                "bodies are sealed, and there is no master key to open them",
                where="encryption",
                hint=f"Set {MASTER_KEY_FILE}, as it was when they were received",
            )
        return self._master


def _context(key_id: str, tenant: str) -> str:
    return f"data key {key_id} of {tenant}"
