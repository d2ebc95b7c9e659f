"""The YAML vocabulary of push sources: who may send what, in which form, and how much of it."""

import re
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any, Literal, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from superinsight_sync.model.declaration import (
    Declared,
    DictionarySpec,
    ExpectSpec,
    SourceSpec,
    StepSpec,
    StreamDefaults,
    StreamSpec,
    SyncSpec,
    check_unique,
    with_defaults,
)
from superinsight_sync.model.written import RESERVED_PREFIX, Duration, Name, Size, SourceName

PushFormat = Literal["json", "ndjson", "csv", "xml"]
SchemeName = Literal["standard", "github", "stripe", "svix", "hmac"]

_HEADER = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")
_TEMPLATE = re.compile(r"(?:[^{}]|\{(?:id|timestamp|body)\})*")
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})
_REFERENCE = re.compile(r"\s*\{\{\s*env\.[A-Za-z_][A-Za-z0-9_]*\s*\}\}\s*")


class SecretSpec(Declared):
    """One secret that deliveries may be signed with."""

    value: str
    """Where the secret is: "{{ env.NAME }}"."""
    not_after: AwareDatetime | None = None
    """From then on it is not accepted any more. Default: it is accepted until it is taken out."""

    @field_validator("value")
    @classmethod
    def _is_a_reference(cls, value: str) -> str:
        if not _REFERENCE.fullmatch(value):
            raise ValueError('a secret is written as a reference: "{{ env.NAME }}"')
        return value

    def holds(self, at: datetime) -> bool:
        """Whether it is still accepted."""
        return self.not_after is None or at < self.not_after


def _or_bare(schema: dict[str, Any]) -> None:
    """Secrets may also be written as references alone, or as one reference."""
    listed = {k: schema.pop(k) for k in ("type", "items", "minItems", "maxItems")}
    listed["items"] = {"anyOf": [{"type": "string"}, listed["items"]]}
    schema["anyOf"] = [{"type": "string"}, listed]


class SignatureSpec(Declared):
    """How deliveries are signed: HMAC-SHA256 over the bytes as they came."""

    scheme: SchemeName
    """`standard` (Standard Webhooks), `github`, `stripe`, `svix`, or `hmac`, whose headers are named below."""
    secrets: tuple[SecretSpec, ...] = Field(min_length=1, max_length=8, json_schema_extra=_or_bare)
    """Any of them is accepted, so that a secret can be replaced without a gap."""
    tolerance: Duration = timedelta(seconds=300)
    """How far the signed time may be from now, either way."""
    signature_header: str | None = None
    """`hmac`: the header with the signature."""
    timestamp_header: str | None = None
    """`hmac`: the header with the signed time, in seconds since 1970. Default: the time is not signed."""
    id_header: str | None = None
    """`hmac`: the header with the delivery's id. Default: a delivery is known by its content."""
    template: str = "{body}"
    """`hmac`: what is signed, made of `{id}`, `{timestamp}` and `{body}`, such as `{timestamp}.{body}`."""
    encoding: Literal["hex", "base64"] = "hex"
    """`hmac`: how the signature is written."""
    prefix: str = Field(default="", max_length=32)
    """`hmac`: what stands before the signature, such as `sha256=`."""
    over: Literal["sent", "unpacked", "payload"] = "sent"
    """What is signed as `{body}`: the bytes as they are sent, those without compression, or what is in the form's
    field (see `form_field`), without it too."""

    @field_validator("secrets", mode="before")
    @classmethod
    def _bare_references(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list | tuple):
            return [{"value": v} if isinstance(v, str) else v for v in value]
        return value

    @field_validator("signature_header", "timestamp_header", "id_header")
    @classmethod
    def _header_name(cls, value: str | None) -> str | None:
        if value is not None and not _HEADER.fullmatch(value):
            raise ValueError("is no name of a header")
        return None if value is None else value.lower()

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = {"signature_header", "timestamp_header", "id_header", "template", "encoding", "prefix"}
        own = sorted(given & self.model_fields_set)
        if self.scheme != "hmac":
            if own:
                raise ValueError(f"`{own[0]}` belongs to scheme: hmac; {self.scheme} has its own")
            return self
        if self.signature_header is None:
            raise ValueError("scheme: hmac needs `signature_header`")
        if not _TEMPLATE.fullmatch(self.template) or self.template.count("{body}") != 1:
            raise ValueError("`template` is made of {id}, {timestamp} and exactly one {body}")
        for name, header in (("id", self.id_header), ("timestamp", self.timestamp_header)):
            if (f"{{{name}}}" in self.template) and header is None:
                raise ValueError(f"`template` has {{{name}}}; name its header in `{name}_header`")
        if self.timestamp_header is not None and "{timestamp}" not in self.template:
            raise ValueError("a time that is not signed proves nothing; put {timestamp} into `template`")
        return self


