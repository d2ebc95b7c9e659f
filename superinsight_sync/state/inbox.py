"""The inbox: accepted deliveries in the order they became visible, until they are landed and forgotten.

Landing is exactly once if the lander commits, with the rows, the order number (`seq`) of the last delivery
they came from, and reads only what lies after it: `pending` and `read` never show a delivery with a smaller
number later on, and `mark_landed` is only a note that may be lost and made again.
"""

import uuid
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import DataError
from superinsight_sync.state.audit import Entry, note
from superinsight_sync.state.bodies import Bodies
from superinsight_sync.state.data_keys import DataKeys
from superinsight_sync.state.database import Database, clean
from superinsight_sync.state.deliveries import (
    Backlog,
    Chunk,
    DeliveryState,
    Range,
    StoredDelivery,
    StreamKey,
    Waiting,
    Wanted,
)
from superinsight_sync.state.inbox_looks import oldest_of, records_between, waiting_of, waits
from superinsight_sync.state.inbox_writer import Delivery, InboxWriter, Outcome, lock_order
from superinsight_sync.state.landing_files import LandingFiles
from superinsight_sync.state.tables import inbox as t
from superinsight_sync.state.tables import inbox_identity

BIG_BODY_BYTES = 64 << 10
SHORTEST_KEPT = timedelta(days=7)
_PAGE_ROWS = 128
_SHOWN = [c for c in t.c if c.name != "body"]


