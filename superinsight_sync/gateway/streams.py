"""``POST /push/stream``: lines without end, stored as they come; what broke off is gone on with.

Lines are numbered from 1. A batch id names the whole stream: who sends it again with the same id, from the
first line or (NDJSON) from any line up to the next, stores no line twice.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope, Send

from superinsight_sync.core.errors import SisError
from superinsight_sync.gateway.access import headers_of
from superinsight_sync.gateway.answers import RequestError, answer, problem
from superinsight_sync.gateway.batches import admitted, asked_for
from superinsight_sync.gateway.fitting import fitted
from superinsight_sync.gateway.line_reader import CHUNK_LINES, LineReader
from superinsight_sync.gateway.middleware import log_failure
from superinsight_sync.gateway.receivers import Receiver, check_format
from superinsight_sync.gateway.resend_check import OtherLinesError, Resent
from superinsight_sync.gateway.sessions import ClosingError
from superinsight_sync.gateway.storing import MOST_TOLD, delivery_of
from superinsight_sync.model.push import PushFormat, PushStreamSpec
from superinsight_sync.receive.csv_lines import lines_in
from superinsight_sync.receive.envelope import format_of
from superinsight_sync.receive.parsing import Rejected, parse
from superinsight_sync.receive.refusals import MalformedError, UnprocessableError, UnsupportedError

if TYPE_CHECKING:
    from superinsight_sync.gateway.context import Gate

_END_S = 10.0
_BATCH_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes a stream of NDJSON or CSV; answers with what was taken of it."""
    gate: Gate = scope["app"].state.gate
    headers = headers_of(scope)
    asked = asked_for(scope)
    receiver, principal = await admitted(gate, scope, headers, asked.get("source", ""))
    form = format_of(headers.get("content-type", ""))
    found = receiver.stream(asked.get("stream"))
    check_format(found, form)
    if form not in ("ndjson", "csv") or headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedError("a stream is NDJSON or CSV, not compressed")
    batch_id = _batch_id(headers.get("x-batch-id"))
    mine = (receiver.tenant, receiver.name, batch_id)
    limits = receiver.limits
    reader = LineReader(
        receive,
        most_bytes=limits.record,
        quoted=form == "csv",
        most_lines=min(CHUNK_LINES, limits.records),
    )
    with gate.streams.sent(mine, reader):
        taken = _Taken(gate, receiver, found, form, batch_id, principal.key_id)
        try:
            await taken.take(reader, _first_line(asked, form))
        except SisError as error:
            if not isinstance(error, ClosingError):
                log_failure(error, scope["request_id"])
            told = {**taken.document, "request_id": scope["request_id"].decode()}
            await problem(send, error, told)
        else:
            await answer(send, 202 if taken.is_new else 200, taken.document)


