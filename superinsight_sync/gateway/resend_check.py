"""Lines of a stream that are sent again: compared with what is stored, so that other ones are not dropped unseen."""

import asyncio
import hashlib

from superinsight_sync.receive.refusals import UnprocessableError
from superinsight_sync.state.deliveries import Chunk
from superinsight_sync.state.inbox import Inbox


class OtherLinesError(UnprocessableError):
    """What is stored under a stream's batch id is not what is sent now."""

    def __init__(self) -> None:
        super().__init__(
            "this batch id was used for other lines or another stream", hint="Use another batch id"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (OtherLinesError, ())


class Resent:
    """The lines of one request that are stored already, in their order.

    A chunk that is sent again as a whole is known by its fingerprint, whatever comes together with it; of one that
    is sent in part the stored bytes are read.

    Args:
        stream: tenant, source, batch id. header: of CSV; it is in front of each chunk.
    """

    def __init__(self, inbox: Inbox, stream: tuple[str, str, str], header: bytes | None) -> None:
        self._inbox, self._header = inbox, header
        self._chunks = inbox.chunks(*stream)
        self._chunk: Chunk | None = None
        self._stored: bytes | None = None
        self._sent, self._size_bytes, self._is_empty = hashlib.sha256(), 0, True

    async def check(self, text: bytes, first: int, last: int) -> None:
        """Takes the next record, which is on those lines. Raises OtherLinesError, DataError, TransientError."""
        if self._chunk is None:
            await self._begin(first)
        chunk = self._chunk
        if chunk is None:  # forgotten meanwhile, with its whole stream
            return
        self._add(text)
        if last < chunk.last:
            return
        expected = chunk.fingerprint if self._stored is None else hashlib.sha256(self._stored).hexdigest()
        if last > chunk.last or self._sent.hexdigest() != expected:
            raise OtherLinesError()
        self._chunk = None

    async def end(self) -> None:
        """Nothing more is sent: what came of the last chunk is compared. Raises as `check`."""
        if self._chunk is None:
            return
        stored = await self._body(self._chunk) if self._stored is None else self._stored
        size = self._size_bytes
        if stored[size : size + 1] != b"\n" or hashlib.sha256(stored[:size]).digest() != self._sent.digest():
            raise OtherLinesError()

    async def _begin(self, line: int) -> None:
        while (chunk := await asyncio.to_thread(next, self._chunks, None)) is not None and chunk.last < line:
            continue
        self._chunk, self._stored = chunk, None
        self._sent, self._size_bytes, self._is_empty = hashlib.sha256(), 0, True
        if chunk is None:
            return
        if self._header is not None:
            self._add(self._header)
        if chunk.first != line:
            if self._header is not None:
                raise OtherLinesError()
            body = await self._body(chunk)
            self._stored = b"\n".join(body.split(b"\n")[line - chunk.first :])

    def _add(self, text: bytes) -> None:
        part = text if self._is_empty else b"\n" + text
        self._is_empty = False
        self._sent.update(part)
        self._size_bytes += len(part)

    async def _body(self, chunk: Chunk) -> bytes:
        return await asyncio.to_thread(self._inbox.body, chunk.id) or b""
