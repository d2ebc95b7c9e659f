"""MariaDB 10.5 and newer: the row binlog, by GTID."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from superinsight_sync.capture.protocol import Finding, Lag, Pace, Resume, captured_streams
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import SourceSpec

if TYPE_CHECKING:
    from superinsight_sync.capture.mariadb.connecting import Address
    from superinsight_sync.capture.mariadb.following import MariadbSession


class Config(PluginConfig):
    """Nothing: a server has one binlog."""


class BinlogFeed:
    """The log of a MariaDB server. It makes nothing there."""

    kinds: ClassVar[frozenset[str]] = frozenset({"mysql"})

    def __init__(self, source: SourceSpec, settings: Settings, pace: Pace) -> None:
        self._source, self._pace = source, pace
        self._session: MariadbSession | None = None

    def check(self) -> tuple[Finding, ...]:
        from superinsight_sync.capture.mariadb.checking import findings
        from superinsight_sync.capture.mariadb.connecting import asking

        with asking(self._address.access) as db:
            return tuple(findings(db, self._source))

    def prepare(self, *, fresh: bool, begun: Collection[str]) -> None:
        """Nothing: the binlog tells of all tables."""

    @contextmanager
    def follow(self, resume: Resume) -> "Iterator[MariadbSession]":
        from superinsight_sync.capture.mariadb.connecting import LogStream, sessions
        from superinsight_sync.capture.mariadb.following import MariadbSession
        from superinsight_sync.capture.mariadb.places import gtids_of
        from superinsight_sync.databases.mysql_catalogue import rows_of
        from superinsight_sync.databases.mysql_session import Place

        address, streams = self._address, captured_streams(self._source)
        with sessions(address.access) as both:
            if resume.position is None:
                gtids = str(rows_of(both.ask, "SELECT @@global.gtid_binlog_pos")[0][0] or "")
            else:
                gtids = gtids_of(resume.position)
            quiet_s = min(self._pace.window_s, self._pace.idle_s)
            log = LogStream(address.access, Place(both.ask.host, both.ask.port), gtids, quiet_s)
            try:
                session = MariadbSession(
                    log, both, streams, resume.shapes, self._pace, address.special_values
                )
                self._session = session
                yield session
            finally:
                self._session = None
                log.close()

    def lag(self) -> Lag:
        from superinsight_sync.capture.mariadb.checking import bytes_behind
        from superinsight_sync.capture.mariadb.connecting import asking

        if self._session is None:
            return Lag(0, 0)
        place = self._session.place
        with asking(self._address.access) as db:
            behind = bytes_behind(db, place)
        return Lag(behind, behind)

    def drop(self) -> Collection[str]:
        """It made nothing."""
        return ()

    @property
    def _address(self) -> "Address":
        from superinsight_sync.capture.mariadb.connecting import Address

        return Address.model_validate(self._source.connection)


PLUGIN = BinlogFeed
