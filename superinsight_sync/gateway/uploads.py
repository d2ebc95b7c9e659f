"""From a file on the disk to a delivery, and whose turn it is with an upload."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from superinsight_sync.core.errors import SisError, TransientError
from superinsight_sync.gateway.answers import RequestError, detail_of, status_of
from superinsight_sync.gateway.fitting import fitted
from superinsight_sync.gateway.receivers import Receiver
from superinsight_sync.gateway.storing import delivery_of
from superinsight_sync.model.push import PushFormat, PushStreamSpec
from superinsight_sync.receive.limits import unpacked
from superinsight_sync.receive.parsing import parse
from superinsight_sync.receive.refusals import UnprocessableError
from superinsight_sync.state.inbox_writer import Delivery, Outcome
from superinsight_sync.state.uploads import BusyError, Held, Upload, Uploads

if TYPE_CHECKING:
    from superinsight_sync.gateway.context import Gate

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)
_GZIP = b"\x1f\x8b"
_MOST_TOLD = 100
_AT_ONCE = 2
_THREADS = 4
_TURN_S = 10.0
_SWEEP_S = 60.0


@dataclass(frozen=True)
class FileSent:
    """A file on the disk, and what belongs to it. `key`: by which it is known; empty for its content."""

    path: Path
    form: PushFormat
    stream: PushStreamSpec
    key: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Checked:
    """What is in a file that can be taken. `rejected` are the first of its bad records, as they are told."""

    encoding: str
    records: int
    rejected_count: int
    rejected: list[dict[str, Any]]


def check_file(sent: FileSent, receiver: Receiver) -> Checked:
    """Looks through a file. Raises as `unpacked` and `parse` do; UnprocessableError if nothing of it can be taken."""
    body = sent.path.read_bytes()
    encoding = "gzip" if body.startswith(_GZIP) else ""
    plain = unpacked(body, encoding, receiver.limits.decompressed)
    parsed = parse(plain, sent.form, receiver.rules(sent.stream))
    if not parsed.records:
        reason = parsed.rejected[0].reason if parsed.rejected else "it holds no records"
        raise UnprocessableError(f"nothing in the file can be taken: {reason}")
    parsed = fitted(receiver, sent.stream, sent.form, plain, parsed)
    told = [{"place": r.place, "reason": r.reason} for r in parsed.rejected[:_MOST_TOLD]]
    return Checked(encoding, len(parsed.records), len(parsed.rejected), told)


def delivery_of_file(sent: FileSent, receiver: Receiver, checked: Checked) -> Delivery:
    """The file as a delivery: its bytes as they came."""
    return delivery_of(
        receiver,
        sent.stream.name,
        sent.form,
        sent.path.read_bytes(),
        key=sent.key or None,
        encoding=checked.encoding,
        records=checked.records,
        metadata=sent.metadata,
    )


def file_key(idempotency_key: str, place: int = 1) -> str:
    """The key of one file of those that were sent under an idempotency key."""
    return f"file:{place}:{idempotency_key}"


def file_name(name: str) -> str:
    """What a sender calls a file, as it may be shown. It is never part of a path."""
    return "".join(c for c in name if c.isprintable())[:255]


def document_of(outcome: Outcome, checked: Checked) -> dict[str, Any]:
    """What is told of a file that was stored. Raises RequestError (422) if its key was used for another one."""
    if outcome.kind == "conflict":
        raise RequestError(
            422, "this key was used for another body or stream", hint="Use a new key for new content"
        )
    return {
        "id": outcome.id,
        "status": outcome.kind,
        "records": checked.records,
        "rejected_count": checked.rejected_count,
        "rejected": checked.rejected,
    }


class Turn:
    """One request's time with an upload. `hurry` ends its reading early; what came is kept."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.clock: asyncio.Timeout | None = None
        self.is_hurried = False

    def hurry(self) -> None:
        """Lets it read no more."""
        self.is_hurried = True
        if self.clock is not None:
            self.clock.reschedule(asyncio.get_running_loop().time())
            self.clock = None


class Uploading:
    """The uploads of a gateway while it serves."""

    def __init__(self, gate: "Gate", spool: Uploads) -> None:
        self.spool, self._gate = spool, gate
        self._turns: dict[str, Turn] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "uploads")
        self.reading = asyncio.Semaphore(_AT_ONCE)  # whole files are in memory while they are looked through

    @asynccontextmanager
    async def alone(self, tenant: str, source: str, upload_id: str) -> AsyncIterator[tuple[Turn, Held]]:
        """An upload for oneself. A request that is at it still, such as one whose sender has left unnoticed, is ended.

        Raises MissingError (404), BusyError (423), TransientError.
        """
        await self.do(self.spool.find, tenant, source, upload_id)
        turn = await self._enter(upload_id)
        try:
            held = await self.do(self.spool.hold, tenant, source, upload_id)
            try:
                yield turn, held
            finally:
                held.close()
        finally:
            del self._turns[upload_id]
            turn.ended.set()

    async def do(self, function: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """Calls what waits for the disk, in threads of its own: who asks for a key does not wait behind it.

        Raises as the function; TransientError for what the file system says.
        """
        call = functools.partial(function, *args, **more)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except OSError as error:
            raise TransientError(f"a file cannot be kept or read: {error.strerror}") from error

    async def finish(self, held: Held, receiver: Receiver) -> Upload:
        """Hands a whole upload to the inbox, once: what came of it is noted only afterwards.

        Raises SisError of our own trouble; then it can be done again. What is wrong with the file is noted.
        """
        if held.upload.outcome is None and held.upload.is_whole:
            try:
                outcome = await self._deliver(held, receiver)
            except SisError as error:
                status = status_of(error)
                if status >= 429:
                    raise
                outcome = {"status": "refused", "code": status, "detail": detail_of(error, status)}
            await self.do(held.finish, outcome)
        return held.upload

    async def watch(self) -> None:
        """Removes what was given up and finishes what a killed process left, each minute, until it is cancelled."""
        while True:
            try:
                for upload in await self.do(self.spool.sweep):
                    await self._finish_left(upload)
            except SisError as error:
                _log.warning("uploads cannot be looked through: %s", error)
            await asyncio.sleep(_SWEEP_S)

    def end(self) -> None:
        """Lets all that are reading read no more, since the gateway stops."""
        for turn in self._turns.values():
            turn.hurry()

    async def _finish_left(self, upload: Upload) -> None:
        receiver = self._gate.receivers.get(upload.source)
        if receiver is None or upload.id in self._turns:
            return
        try:
            async with self.alone(upload.tenant, upload.source, upload.id) as (_, held):
                await self.finish(held, receiver)
        except SisError as error:
            _log.warning("upload %s waits to be handed over: %s", upload.id, error)

    async def _enter(self, upload_id: str) -> Turn:
        try:
            async with asyncio.timeout(_TURN_S):
                while (older := self._turns.get(upload_id)) is not None:
                    older.hurry()
                    await older.ended.wait()
        except TimeoutError:
            raise BusyError("another connection is at this upload", hint="Ask again in a moment") from None
        turn = self._turns[upload_id] = Turn()
        return turn

    async def _deliver(self, held: Held, receiver: Receiver) -> dict[str, Any]:
        upload = held.upload
        metadata = {"by": upload.by, "file": upload.name, "upload": upload.id, "metadata": upload.metadata}
        sent = FileSent(held.path, upload.form, receiver.stream(upload.stream), upload.key, metadata)
        async with self.reading:
            checked = await self.do(check_file, sent, receiver)
            delivery = await self.do(delivery_of_file, sent, receiver, checked)
            return document_of(await self._gate.taking.store(delivery), checked)
