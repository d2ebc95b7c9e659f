"""``/push/file`` by the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload): uploads that go on where
they broke off. Extensions: creation, creation-with-upload, checksum, termination, expiration.

An offset that is told is on the disk. That the whole has come is told only once the file is in the inbox.
"""

import asyncio
import base64
import binascii
import hashlib
import re
import time
from collections.abc import Mapping
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope, Send

from superinsight_sync.gateway.access import headers_of
from superinsight_sync.gateway.answers import Headers, RequestError, answer
from superinsight_sync.gateway.batches import admitted, asked_for, known
from superinsight_sync.gateway.bodies import body_parts
from superinsight_sync.gateway.receivers import Receiver, check_format
from superinsight_sync.gateway.uploads import Turn, file_key, file_name
from superinsight_sync.receive.envelope import format_of_file, idempotency_key
from superinsight_sync.receive.refusals import MalformedError, TooLargeError, UnsupportedError
from superinsight_sync.state.uploads import Held, MissingError, Upload

if TYPE_CHECKING:
    from superinsight_sync.gateway.context import Gate

VERSION = "1.0.0"
_VERSION: Headers = [(b"tus-resumable", VERSION.encode())]
_ABOUT: Headers = [
    (b"tus-version", VERSION.encode()),
    (b"tus-extension", b"creation,creation-with-upload,checksum,termination,expiration"),
    (b"tus-checksum-algorithm", b"sha1,sha256,md5"),
]
_PART = "application/offset+octet-stream"
_ID = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"[0-9]{1,15}")
_WRITE_BYTES = 1 << 20
_COMMIT_BYTES = 8 << 20
_COMMIT_S = 1.0
_WHOLE_S = 600.0
_MOST_PAIRS = 32
_METADATA_BYTES = 16 << 10


async def about(scope: Scope, send: Send) -> None:
    """Answers what is spoken here."""
    scope["answer_headers"] = _VERSION
    await _empty(send, 204, _ABOUT)


async def create(scope: Scope, receive: Receive, send: Send) -> None:
    """Begins an upload, with its first bytes if they are there."""
    gate, headers = _begin(scope)
    asked = asked_for(scope)
    receiver, principal = await admitted(gate, scope, headers, asked.get("source", ""))
    stream = receiver.stream(asked.get("stream"))
    length = _number(headers, "upload-length")
    if length > receiver.limits.body:
        raise TooLargeError(f"the file has more than {receiver.limits.body} bytes")
    metadata = _metadata(headers.get("upload-metadata", ""))
    name = file_name(metadata.pop("filename", ""))
    form = format_of_file(metadata.pop("filetype", ""), name, stream.formats)
    check_format(stream, form)
    key = file_key(idempotency_key(headers["idempotency-key"])) if "idempotency-key" in headers else ""
    with_part = headers.get("content-type") == _PART
    checksum = _checksum(headers)
    made = await gate.uploading.do(
        gate.uploading.spool.create,
        tenant=receiver.tenant,
        source=receiver.name,
        stream=stream.name,
        form=form,
        name=name,
        by=principal.key_id,
        key=key,
        metadata=metadata,
        length=length,
    )
    async with gate.uploading.alone(receiver.tenant, receiver.name, made.id) as (turn, held):
        if with_part and length:
            await _append(gate, turn, receive, held, checksum)
        upload = await gate.uploading.finish(held, receiver)
    _check_refused(upload)
    place = f"{scope['path'].rstrip('/')}/{upload.id}?source={receiver.name}"
    await _empty(send, 201, [(b"location", place.encode()), *_progress(upload)])