class Inbox:
    """Every method may raise TransientError, AccessError and ConfigError. Threads may share it.

    Args:
        files: where bodies over 64 KiB are kept: on a folder that all gateways and landers see.
    """

    def __init__(self, database: Database, files: Path) -> None:
        self._database = database
        self.bodies = Bodies(LandingFiles(files), DataKeys(database))

    @property
    def files(self) -> LandingFiles:
        """Where big bodies are."""
        return self.bodies.files

    @property
    def folders(self) -> list[Path]:
        """Where there must be room: for big bodies, and for the database if it is a file."""
        return [folder for folder in (self.files.folder, self._database.folder) if folder is not None]

    def writer(self, **limits: int) -> InboxWriter:
        """What deliveries are stored with; one for a process that receives."""
        return InboxWriter(self._database, self.bodies.sealed if self.bodies.keys.is_on else None, **limits)

    def prepared(self, delivery: Delivery) -> Delivery:
        """The delivery as `InboxWriter.submit` takes it: a big body is on the disk, as a file."""
        if delivery.body is None or len(delivery.body) <= BIG_BODY_BYTES:
            return delivery
        self.bodies.keep(delivery.tenant, delivery.body, delivery.fingerprint)
        return delivery._replace(body=None)

    def accept(self, delivery: Delivery) -> Outcome:
        """Stores one delivery, once for its key. It is on the disk when this returns.

        For a process that stores one now and then; one that receives uses `writer`.
        """
        writer = self.writer()
        try:
            return writer.accept(self.prepared(delivery))
        finally:
            writer.close()

    def pending(
        self,
        tenant: str | None = None,
        source: str | None = None,
        stream: str | None = None,
        *,
        max_deliveries: int = 10_000,
        max_bytes: int = 256 << 20,
    ) -> tuple[Range, ...]:
        """What waits, one range for each stream: its oldest deliveries, up to the limits (at least one)."""
        given = {"tenant": tenant, "source": source, "stream": stream}
        only = {name: value for name, value in given.items() if value is not None}
        with self._database.read() as connection:
            return oldest_of(connection, only, max_deliveries=max_deliveries, max_bytes=max_bytes)

    def waits(self, streams: Collection[StreamKey]) -> dict[StreamKey, Waiting]:
        """What waits of these streams, without those of which nothing does. Cheap however much it is."""
        with self._database.read() as connection:
            return dict(waiting_of(connection, streams))

    def records(self, tenant: str, source: str, stream: str, *, after: int, last: int) -> int:
        """How many records, as counted at the door, came behind one order number, up to another."""
        with self._database.read() as connection:
            return records_between(connection, (tenant, source, stream), after, last)

    def read(self, found: Range, *, after: int = 0) -> Iterator[tuple[StoredDelivery, bytes]]:
        """The deliveries of a range with their bytes as they came, in order, a page at a time.

        Args:
            after: the order number in the lake's checkpoint; those up to it have landed.

        Raises:
            DataError: a body's file is gone or damaged.
        """
        start = max(after, found.first - 1)
        for stored, body in self.between(
            found.tenant, found.source, found.stream, after=start, last=found.last
        ):
            if isinstance(body, DataError):
                raise body
            yield stored, body

    def between(
        self, tenant: str, source: str, stream: str, *, after: int, last: int
    ) -> Iterator[tuple[StoredDelivery, bytes | DataError]]:
        """A stream's deliveries behind one order number, up to another, in order, a page at a time; instead of
        the bytes the error, where a body's file is gone or damaged."""
        of_stream = (t.c.tenant == tenant, t.c.source == source, t.c.stream == stream)
        while True:
            statement = (
                select(*_SHOWN, t.c.body)
                .where(*of_stream, t.c.seq > after, t.c.seq <= last)
                .order_by(t.c.seq)
                .limit(_PAGE_ROWS)
            )
            with self._database.read() as connection:
                rows = connection.execute(statement).all()
            for row in rows:
                stored = _stored(row)
                yield stored, self._opened(stored, row.body)
                after = stored.seq
            if len(rows) < _PAGE_ROWS:
                return

    def _opened(self, stored: StoredDelivery, kept: bytes | None) -> bytes | DataError:
        try:
            return self.bodies.opened(stored.tenant, stored.fingerprint, kept)
        except DataError as error:
            return error

    def last(self, tenant: str, source: str, stream: str) -> int:
        """The order number of a stream's newest delivery; 0 if there is none."""
        of_stream = (t.c.tenant == tenant, t.c.source == source, t.c.stream == stream)
        statement = select(t.c.seq).where(*of_stream).order_by(t.c.seq.desc()).limit(1)
        with self._database.read() as connection:
            return connection.scalar(statement) or 0

    def identity(self) -> str:
        """Which inbox this is. One that was made anew is another, and its order numbers begin anew."""
        with self._database.read() as connection:
            return str(connection.scalar(select(inbox_identity.c.id)))

    def newest(self) -> int:
        """The greatest order number that was ever given to a delivery; 0 before the first."""
        with self._database.read() as connection:
            if connection.dialect.name == "sqlite":
                given = "SELECT seq FROM sqlite_sequence WHERE name = 'sis_inbox'"
            else:
                given = "SELECT last_value FROM pg_sequences WHERE sequencename = 'sis_inbox_seq_seq'"
            return connection.exec_driver_sql(given).scalar() or 0

    def streams(self, tenant: str, source: str) -> tuple[str, ...]:
        """The streams of a source that something was pushed to."""
        statement = select(t.c.stream).where(t.c.tenant == tenant, t.c.source == source).distinct()
        with self._database.read() as connection:
            return tuple(sorted(connection.scalars(statement)))

    def mark_landed(
        self, tenant: str, source: str, stream: str, *, seq: int, load_id: str
    ) -> tuple[int, datetime | None]:
        """Notes that a stream's deliveries up to an order number are in the lake; how many of them were waiting
        still, and since when the oldest."""
        of_stream = (t.c.tenant == tenant, t.c.source == source, t.c.stream == stream)
        those = (*of_stream, t.c.seq <= seq, waits())
        values = {"state": "landed", "load_id": load_id, "marked_at": utc_now(), "error_text": None}
        with self._database.write() as connection:
            oldest_at = connection.scalar(select(func.min(t.c.received_at)).where(*those))
            return connection.execute(update(t).where(*those).values(values)).rowcount, oldest_at

    def mark_failed(self, tenant: str, source: str, stream: str, error: BaseException) -> int:
        """Notes why what waits of a stream could not be landed; it waits on. How many deliveries."""
        of_stream = (t.c.tenant == tenant, t.c.source == source, t.c.stream == stream)
        values = {"marked_at": utc_now(), "error_text": clean(str(error))}
        with self._database.write() as connection:
            return connection.execute(update(t).where(*of_stream, waits()).values(values)).rowcount

    def ask_again(self, tenant: str, source: str, stream: str) -> int:
        """Notes that what waits of a stream is to be tried again at once, after it could not be landed. How many
        deliveries."""
        of_stream = (t.c.tenant == tenant, t.c.source == source, t.c.stream == stream)
        values = {"marked_at": utc_now(), "error_text": None}
        with self._database.write() as connection:
            count = connection.execute(update(t).where(*of_stream, waits()).values(values)).rowcount
            note(connection, tenant, Entry("delivery.try_again", f"{source}/{stream}", {"deliveries": count}))
            return count

    def replay(self, delivery_id: str, *, only: Collection[int] | None = None) -> str | None:
        """Puts a delivery into the inbox once more, behind all others; the new id. None if there is no such.

        Args:
            only: the places of the records to land, from 1. Default: all.
        """
        copied = [c for c in t.c if c.name in Delivery._fields and c.name not in ("id", "key")]
        new_id = uuid.uuid4().hex
        with self._database.write() as connection:
            lock_order(connection)
            row = connection.execute(select(t.c.seq, *copied).where(t.c.id == delivery_id)).mappings().first()
            if row is None:
                return None
            values = {c.name: row[c.name] for c in copied}
            if only is not None:
                values["metadata"] = {**values["metadata"], "only": sorted(only)}
                values["records"] = len(only)
            extra = {"id": new_id, "key": f"replay:{new_id}", "replay_of": row["seq"]}
            connection.execute(insert(t).values(**values, **extra, received_at=utc_now(), state="received"))
            told = {"as": new_id, "records": None if only is None else len(only)}
            note(connection, row["tenant"], Entry("delivery.replay", delivery_id, told))
        return new_id

    def get(self, delivery_id: str) -> StoredDelivery | None:
        """The delivery with that id."""
        with self._database.read() as connection:
            row = connection.execute(select(*_SHOWN).where(t.c.id == delivery_id)).first()
        return None if row is None else _stored(row)

    def body(self, delivery_id: str) -> bytes | None:
        """The delivery's bytes as they came. Raises DataError if its file is gone or damaged."""
        parts = self.body_parts(delivery_id)
        return None if parts is None else b"".join(parts)

    def body_parts(self, delivery_id: str) -> Iterator[bytes] | None:
        """As `body`, part by part: a big one is never whole in memory. The audit log has it before the first."""
        wanted = select(t.c.tenant, t.c.body, t.c.fingerprint).where(t.c.id == delivery_id)
        with self._database.write() as connection:
            row = connection.execute(wanted).first()
            if row is None:
                return None
            note(connection, row.tenant, Entry("delivery.read", delivery_id))
        return self.bodies.parts(row.tenant, row.fingerprint, row.body)

    def list(
        self,
        *,
        tenant: str | None = None,
        source: str | None = None,
        state: DeliveryState | None = None,
        failed: bool = False,
        limit: int = 100,
    ) -> tuple[StoredDelivery, ...]:
        """The newest deliveries, newest first."""
        wanted = Wanted(tenant=tenant, source=source, state=state, failed=failed)
        return self.search(wanted, limit=limit)

    def search(
        self, wanted: Wanted, *, before: int | None = None, limit: int = 100
    ) -> tuple[StoredDelivery, ...]:
        """The newest deliveries of those wanted, newest first.

        Args:
            before: an order number; only older ones than it.
        """
        equal = {n: getattr(wanted, n) for n in ("tenant", "source", "stream", "state")}
        where = [t.c[name] == value for name, value in equal.items() if value is not None]
        if wanted.sources:
            where.append(t.c.source.in_(wanted.sources))
        if wanted.since is not None:
            where.append(t.c.received_at >= wanted.since)
        if wanted.failed:
            where += [waits(), t.c.error_text.is_not(None)]
        if before is not None:
            where.append(t.c.seq < before)
        statement = select(*_SHOWN).where(*where).order_by(t.c.seq.desc()).limit(limit)
        with self._database.read() as connection:
            return tuple(_stored(row) for row in connection.execute(statement))

    def ids(self, seqs: Collection[int]) -> dict[int, str]:
        """Ids by order number, of those that are there still."""
        if not seqs:
            return {}
        with self._database.read() as connection:
            found = connection.execute(select(t.c.seq, t.c.id).where(t.c.seq.in_(seqs)))
            return {row.seq: row.id for row in found}

    def chunks(self, tenant: str, source: str, batch: str) -> Iterator[Chunk]:
        """The chunks of a stream of lines that are stored, from its first line on without a gap.

        The first one has the key ``stream:<batch>:start``, others ``stream:<batch>:<first line>``; each has in its
        metadata the ``first`` and the ``last``.
        """
        columns = (t.c.id, t.c.stream, t.c.format, t.c.fingerprint, t.c.metadata)
        place: str | int = "start"
        while True:
            wanted = (t.c.tenant == tenant, t.c.source == source, t.c.key == f"stream:{batch}:{place}")
            with self._database.read() as connection:
                row = connection.execute(select(*columns).where(*wanted)).first()
            if row is None:
                return
            first, last = int(row.metadata["first"]), int(row.metadata["last"])
            yield Chunk(row.id, row.stream, row.format, row.fingerprint, first, last)
            place = last + 1

    def session_position(self, tenant: str, source: str, session: str) -> int:
        """The last message of a numbered session that is stored; 0 if none is, or all are forgotten.

        Its chunks have the keys ``ws:<session>:<first number, 15 digits>`` and in their metadata the ``last``;
        each begins where the one before ends.
        """
        prefix = f"ws:{session}:"
        newest = (
            select(t.c.metadata)
            .where(t.c.tenant == tenant, t.c.source == source)
            .where(t.c.key.between(f"{prefix}{0:015d}", f"{prefix}{10**15 - 1:015d}"))
            .where(func.substr(t.c.key, 1, len(prefix)) == prefix)  # a collation may sort others in between
            .order_by(t.c.key.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            found = connection.scalar(newest)
        return 0 if found is None else int(found["last"])

    def backlog(self, tenant: str | None = None, source: str | None = None) -> Backlog:
        """What waits, of all or of one tenant or source."""
        statement = select(func.count(), func.sum(t.c.size_bytes), func.min(t.c.received_at)).where(waits())
        if tenant is not None:
            statement = statement.where(t.c.tenant == tenant)
        if source is not None:
            statement = statement.where(t.c.source == source)
        with self._database.read() as connection:
            count, size_bytes, oldest_at = connection.execute(statement).one()
        return Backlog(count, int(size_bytes or 0), oldest_at)

    def waiting(self) -> dict[tuple[str, str], int]:
        """How many deliveries wait, by (tenant, source). Cheap: told by an index alone."""
        columns = (t.c.tenant, t.c.source)
        statement = select(*columns, func.count()).where(waits()).group_by(*columns)
        with self._database.read() as connection:
            return {(tenant, source): count for tenant, source, count in connection.execute(statement)}

    def purge(self, before: datetime) -> int:
        """Forgets what was landed, received before then and at least 7 days ago, with its key; how many."""
        limit = min(before, utc_now() - SHORTEST_KEPT)
        is_old = (t.c.state == "landed", t.c.received_at < limit)
        with self._database.write() as connection:
            named = select(t.c.tenant, t.c.fingerprint).where(t.c.body.is_(None)).distinct()
            files = {(row.tenant, row.fingerprint) for row in connection.execute(named.where(*is_old))}
            count = connection.execute(delete(t).where(*is_old)).rowcount
            used = {(row.tenant, row.fingerprint) for row in connection.execute(named)}
        self.bodies.forget(files, used)
        return count


def _stored(row: Any) -> StoredDelivery:
    return StoredDelivery(**{c.name: row._mapping[c] for c in _SHOWN})