async def stream_position(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells up to which line a stream is stored."""
    gate: Gate = scope["app"].state.gate
    receiver, _ = await admitted(gate, scope, headers_of(scope), asked_for(scope).get("source", ""))
    batch_id = _batch_id(scope["path_params"]["batch"])
    newest = await gate.taking.newest_chunk(receiver, batch_id)
    await answer(send, 200, {"batch_id": batch_id, "committed": newest.last if newest else 0})


class Streams:
    """The streams of lines that are being sent to a process."""

    def __init__(self) -> None:
        self._sent: dict[tuple[str, str, str], LineReader] = {}
        self._is_ending = False

    @contextmanager
    def sent(self, key: tuple[str, str, str], reader: LineReader) -> Iterator[None]:
        """While a stream is taken and answered. Raises RequestError: it is sent elsewhere (409), or all end (503)."""
        if self._is_ending:
            raise _ending()
        if key in self._sent:
            raise RequestError(409, "this stream is being sent on another connection")
        self._sent[key] = reader
        try:
            yield
        finally:
            del self._sent[key]

    async def end(self) -> None:
        """Ends all, each after what has come is stored and answered; in at most 10 seconds."""
        self._is_ending = True
        for reader in self._sent.values():
            reader.stop(_ending())
        until = time.monotonic() + _END_S
        while self._sent and time.monotonic() < until:
            await asyncio.sleep(0.05)


def _ending() -> RequestError:
    return ClosingError("Send the rest again, with the same batch id")


class _Taken:
    """A stream while it is taken."""

    def __init__(
        self,
        gate: "Gate",
        receiver: Receiver,
        found: PushStreamSpec,
        form: PushFormat,
        batch_id: str,
        by: str,
    ) -> None:
        self._gate, self._receiver, self._stream, self._form = gate, receiver, found, form
        self._batch_id, self._by = batch_id, by
        self._committed = self._records = self._rejected_count = 0
        self._rejected: list[Rejected] = []
        self.is_new = self._is_begun = False

    @property
    def document(self) -> dict[str, Any]:
        """What is answered: `committed` is the last line that is stored, now or earlier."""
        return {
            "batch_id": self._batch_id,
            "committed": self._committed,
            "records": self._records,
            "rejected_count": self._rejected_count,
            "rejected": [{"line": r.place, "reason": r.reason} for r in self._rejected],
        }

    async def take(self, reader: LineReader, line: int) -> None:
        """Reads to the end, storing chunk by chunk. `line` is the number of the body's first line."""
        newest = await self._gate.taking.newest_chunk(self._receiver, self._batch_id)
        if newest is not None:
            if (newest.stream, newest.format) != (self._stream.name, self._form):
                raise OtherLinesError()
            self._committed, self._is_begun = newest.last, True
        header = b""
        if self._form == "csv":
            header = await reader.line() or b""
            line += lines_in(header)
            self._committed = max(self._committed, line - 1)
        if line > self._committed + 1:
            raise UnprocessableError(
                f"lines are missing: the next one is {self._committed + 1}", hint="Send from there"
            )
        of = (self._receiver.tenant, self._receiver.name, self._batch_id)
        resent = Resent(self._gate.inbox, of, header if self._form == "csv" else None)
        while chunk := await reader.chunk():
            fresh: list[bytes] = []
            first = line
            for text in chunk:
                end = line + lines_in(text) - 1
                if line <= self._committed:
                    await resent.check(text, line, end)
                    first = end + 1
                else:
                    fresh.append(text)
                line = end + 1
            if fresh:
                await self._store(header, fresh, first, line - 1)
        await resent.end()

    async def _store(self, header: bytes, lines: list[bytes], first: int, last: int) -> None:
        body = b"\n".join([header, *lines] if self._form == "csv" else lines)
        offset = first - 1 - (lines_in(header) if self._form == "csv" else 0)
        parsed = parse(body, self._form, self._receiver.rules(self._stream))
        delivery = delivery_of(
            self._receiver,
            self._stream.name,
            self._form,
            body,
            key=f"stream:{self._batch_id}:{first if self._is_begun else 'start'}",
            records=len(parsed.records),
            metadata={"batch": self._batch_id, "first": first, "last": last, "by": self._by},
        )
        outcome = await self._gate.taking.store(delivery)
        if outcome.kind == "conflict":
            raise RequestError(409, "this stream is being sent with other lines", hint="Use another batch id")
        parsed = fitted(self._receiver, self._stream, self._form, body, parsed)
        self.is_new = self.is_new or outcome.kind == "stored"
        self._committed, self._is_begun = last, True
        self._records += len(parsed.records)
        self._rejected_count += len(parsed.rejected)
        room = MOST_TOLD - len(self._rejected)
        self._rejected.extend(Rejected(r.place + offset, r.reason) for r in parsed.rejected[:room])


def _batch_id(given: str | None) -> str:
    if given is None:
        return uuid.uuid4().hex
    if not _BATCH_ID.fullmatch(given):
        raise MalformedError("the batch id is not usable", hint="Send 1 to 128 of A-Z a-z 0-9 _ -")
    return given


def _first_line(asked: dict[str, str], form: PushFormat) -> int:
    text = asked.get("line", "1")
    if not re.fullmatch(r"[1-9][0-9]{0,14}", text):
        raise MalformedError("`line` is no number of a line")
    if form == "csv" and text != "1":
        raise UnprocessableError("CSV is sent from its header on; what is stored already is skipped")
    return int(text)
