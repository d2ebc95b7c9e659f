"""``POST /push/webhook/{id}``: what providers send, each event by itself."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from starlette.types import Receive, Scope, Send

from superinsight_sync.gateway.access import headers_of
from superinsight_sync.gateway.bodies import read_body
from superinsight_sync.gateway.receivers import Receiver, check_format, verify
from superinsight_sync.gateway.storing import delivery_of, tell
from superinsight_sync.model.push import PushFormat, PushLimits, PushStreamSpec
from superinsight_sync.receive.envelope import event_of, form_field, format_of, is_form
from superinsight_sync.receive.limits import unpacked
from superinsight_sync.receive.parsing import Parsed, parse
from superinsight_sync.receive.refusals import SignatureError, UnprocessableError
from superinsight_sync.security.networks import Address
from superinsight_sync.state.inbox_writer import Delivery

if TYPE_CHECKING:
    from superinsight_sync.gateway.context import Gate

_UNKNOWN = PushLimits(body=1 << 20)


class Entered(NamedTuple):
    """Whom a webhook is for, if there is such a source, what that takes, and where it comes from."""

    receiver: Receiver | None
    limits: PushLimits
    address: Address


async def webhook(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes one event."""
    gate: Gate = scope["app"].state.gate
    headers = headers_of(scope)
    entered = let_in(gate, scope["path_params"]["id"], headers, scope.get("client"))
    with gate.unsigned.held() as hold:
        body = await read_body(receive, headers, entered.limits.body, hold)
        await tell(send, await gate.taking.store(checked(gate, entered, headers, body)))


def let_in(gate: "Gate", name: str, headers: Mapping[str, str], client: tuple[str, int] | None) -> Entered:
    """Looks at a webhook before its body is read.

    Raises an AccessError with status 403, and RequestError: 403, 429, 503.
    """
    receiver = gate.receivers.get(name)
    address = gate.access.entering(headers, client[0] if client else "")
    gate.check_room()
    if receiver is None:
        return Entered(None, _UNKNOWN, address)
    receiver.admit(client)
    return Entered(receiver, receiver.limits, address)


def checked(gate: "Gate", entered: Entered, headers: Mapping[str, str], body: bytes) -> Delivery:
    """What is to be stored of an event whose body has come.

    Raises as `verify`, `unpacked`, `format_of` and `parse` do, RequestError (429), and TooManyRequestsError for a
    wrong signature from where too many came: a right one is taken also from there.
    """
    try:
        signed = _signed(entered.receiver, headers, body)
        receiver, verified = verify(entered.receiver, gate.receivers, headers, signed, datetime.now(UTC))
    except SignatureError:
        gate.access.bear(entered.address)
        gate.access.refuse(entered.address, "a signature that does not hold")
        raise
    gate.spend(receiver)
    encoding = _encoding(headers)
    plain = unpacked(body, encoding, receiver.limits.decompressed)
    if _is_form(receiver, headers):
        body, plain, encoding, form = _of_form(receiver, plain)
    else:
        form = format_of(headers.get("content-type") or "application/json")
    stream, records, metadata = _looked_at(receiver, form, plain, headers)
    sent = {column: headers[name] for column, name in receiver.spec.headers.items() if name in headers}
    key = f"webhook:{verified.id}" if verified.id else None
    if sent:
        metadata = {**metadata, "headers": sent}
        key = key or f"content:{stream.name}:{_digest(body, sent)}"
    return delivery_of(
        receiver, stream.name, form, body, key=key, encoding=encoding, records=records, metadata=metadata
    )


def _encoding(headers: Mapping[str, str]) -> str:
    encoding = headers.get("content-encoding", "").lower()
    return "" if encoding == "identity" else encoding


def _is_form(receiver: Receiver, headers: Mapping[str, str]) -> bool:
    return receiver.spec.form_field is not None and is_form(headers.get("content-type", ""))


def _of_form(receiver: Receiver, plain: bytes) -> tuple[bytes, bytes, str, PushFormat]:
    """What is kept of a form: the JSON in its field."""
    found = form_field(plain, receiver.spec.form_field or "")
    return found, found, "", "json"


def _signed(receiver: Receiver | None, headers: Mapping[str, str], body: bytes) -> bytes:
    """The bytes that the signature is over. Raises as `unpacked` and `form_field`."""
    if receiver is None or receiver.verifier is None or receiver.verifier.over == "sent":
        return body
    plain = unpacked(body, _encoding(headers), receiver.limits.decompressed)
    if receiver.verifier.over == "payload" and _is_form(receiver, headers):
        return _of_form(receiver, plain)[0]
    return plain


def _digest(body: bytes, sent: Mapping[str, str]) -> str:
    """By which a webhook without an id is known: its body, and the headers that are kept."""
    return hashlib.sha256(body + msgspec.json.encode(sent, order="sorted")).hexdigest()


def _looked_at(
    receiver: Receiver, form: PushFormat, body: bytes, headers: Mapping[str, str]
) -> tuple[PushStreamSpec, int, dict[str, Any]]:
    """Its stream, how many records it has, and what else is worth knowing. Raises as `parse` does."""
    spec = receiver.spec
    if spec.event_header is not None:
        event = headers.get(spec.event_header)
        stream = _stream_of(receiver, event)
        check_format(stream, form)
        parsed = parse(body, form, receiver.rules(stream))
        _one(parsed)
        return stream, len(parsed.records), {"event": event}
    if form == "json" and spec.event_type is not None:
        parsed = parse(body, form, receiver.json_rules)
        event = event_of(_one(parsed), spec.event_type)
        stream = _stream_of(receiver, event)
        check_format(stream, form)
        return stream, len(parsed.records), {"event": event}
    stream = receiver.stream(None)
    check_format(stream, form)
    parsed = parse(body, form, receiver.rules(stream))
    _one(parsed)
    return stream, len(parsed.records), {}


def _stream_of(receiver: Receiver, event: str | None) -> PushStreamSpec:
    stream = receiver.stream_of(event)
    if stream is None:
        raise UnprocessableError("no stream of this source takes events of this type")
    return stream


def _one(parsed: Parsed) -> dict[str, Any]:
    """The first record. Raises UnprocessableError if there is none."""
    if parsed.records:
        return parsed.records[0]
    raise UnprocessableError(parsed.rejected[0].reason if parsed.rejected else "it holds no records")
