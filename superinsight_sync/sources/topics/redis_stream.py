"""A Redis stream, read with XRANGE from a position to the last entry there was at the start."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from superinsight_sync.core.errors import DataError
from superinsight_sync.core.rejects import told
from superinsight_sync.core.retry import RetryPolicy, with_retry
from superinsight_sync.model.read import Column, ReadRequest
from superinsight_sync.records.message_values import NOT_UTF8, TIME, Bad, from_bytes, times
from superinsight_sync.sources.topics.options import TopicOptions, topic_of
from superinsight_sync.sources.topics.reading import Aside, kept
from superinsight_sync.sources.topics.redis_errors import mapping

if TYPE_CHECKING:
    from redis import Redis

ID = Column("_id", "stream id", pa.string(), nullable=False)
AT = Column("_at", "time of the id", TIME)
REST = Column("_rest", "fields", pa.string())
_PAGE_BYTES = 8 << 20
_FIRST_PAGE = 64
_MOST_PAGE = 10_000

Entry = tuple[bytes, list[bytes]]


class EntryId(NamedTuple):
    """`<milliseconds>-<number>`."""

    ms: int
    number: int

    @classmethod
    def of(cls, text: bytes | str) -> "EntryId":
        ms, _, number = (text.decode() if isinstance(text, bytes) else text).partition("-")
        return cls(int(ms), int(number or 0))

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}"


NOWHERE = EntryId(0, 0)
"""Before every entry: no id is as low."""


@dataclass(frozen=True)
class Info:
    """What the server says of a stream.

    Attributes:
        first: the first entry there is; None if there is none.
        last: the highest id ever given.
        added: how many entries were ever added; None before Redis 7.
    """

    length: int
    first: EntryId | None
    last: EntryId
    added: int | None

    @classmethod
    def of(cls, reply: Any) -> "Info":
        pairs = (
            list(reply.items())
            if isinstance(reply, dict)
            else list(zip(reply[::2], reply[1::2], strict=True))
        )
        said = {k.decode() if isinstance(k, bytes) else k: v for k, v in pairs}
        first = said["first-entry"]
        return cls(
            int(said["length"]),
            EntryId.of(first[0]) if first else None,
            EntryId.of(said["last-generated-id"]),
            said.get("entries-added"),
        )


@dataclass(frozen=True)
class Place:
    """Behind an entry.

    Attributes:
        added: how many entries had been added up to it; None if nobody knows.
        lost: how many are known to have been removed before they were read, over all reads.
    """

    after: EntryId
    added: int | None
    lost: int = 0

    @classmethod
    def first(cls, position: Mapping[str, Any] | None, options: TopicOptions, info: Info) -> "Place":
        """Where a read begins."""
        if position is not None:
            return cls(EntryId.of(position["id"]), position.get("added"), position.get("lost", 0))
        if options.start == "end":
            return cls(info.last, info.added)
        if options.start_ms:
            before = EntryId(options.start_ms - 1, 2**64 - 1)
            if info.first and before >= info.first:
                return cls(before, None)
        return cls(NOWHERE, None if info.added is None else info.added - info.length)

    def position(self) -> dict[str, Any]:
        """As it is kept."""
        said: dict[str, Any] = {"id": str(self.after), "added": self.added, "lost": self.lost}
        return {k: v for k, v in said.items() if v is not None and (k != "lost" or v)}


def ask(server: "Redis", *command: Any) -> Any:
    """The server's answer as it is."""
    return server.execute_command(*command)


def server_info(server: "Redis", topic: str) -> Info:
    """What the server says of the stream. Raises what the client raises."""
    return Info.of(ask(server, "XINFO STREAM", topic))


