"""PostgreSQL 14 and newer: logical replication with pgoutput."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from superinsight_sync.capture.protocol import Finding, Lag, Pace, Resume, captured_streams
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import SourceSpec

if TYPE_CHECKING:
    from superinsight_sync.capture.postgres.connecting import Address
    from superinsight_sync.capture.postgres.following import PostgresSession


class Config(PluginConfig):
    """Nothing: publication and slot are named in a stream's `sync`."""


class PostgresFeed:
    """The log of a PostgreSQL database."""

    kinds: ClassVar[frozenset[str]] = frozenset({"postgres"})

    def __init__(self, source: SourceSpec, settings: Settings, pace: Pace) -> None:
        self._source, self._pace = source, pace

    def check(self) -> tuple[Finding, ...]:
        from superinsight_sync.capture.postgres.checking import findings
        from superinsight_sync.capture.postgres.connecting import asking

        with asking(self._address) as db:
            return tuple(findings(db, self._source))

    def prepare(self, *, fresh: bool, begun: Collection[str]) -> None:
        from superinsight_sync.capture.postgres.making import prepare

        prepare(self._address, self._source, fresh=fresh, begun=begun)

    @contextmanager
    def follow(self, resume: Resume) -> "Iterator[PostgresSession]":
        from superinsight_sync.capture.postgres.catalogue import table_oid
        from superinsight_sync.capture.postgres.connecting import LogConnection, asking
        from superinsight_sync.capture.postgres.following import PostgresSession
        from superinsight_sync.capture.postgres.looking import Tables
        from superinsight_sync.capture.postgres.making import names_of, start_of

        names = names_of(self._source)
        with asking(self._address) as db:
            lsn = start_of(db, names.slot, resume)
            tables = {table_oid(db, s): s for s in captured_streams(self._source)}
            streams = {oid: s for oid, s in tables.items() if oid is not None}
            log = LogConnection(self._address)
            try:
                log.start(names.slot, names.publication, lsn)
                known = Tables(db, names.publication, streams, resume.shapes)
                yield PostgresSession(log, db, known, resume, self._pace, self._address)
            finally:
                log.close()

    def lag(self) -> Lag:
        from superinsight_sync.capture.postgres.connecting import asking
        from superinsight_sync.capture.postgres.making import lag_of, names_of

        with asking(self._address) as db:
            return lag_of(db, names_of(self._source).slot)

    def drop(self) -> Collection[str]:
        from superinsight_sync.capture.postgres.making import drop

        return drop(self._address, self._source)

    @property
    def _address(self) -> "Address":
        from superinsight_sync.capture.postgres.connecting import Address

        return Address.model_validate(self._source.connection)


PLUGIN = PostgresFeed
