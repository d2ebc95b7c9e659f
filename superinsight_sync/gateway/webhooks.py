"""``POST /push/webhook/{id}``: what providers send, each event by itself."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.types import Receive, Scope, Send

from superinsight_sync.gateway.access import headers_of
from superinsight_sync.gateway.bodies import read_body
from superinsight_sync.gateway.receivers import Receiver, check_format, verify
from superinsight_sync.gateway.taking import delivery_of, tell
from superinsight_sync.model.push import PushFormat, PushLimits, PushStreamSpec
from superinsight_sync.receive.envelope import event_of, format_of
from superinsight_sync.receive.limits import unpacked
from superinsight_sync.receive.parsing import Parsed, parse
from superinsight_sync.receive.refusals import SignatureError, UnprocessableError
from superinsight_sync.security.networks import Address
from superinsight_sync.state.inbox_writer import Delivery

if TYPE_CHECKING:
    from superinsight_sync.gateway.gate import Gate

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
        receiver, verified = verify(entered.receiver, gate.receivers, headers, body, datetime.now(UTC))
    except SignatureError:
        gate.access.bear(entered.address)
        gate.access.refuse(entered.address, "a signature that does not hold")
        raise
    gate.spend(receiver)
    encoding = headers.get("content-encoding", "").lower()
    encoding = "" if encoding == "identity" else encoding
    plain = unpacked(body, encoding, receiver.limits.decompressed)
    form = format_of(headers.get("content-type") or "application/json")
    stream, records, metadata = _looked_at(receiver, form, plain)
    key = f"webhook:{verified.id}" if verified.id else None
    return delivery_of(
        receiver, stream.name, form, body, key=key, encoding=encoding, records=records, metadata=metadata
    )


def _looked_at(receiver: Receiver, form: PushFormat, body: bytes) -> tuple[PushStreamSpec, int, Any]:
    """Its stream, how many records it has, and what else is worth knowing. Raises as `parse` does."""
    spec = receiver.spec
    if form == "json" and spec.event_type is not None:
        parsed = parse(body, form, receiver.json_rules)
        event = event_of(_one(parsed), spec.event_type)
        stream = receiver.stream_of(event)
        if stream is None:
            raise UnprocessableError("no stream of this source takes events of this type")
        check_format(stream, form)
        return stream, len(parsed.records), {"event": event}
    stream = receiver.stream(None)
    check_format(stream, form)
    parsed = parse(body, form, receiver.rules(stream))
    _one(parsed)
    return stream, len(parsed.records), {}


def _one(parsed: Parsed) -> dict[str, Any]:
    """The first record. Raises UnprocessableError if there is none."""
    if parsed.records:
        return parsed.records[0]
    raise UnprocessableError(parsed.rejected[0].reason if parsed.rejected else "it holds no records")
