"""``POST /push/file``: whole files, as browsers' forms and ``curl -F`` send them. Larger ones go on by `tus`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.types import Receive, Scope, Send

from superinsight_sync.core.errors import DataError
from superinsight_sync.gateway import tus
from superinsight_sync.gateway.access import headers_of
from superinsight_sync.gateway.answers import RequestError, answer
from superinsight_sync.gateway.batches import admitted, asked_for
from superinsight_sync.gateway.bodies import body_parts, check_length
from superinsight_sync.gateway.receivers import Receiver, check_format
from superinsight_sync.gateway.uploads import (
    Checked,
    FileSent,
    check_file,
    delivery_of_file,
    document_of,
    file_key,
)
from superinsight_sync.receive.envelope import format_of_file, idempotency_key
from superinsight_sync.receive.refusals import UnprocessableError
from superinsight_sync.security.roles import Principal

if TYPE_CHECKING:
    from superinsight_sync.gateway.context import Gate
    from superinsight_sync.gateway.forms import Form

_WHOLE_S = 600.0
_FRAME_BYTES = 1 << 20
_metadata = msgspec.json.Decoder(dict[str, str | int | bool | None])


async def files(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes the files of a form, or begins an upload by tus."""
    from superinsight_sync.gateway.forms import MOST_FILES, Form

    if scope["method"] == "OPTIONS":
        await tus.about(scope, send)
        return
    headers = headers_of(scope)
    if "tus-resumable" in headers:
        await tus.create(scope, receive, send)
        return
    gate: Gate = scope["app"].state.gate
    asked = asked_for(scope)
    receiver, principal = await admitted(gate, scope, headers, asked.get("source", ""))
    check_length(headers, MOST_FILES * receiver.limits.body + _FRAME_BYTES)
    if "content-length" not in headers:
        raise RequestError(411, "the length of the body is not told", hint="Send Content-Length, or by tus")
    size = int(headers["content-length"])
    with gate.uploading.spool.temporary(receiver.tenant, size) as make:
        form = Form(headers.get("content-type", ""), make, receiver.limits.body)
        try:
            await _read(gate, form, receive)
        finally:
            form.close()
        key = idempotency_key(headers["idempotency-key"]) if "idempotency-key" in headers else ""
        documents = await _store(gate, receiver, _sent(form, receiver, asked.get("stream"), principal, key))
    is_new = any(d["status"] == "stored" for d in documents)
    await answer(send, 202 if is_new else 200, {"files": documents})


async def _read(gate: "Gate", form: "Form", receive: Receive) -> None:
    deadline = asyncio.get_running_loop().time() + _WHOLE_S
    async for part in body_parts(receive):
        await gate.uploading.do(form.feed, part)
        if asyncio.get_running_loop().time() > deadline:
            raise RequestError(408, "the body comes too slowly", hint="Send it by tus")
    form.finish()


def _sent(
    form: "Form", receiver: Receiver, stream_name: str | None, principal: Principal, key: str
) -> list[FileSent]:
    """The files with what belongs to them. Raises SisError for one that the stream does not take."""
    if not form.files:
        raise UnprocessableError("the form holds no file", hint="Send at least one part with a filename")
    if set(form.fields) - {"stream", "metadata"}:
        raise UnprocessableError(
            "the form has an unknown field", hint="Fields are stream, metadata, and files"
        )
    stream = receiver.stream(stream_name or form.fields.get("stream"))
    try:
        metadata = _metadata.decode(form.fields.get("metadata", "{}"))
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise UnprocessableError("`metadata` is no JSON object of texts, numbers, true and false") from None
    sent: list[FileSent] = []
    for place, found in enumerate(form.files, start=1):
        with _at(place):
            kind = format_of_file(found.media_type, found.name, stream.formats)
            check_format(stream, kind)
        more = {"by": principal.key_id, "file": found.name, "metadata": metadata}
        sent.append(FileSent(found.path, kind, stream, file_key(key, place) if key else "", more))
    return sent


async def _store(gate: "Gate", receiver: Receiver, sent: list[FileSent]) -> list[dict[str, Any]]:
    """Stores the files, after all of them were found good. Raises SisError that names the file."""
    documents: list[dict[str, Any]] = []
    checked: list[Checked] = []
    for place, one in enumerate(sent, start=1):
        with _at(place):
            async with gate.uploading.reading:
                checked.append(await gate.uploading.do(check_file, one, receiver))
    for place, (one, found) in enumerate(zip(sent, checked, strict=True), start=1):
        with _at(place):
            async with gate.uploading.reading:
                delivery = await gate.uploading.do(delivery_of_file, one, receiver, found)
                outcome = await gate.taking.store(delivery)
            documents.append({"file": place, **document_of(outcome, found)})
    return documents


@contextmanager
def _at(place: int) -> Iterator[None]:
    """Says of an error which file it is about."""
    try:
        yield
    except DataError as error:
        raise type(error)(f"file {place}: {error.message}", hint=error.hint) from None
    except RequestError as error:
        raise RequestError(error.status, f"file {place}: {error.message}", hint=error.hint) from None
