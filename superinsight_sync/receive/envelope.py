"""What is around the records: the batch's envelope, its format, its idempotency key, its event type."""

import re
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import parse_qs

import msgspec

from superinsight_sync.model.push import PushFormat
from superinsight_sync.receive.refusals import MalformedError, UnprocessableError, UnsupportedError

_FORMATS: dict[str, PushFormat] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/x-jsonlines": "ndjson",
    "text/csv": "csv",
    "application/csv": "csv",
    "application/xml": "xml",
    "text/xml": "xml",
}
_SUFFIXES: dict[str, PushFormat] = {
    "json": "json",
    "ndjson": "ndjson",
    "jsonl": "ndjson",
    "csv": "csv",
    "xml": "xml",
}
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """A batch as JSON: whose it is, where it belongs, and its records as they were written."""

    source: str
    data: msgspec.Raw
    tenant: str | None = None
    stream: str | None = None
    metadata: dict[str, str | int | bool | None] = {}


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """A numbered message as JSON: its number, and its record as it was written."""

    n: Annotated[int, msgspec.Meta(ge=1, lt=10**15)]
    data: msgspec.Raw


class Proof(msgspec.Struct, forbid_unknown_fields=True):
    """The first message of who could send no header: a key or an access token."""

    auth: str


_decoder = msgspec.json.Decoder(Envelope)
_message_decoder = msgspec.json.Decoder(Message)
_proof_decoder = msgspec.json.Decoder(Proof)


def open_envelope(body: bytes) -> Envelope:
    """Opens a batch's envelope; the records in it are not looked at.

    Raises MalformedError: no JSON. UnprocessableError: JSON of another shape, or nested without end.
    """
    try:
        return _decoder.decode(body)
    except RecursionError:
        raise UnprocessableError("values are nested too deeply") from None
    except UnicodeDecodeError:
        raise MalformedError("text is no UTF-8") from None
    except msgspec.ValidationError:
        raise UnprocessableError(
            "not a batch", hint="Send an object with source, data and, if you like, tenant, stream, metadata"
        ) from None
    except msgspec.DecodeError:
        raise MalformedError("the body is no valid JSON") from None


def open_message(text: str) -> Message:
    """Opens a numbered message; its record is not looked at. Raises MalformedError."""
    try:
        return _message_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise MalformedError('not a message such as {"n": 1, "data": {…}}') from None


def open_proof(text: str) -> str:
    """The credential in a first message. Raises MalformedError."""
    try:
        return _proof_decoder.decode(text).auth
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise MalformedError('the first message is not {"auth": "…"}') from None


@lru_cache(maxsize=256)
def format_of(content_type: str) -> PushFormat:
    """The format that a media type names. Raises UnsupportedError for others, and for text that is not UTF-8."""
    media, _, parameters = content_type.lower().partition(";")
    media = media.strip()
    found = _FORMATS.get(media) or ("json" if media.endswith("+json") else None)
    if found is None:
        raise UnsupportedError("this content type is not accepted", hint=f"Send one of {', '.join(_FORMATS)}")
    charset = re.search(r"charset\s*=\s*\"?([a-z0-9_-]+)", parameters)
    if charset and charset.group(1) not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedError("this text encoding is not accepted", hint="Send UTF-8")
    return found


def format_of_file(content_type: str, name: str, formats: tuple[PushFormat, ...]) -> PushFormat:
    """The format of a file: as its media type says, else as its name ends (also before ``.gz``), else the only one
    of `formats`. Raises UnsupportedError."""
    if content_type.partition(";")[0].strip().lower() in _FORMATS:
        return format_of(content_type)
    suffix = name.lower().removesuffix(".gz").rpartition(".")[2]
    found = _SUFFIXES.get(suffix) or (formats[0] if len(formats) == 1 else None)
    if found is None:
        raise UnsupportedError(
            "what kind of file it is cannot be told", hint="Name it *.json, *.csv, … or send its type"
        )
    return found


def idempotency_key(header: str) -> str:
    """The key in an ``Idempotency-Key`` header, with or without its quotes. Raises MalformedError."""
    text = header.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not _KEY.fullmatch(text):
        raise MalformedError(
            "the Idempotency-Key is not usable", hint="Send 1 to 255 printable ASCII characters"
        )
    return text


FORM = "application/x-www-form-urlencoded"


def is_form(content_type: str) -> bool:
    """Whether a media type is that of a form without files."""
    return content_type.partition(";")[0].strip().lower() == FORM


def form_field(body: bytes, name: str) -> bytes:
    """What is in that field of a form. Raises MalformedError: it is no form, or has the field not just once."""
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError:
        raise MalformedError("the body is no form that can be read") from None
    if len(found.get(name, ())) != 1:
        raise MalformedError(f"the form has no field {name}, or several")
    return found[name][0].encode()


def event_of(value: Any, path: str | None) -> str | None:
    """The event type at a path of a decoded JSON value; None if there is none."""
    if path is None:
        return None
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None