class PushLimits(Declared):
    """What is refused because it is too much."""

    body: Size = Field(default=16 << 20, ge=1, le=1 << 30)
    """Bytes of one delivery as it comes."""
    decompressed: Size = Field(default=64 << 20, ge=1, le=4 << 30)
    """Bytes of one delivery when unpacked."""
    records: int = Field(default=10_000, ge=1, le=1_000_000)
    """Records of one delivery. One with more is refused whole."""
    record: Size = Field(default=1 << 20, ge=1, le=1 << 28)
    """Bytes of one record (a line of a stream)."""
    nesting: int = Field(default=64, ge=1, le=500)
    """How deep values lie within values."""
    waiting: int = Field(default=100_000, ge=1)
    """Deliveries that wait to be landed. Over it, new ones are told to come later."""


class PushStreamSpec(StreamDefaults):
    """One kind of record that is pushed, and what becomes of it."""

    name: Name
    """The stream's name in asset keys and table paths."""
    description: str | None = None
    """What the stream holds, shown in the UI."""
    primary_key: tuple[str, ...] = ()
    """Columns that identify a record: then a later one replaces an earlier one. Default: all are kept."""
    formats: tuple[PushFormat, ...] = Field(default=("json", "ndjson"), min_length=1)
    """In which formats records are accepted."""
    columns: dict[str, str] | None = None
    """Declared column types (`decimal(12,2)`, `timestamp`, …). Others are found in the records."""
    events: tuple[str, ...] = ()
    """Webhooks whose event type (see `event_type`) is one of these belong here; `order.*` is all that begin
    so. Default: every one that no other stream names."""
    record: str | None = Field(default=None, min_length=1)
    """Where the record is within a delivery: a path such as `data.object`. Default: the whole of it.
    For XML the name of the element that is a record; default: the root's children."""
    realtime: bool = False
    """Landed within a second by `sis drain`, instead of by runs."""
    refine: tuple[StepSpec, ...] = ()
    """The steps from raw to refined rows, in order. Default: rows are taken over as they are."""
    expect: tuple[ExpectSpec, ...] = ()
    """Checks of the refined rows."""
    dictionary: DictionarySpec = DictionarySpec()
    """How the stream is described."""

    def spec(self, limits: PushLimits, headers: tuple[str, ...] = ()) -> StreamSpec:
        """The stream as it is landed and as the stages after `raw` know it: read by position, merged if it has
        a primary key. `headers` are the columns for them."""
        shared = {n: getattr(self, n) for n in StreamDefaults.model_fields}
        options = {
            "columns": self.columns or {},
            "record": self.record,
            "decompressed": limits.decompressed,
            "record_bytes": limits.record,
            "nesting": limits.nesting,
            **({"headers": headers} if headers else {}),
        }
        return StreamSpec(
            name=self.name,
            endpoint=self.name,
            options=options,
            description=self.description,
            primary_key=self.primary_key,
            sync=SyncSpec(mode="incremental", by="position"),
            refine=self.refine,
            expect=self.expect,
            dictionary=self.dictionary,
            **shared,
        )

    def takes(self, event: str) -> bool:
        """Whether one of `events` names that event type."""
        return any(
            event == e or (e.endswith("*") and event.startswith(e.removesuffix("*"))) for e in self.events
        )