async def upload(scope: Scope, receive: Receive, send: Send) -> None:
    """Does with an upload what the method says."""
    gate, headers = _begin(scope)
    method = scope["method"]
    if method == "POST":
        method = headers.get("x-http-method-override", "")
    if method == "OPTIONS":
        await about(scope, send)
        return
    source = asked_for(scope).get("source", "")
    admit = admitted if method == "PATCH" else known
    receiver, _ = await admit(gate, scope, headers, source)
    if not _ID.fullmatch(scope["path_params"]["id"]):
        raise MissingError()
    if method == "PATCH":
        await _patch(gate, scope, receive, send, receiver)
    elif method in ("HEAD", "GET"):
        await _tell(gate, scope, send, receiver, method)
    elif method == "DELETE":
        place = (receiver.tenant, receiver.name, scope["path_params"]["id"])
        async with gate.uploading.alone(*place) as (_, held):
            await gate.uploading.do(held.remove)
        await _empty(send, 204, [])
    else:
        raise RequestError(405, "this address does not take this method")


async def _patch(gate: "Gate", scope: Scope, receive: Receive, send: Send, receiver: Receiver) -> None:
    headers = headers_of(scope)
    if headers.get("content-type") != _PART:
        raise UnsupportedError("parts of a file have another content type", hint=f"Send {_PART}")
    offset, checksum = _number(headers, "upload-offset"), _checksum(headers)
    place = (receiver.tenant, receiver.name, scope["path_params"]["id"])
    async with gate.uploading.alone(*place) as (turn, held):
        _check_refused(held.upload)
        if offset != held.upload.offset:
            raise RequestError(409, f"the upload goes on at {held.upload.offset}", hint="Ask for its offset")
        size = headers.get("content-length", "0")
        if int(size if _NUMBER.fullmatch(size) else 0) > held.upload.length - offset:
            raise TooLargeError("that is more than the upload's length")
        if not held.upload.is_whole:
            await _append(gate, turn, receive, held, checksum)
        found = await gate.uploading.finish(held, receiver)
    _check_refused(found)
    await _empty(send, 204, _progress(found))


async def _tell(gate: "Gate", scope: Scope, send: Send, receiver: Receiver, method: str) -> None:
    """Tells how far an upload is. One whose process died before the whole was handed over is handed over first.

    Who asks by HEAD is going to go on with it, so a request that is at it still is ended; GET only looks.
    """
    place = (receiver.tenant, receiver.name, scope["path_params"]["id"])
    found = await gate.uploading.do(gate.uploading.spool.find, *place)
    if method == "HEAD" or (found.is_whole and found.outcome is None):
        async with gate.uploading.alone(*place) as (_, held):
            found = await gate.uploading.finish(held, receiver)
    headers = [*_progress(found), (b"upload-length", b"%d" % found.length)]
    if method == "GET":
        document = {"offset": found.offset, "length": found.length, "outcome": found.outcome}
        await answer(send, 200, document, headers)
        return
    _check_refused(found)
    await _empty(send, 200, headers)


async def _append(
    gate: "Gate", turn: Turn, receive: Receive, held: Held, checksum: "_Checksum | None"
) -> None:
    """Adds a request's body. What came before it broke off stays; with a checksum all of it counts, or nothing.

    Raises RequestError: the sender hung up, is too slow (408), the checksum is another (460), or the upload is to go
    on in another request (503). TooLargeError: more bytes than the upload has.
    """
    room = held.upload.length - held.upload.offset
    waiting, uncommitted, committed_s = bytearray(), 0, time.monotonic()
    parts = body_parts(receive)
    deadline = asyncio.get_running_loop().time() + _WHOLE_S
    try:
        while part := await _next(turn, parts, deadline):
            room -= len(part)
            if room < 0:
                raise TooLargeError("that is more than the upload's length")
            if checksum is not None:
                checksum.digest.update(part)
            waiting += part
            if len(waiting) >= _WRITE_BYTES or not room:
                await gate.uploading.do(held.write, bytes(waiting))
                uncommitted += len(waiting)
                waiting.clear()
            is_due = uncommitted >= _COMMIT_BYTES or time.monotonic() - committed_s > _COMMIT_S
            if checksum is None and uncommitted and is_due:
                await gate.uploading.do(held.commit, uncommitted)
                uncommitted, committed_s = 0, time.monotonic()
        if checksum is not None:
            checksum.check()
    except RequestError:
        if checksum is None:
            await _keep(gate, held, waiting, uncommitted)
        raise
    await _keep(gate, held, waiting, uncommitted)


