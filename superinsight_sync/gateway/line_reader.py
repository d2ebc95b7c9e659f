"""A body that comes in parts, cut into lines, and lines gathered into chunks."""

import asyncio
import time

from starlette.types import Message, Receive

from superinsight_sync.gateway.answers import RequestError
from superinsight_sync.gateway.bodies import SLOW_S, GoneError
from superinsight_sync.receive.csv_lines import CsvLines
from superinsight_sync.receive.refusals import TooLargeError

CHUNK_LINES = 1_000
CHUNK_BYTES = 4 << 20
CHUNK_S = 0.2


class LineReader:
    """Gives chunks of whole lines: up to `most_lines`, or what came within 200 ms of the first.

    Args:
        quoted: lines are records of CSV, as `receive.csv_lines` cuts them.
    """

    def __init__(
        self, receive: Receive, *, most_bytes: int, quoted: bool, most_lines: int = CHUNK_LINES
    ) -> None:
        self._receive, self._most_bytes = receive, most_bytes
        self._csv = CsvLines() if quoted else None
        self._most_lines = most_lines
        self._rest = b""
        self._lines: list[bytes] = []
        self._ended = False
        self._stopped_by: RequestError | None = None
        self._clock: asyncio.Timeout | None = None

    def stop(self, error: RequestError) -> None:
        """Reads no more: what has come is given still, then the error is raised."""
        self._stopped_by = error
        if self._clock is not None and not self._clock.expired():
            self._clock.reschedule(asyncio.get_running_loop().time())

    async def line(self) -> bytes | None:
        """The next line; None at the end."""
        while not self._lines and not self._ended:
            await self._more(SLOW_S)
        return self._lines.pop(0) if self._lines else None

    async def chunk(self) -> list[bytes]:
        """The next lines, at least one; empty at the end.

        Raises TooLargeError: a line is too long. RequestError: too slow (408), the sender hung up, or as stopped.
        """
        until = time.monotonic() + SLOW_S
        while not self._lines and not self._ended:
            await self._more(until - time.monotonic())
        until = time.monotonic() + CHUNK_S
        while not self._ended and not self._is_enough():
            left_s = until - time.monotonic()
            if left_s <= 0 or not await self._more(left_s, is_last=False):
                break
        count = size = 0
        while count < min(len(self._lines), self._most_lines) and size < CHUNK_BYTES:
            size += len(self._lines[count])
            count += 1
        taken, self._lines = self._lines[:count], self._lines[count:]
        return taken

    def _is_enough(self) -> bool:
        return len(self._lines) >= self._most_lines or sum(map(len, self._lines)) >= CHUNK_BYTES

    async def _more(self, wait_s: float, *, is_last: bool = True) -> bool:
        """Reads one part more. False if none came in time; if that was the last chance, raises (408, or as stopped)."""
        message = await self._part(wait_s) if self._stopped_by is None else None
        if message is None:
            if is_last:
                raise self._stopped_by or RequestError(
                    408, "the lines come too slowly", hint="Send the rest again"
                )
            return False
        if message["type"] == "http.disconnect":
            raise GoneError()
        self._ended = not message.get("more_body")
        self._cut(message.get("body", b""))
        return True

    async def _part(self, wait_s: float) -> Message | None:
        try:
            async with asyncio.timeout(max(0.0, wait_s)) as self._clock:
                return await self._receive()
        except TimeoutError:
            return None
        finally:
            self._clock = None

    def _cut(self, part: bytes) -> None:
        if self._csv is not None:
            lines = self._csv.feed(part, is_last=self._ended)
            rest_bytes = self._csv.waiting_bytes
        else:
            *lines, self._rest = (self._rest + part).split(b"\n")
            if self._ended and self._rest:
                lines, self._rest = [*lines, self._rest], b""
            rest_bytes = len(self._rest)
        if rest_bytes > self._most_bytes or any(len(line) > self._most_bytes for line in lines):
            raise TooLargeError(f"a line has more than {self._most_bytes} bytes")
        self._lines.extend(lines)