class StreamReader:
    """One read of one stream.

    Args:
        columns: those declared, without the kind's own.
    """

    def __init__(
        self,
        server: "Redis",
        request: ReadRequest,
        options: TopicOptions,
        columns: tuple[Column, ...],
    ) -> None:
        self._server = server
        self._topic = topic_of(request.stream)
        self._request = request
        self._options = options
        self._columns = columns
        self.schema = pa.schema([(c.name, c.arrow) for c in (ID, AT, *columns, REST)])

    def batches(self, aside: Aside) -> Generator[pa.RecordBatch, None, None]:
        """The rows, a page of the stream at a time; fills the request's `next_position` at the end."""
        with mapping():
            info = server_info(self._server, self._topic)
        by_position = self._request.stream.sync.by == "position"
        options = self._options if by_position else TopicOptions()
        place = Place.first(self._request.position if by_position else None, options, info)
        place = self._checked(place, info, aside)
        last, count, left = info.last, _FIRST_PAGE, self._request.limit
        while place.after < last and left != 0:
            most = count if left is None else min(count, left)
            now, entries = self._page(place.after, last, most)
            place, before = self._checked(place, now, aside), place
            if place.after < before.after:
                continue
            if not entries:
                break
            batch = self._batch(entries, aside)
            left = None if left is None else left - batch.num_rows
            added = None if place.added is None else place.added + len(entries)
            place = replace(place, after=EntryId.of(entries[-1][0]), added=added)
            size = sum(len(v) for _, fields in entries for v in fields) + 64 * len(entries)
            count = max(1, min(_MOST_PAGE, 4 * count, _PAGE_BYTES * len(entries) // size))
            if batch.num_rows:
                yield batch
        if left != 0:
            if by_position:
                place = self._counted(place, info, aside)
            place = Place(max(place.after, last), info.added, place.lost)
        self._request.next_position.update(place.position())

    def _page(self, after: EntryId, last: EntryId, count: int) -> tuple[Info, list[Entry]]:
        """The stream's state and its next entries, asked for together; again if the connection breaks."""

        def page() -> tuple[Info, list[Entry]]:
            with mapping():
                pipe = self._server.pipeline(transaction=False)
                ask(pipe, "XINFO STREAM", self._topic)
                ask(pipe, "XRANGE", self._topic, f"({after}", str(last), "COUNT", count)
                info, entries = pipe.execute()
            return Info.of(info), entries

        return with_retry(page, RetryPolicy())

    def _checked(self, place: Place, now: Info, aside: Aside) -> Place:
        """The place, moved on if entries behind it were removed. Raises DataError unless told to go on."""
        where = f"topic '{self._topic}'"
        made_anew = now.last < place.after or (
            place.added is not None and now.added is not None and now.added < place.added
        )
        if made_anew:
            if self._options.on_lost == "fail":
                raise _lost("the stream was deleted and made anew, or the server lost entries", where)
            aside.note(str(place.after), "the stream was made anew; what was not read before is lost")
            return Place(NOWHERE, None if now.added is None else now.added - now.length, place.lost)
        if now.first is not None and place.after >= now.first:
            return place
        if now.first is None and place.after >= now.last:
            return place
        if place.added is None or now.added is None:
            if place.after == NOWHERE:
                return place
            missing, words = 0, "entries may have been removed before they were read"
        else:
            missing = now.added - place.added - now.length
            words = f"{missing} entries were removed before they were read"
        if place.added is not None and missing <= 0:
            return place
        if self._options.on_lost == "fail":
            raise _lost(words, where)
        aside.note(str(place.after), f"lost: {words}")
        known = None if now.added is None else now.added - now.length
        return Place(place.after, known, place.lost + missing)

    def _counted(self, place: Place, info: Info, aside: Aside) -> Place:
        """The place at the end of a read. As many entries must have been read or told of as were added: those that
        are missing were deleted one by one. Raises DataError unless told to go on."""
        missing = 0 if place.added is None or info.added is None else info.added - place.added
        if missing <= 0:
            return place
        words = f"{missing} entries were deleted before they were read"
        if self._options.on_lost == "fail":
            raise _lost(words, f"topic '{self._topic}'")
        aside.note(str(place.after), f"lost: {words}")
        return replace(place, lost=place.lost + missing)

    def _batch(self, entries: list[Entry], aside: Aside) -> pa.RecordBatch:
        bad: Bad = {}
        records = [dict(zip(f[::2], f[1::2], strict=True)) for _, f in entries]
        for place, ((_, fields), record) in enumerate(zip(entries, records, strict=True)):
            if 2 * len(record) != len(fields):
                bad[place] = "a field is there twice"
            if sum(map(len, fields)) > self._options.max_record:
                bad[place] = f"it has more than {self._options.max_record} bytes"
                records[place] = {}
        ids = [entry_id.decode() for entry_id, _ in entries]
        at, far = times([int(i.partition("-")[0]) for i in ids])
        if far:
            self._request.replaced[AT.name] += far
        arrays = [pa.array(ids, pa.string()), at]
        for column in self._columns:
            name = column.name.encode()
            arrays.append(from_bytes([r.get(name) for r in records], column, bad))
        arrays.append(self._rest(records, bad))
        for place, reason in sorted(bad.items()):
            fields = [told(part) for part in entries[place][1]]
            whole = {"id": ids[place], "fields": list(zip(fields[::2], fields[1::2], strict=True))}
            aside.add(ids[place], 1, reason, whole)
        return kept(pa.RecordBatch.from_arrays(arrays, schema=self.schema), bad)

    def _rest(self, records: list[dict[bytes, bytes]], bad: Bad) -> pa.Array:
        """The fields that no column takes, as JSON text; NULL for none."""
        from json.encoder import encode_basestring as quoted

        declared = {c.name.encode() for c in self._columns}
        texts: list[str | None] = []
        for place, record in enumerate(records):
            if record.keys() <= declared:
                texts.append(None)
                continue
            try:
                pairs = [
                    f"{quoted(k.decode())}: {quoted(v.decode())}"
                    for k, v in record.items()
                    if k not in declared
                ]
            except UnicodeDecodeError:
                bad.setdefault(place, f"a field {NOT_UTF8}")
                pairs = []
            texts.append("{" + ", ".join(pairs) + "}")
        return pa.array(texts, pa.string())


def _lost(what: str, where: str) -> DataError:
    return DataError(
        what,
        where=where,
        hint="Read it again with `sis state reset`, or go on without them: options: {on_lost: continue}",
    )