async def _keep(gate: "Gate", held: Held, waiting: bytearray, uncommitted: int) -> None:
    if waiting:
        await gate.uploading.do(held.write, bytes(waiting))
    if waiting or uncommitted:
        await gate.uploading.do(held.commit, uncommitted + len(waiting))


async def _next(turn: Turn, parts: Any, deadline: float) -> bytes:
    """The next part of a body; empty at its end."""
    try:
        async with asyncio.timeout_at(deadline) as clock:
            turn.clock = clock
            if turn.is_hurried:
                turn.hurry()
            part: bytes = await anext(parts, b"")
    except TimeoutError:
        raise RequestError(
            503, "the upload is broken off here", hint="Ask for its offset and go on"
        ) from None
    finally:
        turn.clock = None
    return part


class _Checksum:
    """What the bytes of one request must come to."""

    def __init__(self, name: str, expected: bytes) -> None:
        self.digest = hashlib.new(name, usedforsecurity=False)
        self._expected = expected

    def check(self) -> None:
        if self.digest.digest() != self._expected:
            raise RequestError(460, "the bytes are not those of the checksum", hint="Send them again")


async def _empty(send: Send, status: int, headers: Headers) -> None:
    length: Headers = [] if status == 204 else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": [*length, *headers]})
    await send({"type": "http.response.body", "body": b""})


def _begin(scope: Scope) -> tuple["Gate", dict[str, str]]:
    scope["answer_headers"] = _VERSION
    headers = headers_of(scope)
    if scope["method"] not in ("OPTIONS", "GET") and headers.get("tus-resumable") != VERSION:
        scope["answer_headers"] = [*_VERSION, *_ABOUT]
        raise RequestError(
            412, "another version of the tus protocol is spoken here", hint=f"Send Tus-Resumable: {VERSION}"
        )
    gate: Gate = scope["app"].state.gate
    return gate, headers


def _progress(found: Upload) -> Headers:
    headers = [
        (b"upload-offset", b"%d" % found.offset),
        (b"upload-expires", format_datetime(found.expires_at, usegmt=True).encode()),
    ]
    if found.outcome is not None and "id" in found.outcome:
        headers.append((b"x-delivery-id", found.outcome["id"].encode()))
    return headers


def _check_refused(found: Upload) -> None:
    """Raises RequestError for a file that came whole and could not be taken."""
    if found.outcome is not None and found.outcome["status"] == "refused":
        raise RequestError(found.outcome["code"], found.outcome["detail"])


def _number(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise MalformedError(f"{name} is missing or no number")
    return int(text)


def _metadata(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    if len(text) > _METADATA_BYTES:
        raise MalformedError(f"Upload-Metadata has more than {_METADATA_BYTES} bytes")
    for pair in text.split(",") if text.strip() else []:
        name, _, value = pair.strip().partition(" ")
        try:
            decoded = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise MalformedError("Upload-Metadata is not names, each with a value in Base64") from None
        if not name or name in found or len(found) == _MOST_PAIRS:
            raise MalformedError("Upload-Metadata has a name twice, none, or too many")
        found[name] = decoded
    return found


def _checksum(headers: Mapping[str, str]) -> _Checksum | None:
    if "upload-checksum" not in headers:
        return None
    name, _, value = headers["upload-checksum"].partition(" ")
    if name not in ("sha1", "sha256", "md5"):
        raise MalformedError("this checksum is not known", hint="Send sha1, sha256 or md5")
    try:
        return _Checksum(name, base64.b64decode(value, validate=True))
    except binascii.Error:
        raise MalformedError("Upload-Checksum is no Base64") from None
