"""``POST /push/batch``: many records in one request, by who has a key."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from superinsight_sync.gateway.access import authenticate, check_credentials, headers_of
from superinsight_sync.gateway.answers import RequestError
from superinsight_sync.gateway.bodies import Hold, read_body
from superinsight_sync.gateway.fitting import fitted
from superinsight_sync.gateway.receivers import Receiver, check_format
from superinsight_sync.gateway.storing import delivery_of, tell
from superinsight_sync.model.push import PushFormat, PushLimits
from superinsight_sync.receive.envelope import format_of, idempotency_key, open_envelope
from superinsight_sync.receive.limits import unpacked
from superinsight_sync.receive.parsing import parse
from superinsight_sync.receive.refusals import MalformedError, UnprocessableError
from superinsight_sync.security.roles import Principal

if TYPE_CHECKING:
    from superinsight_sync.gateway.context import Gate

_UNKNOWN = PushLimits()


class _Pushed(NamedTuple):
    """A batch without what is around it. `kept` is stored: the bytes as they came, or the envelope's data."""

    stream: str | None
    form: PushFormat
    plain: bytes
    kept: bytes
    encoding: str
    metadata: dict[str, Any]


async def batch(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes one batch: an envelope, or records in any format with ``?source=`` (and ``&stream=``)."""
    gate: Gate = scope["app"].state.gate
    with gate.bodies.held() as hold:
        await _take(gate, scope, receive, send, hold)


async def _take(gate: "Gate", scope: Scope, receive: Receive, send: Send, hold: Hold) -> None:
    headers = headers_of(scope)
    asked = asked_for(scope)
    form = format_of(headers.get("content-type", "application/json"))
    if "source" in asked:
        receiver, principal = await admitted(gate, scope, headers, asked["source"])
        body = await read_body(receive, headers, receiver.limits.body, hold)
        plain, encoding = _unpacked(headers, body, receiver.limits)
        pushed = _Pushed(asked.get("stream"), form, plain, body, encoding, {})
    else:
        if form != "json":
            raise UnprocessableError("the batch names no source", hint="Add ?source=… to the address")
        check_credentials(headers)
        body = await read_body(receive, headers, _UNKNOWN.body, hold)
        plain, encoding = _unpacked(headers, body, _UNKNOWN)
        if plain.lstrip()[:1] == b"[":
            raise UnprocessableError("the batch names no source", hint="Add ?source=… to the address")
        opened = open_envelope(plain)
        receiver, principal = await admitted(gate, scope, headers, opened.source, opened.tenant)
        data = bytes(opened.data)
        pushed = _Pushed(opened.stream, "json", data, data, "", {"metadata": opened.metadata})
    stream = receiver.stream(pushed.stream)
    check_format(stream, pushed.form)
    parsed = parse(pushed.plain, pushed.form, receiver.rules(stream))
    if not parsed.records:
        reason = parsed.rejected[0].reason if parsed.rejected else "it holds no records"
        raise UnprocessableError(f"nothing in the batch can be taken: {reason}")
    delivery = delivery_of(
        receiver,
        stream.name,
        pushed.form,
        pushed.kept,
        key=f"key:{idempotency_key(headers['idempotency-key'])}" if "idempotency-key" in headers else None,
        encoding=pushed.encoding,
        records=len(parsed.records),
        metadata={**pushed.metadata, "by": principal.key_id},
    )
    outcome = await gate.taking.store(delivery)
    await tell(send, outcome, fitted(receiver, stream, pushed.form, pushed.plain, parsed))


def asked_for(scope: Scope) -> dict[str, str]:
    """The query's parameters. Raises MalformedError for one that is there twice, or a query that is none."""
    try:
        found = parse_qs(scope["query_string"].decode("ascii"), strict_parsing=bool(scope["query_string"]))
    except ValueError:
        raise MalformedError("the address has a query that cannot be read") from None
    if any(len(values) > 1 for values in found.values()):
        raise MalformedError("a parameter of the address is there twice")
    return {name: values[0] for name, values in found.items()}


async def admitted(
    gate: "Gate", scope: Scope, headers: Mapping[str, str], source: str, tenant: str | None = None
) -> tuple[Receiver, Principal]:
    """The source, and who pushes to it now. Raises as `known`, and RequestError: 429, 503."""
    receiver, principal = await known(gate, scope, headers, source, tenant)
    gate.check_room()
    receiver.admit(scope.get("client"))
    return receiver, principal


async def known(
    gate: "Gate", scope: Scope, headers: Mapping[str, str], source: str, tenant: str | None = None
) -> tuple[Receiver, Principal]:
    """The source, and who may push to it. Another tenant's source is not there, as one that nobody declared.

    Raises as `authenticate`, and RequestError: 404, 403.
    """
    principal = await authenticate(gate.access, scope, headers, action="push", source=source)
    receiver = gate.receivers.get(source)
    if receiver is None or receiver.tenant != principal.tenant or tenant not in (None, receiver.tenant):
        raise RequestError(404, "there is no such push source")
    receiver.check_address(scope.get("client"))
    return receiver, principal


def _unpacked(headers: Mapping[str, str], body: bytes, limits: PushLimits) -> tuple[bytes, str]:
    encoding = headers.get("content-encoding", "").lower()
    encoding = "" if encoding == "identity" else encoding
    return unpacked(body, encoding, limits.decompressed), encoding