class PushSourceSpec(Declared):
    """A customer system that sends its records to the gateway."""

    name: SourceName
    """The source's name: the group in the UI, the first part of asset keys, and the end of its URL."""
    tenant: Name = "default"
    """Whose data it is: the first folder in the lake. Only this tenant's keys may push to it."""
    owners: tuple[str, ...] = ()
    """`team:name` or e-mail addresses, shown in the UI and told about failures."""
    description: str | None = None
    """What the system is."""
    signature: SignatureSpec | None = None
    """How webhooks are signed. Without it the source takes none: only pushes with an API key."""
    event_type: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")
    """Where a webhook says what it is about: a path in its JSON, such as `type` or `event.name`."""
    event_header: str | None = Field(default=None, pattern=_HEADER.pattern)
    """The header that says it instead, such as `X-GitHub-Event`."""
    headers: dict[str, str] = Field(default_factory=dict, max_length=20)
    """Columns for headers of webhooks, such as `{github_event: X-GitHub-Event}`: text, NULL where it was not sent."""
    form_field: str | None = Field(default=None, min_length=1)
    """The field that holds the JSON where webhooks come as a form, such as `payload`. Default: forms are refused."""
    limits: PushLimits = PushLimits()
    """What is refused because it is too much."""
    allow_ips: tuple[str, ...] = ()
    """The only addresses and networks deliveries are taken from. Default: all."""
    defaults: StreamDefaults = StreamDefaults()
    """Keys that every stream has unless it says otherwise."""
    streams: tuple[PushStreamSpec, ...] = Field(min_length=1)
    """What is pushed, each as its own chain of assets."""

    @field_validator("allow_ips")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ip_network(text, strict=False)
            except ValueError:
                raise ValueError(f"'{text}' is no address or network, such as 203.0.113.0/24") from None
        return value

    @field_validator("streams")
    @classmethod
    def _names_are_unique(cls, value: tuple[PushStreamSpec, ...]) -> tuple[PushStreamSpec, ...]:
        check_unique([s.name for s in value])
        return value

    @field_validator("event_header")
    @classmethod
    def _in_lower_case(cls, value: str | None) -> str | None:
        return None if value is None else value.lower()

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, value: dict[str, str]) -> dict[str, str]:
        for column, header in value.items():
            if not re.fullmatch(_HEADER, header) or not column.strip() or column.startswith(RESERVED_PREFIX):
                raise ValueError(f"'{column}: {header}' is no column and the name of its header")
            if header.lower() in _SECRET_HEADERS or "signature" in header.lower():
                raise ValueError(f"'{header}' holds a secret, which is kept nowhere")
        check_unique([column.casefold() for column in value])
        return {column: header.lower() for column, header in value.items()}

    @model_validator(mode="before")
    @classmethod
    def _apply_defaults(cls, data: Any) -> Any:
        return with_defaults(data)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.event_type is not None and self.event_header is not None:
            raise ValueError("a webhook names its event in `event_type` or in `event_header`, not in both")
        names_event = self.event_type is not None or self.event_header is not None
        if any(s.events for s in self.streams) and not names_event:
            raise ValueError(
                "streams have `events`; say in `event_type` or `event_header` where a webhook names its event"
            )
        for stream in self.streams:
            if twice := self.headers.keys() & (stream.columns or {}).keys():
                raise ValueError(
                    f"stream '{stream.name}': column '{min(twice)}' is declared for a header too"
                )
        if len([s for s in self.streams if not s.events]) > 1 and names_event:
            raise ValueError("only one stream may be without `events`: it takes what no other names")
        return self

    @property
    def landed(self) -> SourceSpec:
        """The source as it is landed: what the gateway accepted for it, read from the inbox."""
        return SourceSpec(
            name=self.name,
            tenant=self.tenant,
            owners=self.owners,
            description=self.description,
            connection={"kind": "inbox", "tenant": self.tenant, "source": self.name},
            streams=tuple(s.spec(self.limits, tuple(self.headers)) for s in self.streams),
        )

    def stream(self, name: str) -> PushStreamSpec:
        """The stream of that name. Raises KeyError."""
        for found in self.streams:
            if found.name == name:
                return found
        raise KeyError(name)

    def stream_of(self, event: str | None) -> PushStreamSpec | None:
        """The stream that a webhook of that event type belongs to; None if there is none."""
        if event is not None:
            for found in self.streams:
                if found.takes(event):
                    return found
        others = [s for s in self.streams if not s.events]
        return others[0] if len(others) == 1 else None
