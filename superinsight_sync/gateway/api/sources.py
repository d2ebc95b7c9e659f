"""Who the caller is, and what it can push to."""

from pydantic import Field

from superinsight_sync.gateway.api.context import Caller, Reached, Told
from superinsight_sync.gateway.app import PREFIX
from superinsight_sync.model.push import PushFormat, PushLimits, PushSourceSpec
from superinsight_sync.security.roles import ACTIONS


class Me(Told):
    """Who asks."""

    key_id: str
    tenant: str
    role: str
    sources: list[str] = Field(description="The only sources it reaches; empty means all of the tenant.")
    actions: list[str] = Field(description="What the role allows.")


class StreamTold(Told):
    """One kind of record that is pushed."""

    name: str
    description: str | None
    formats: list[PushFormat]
    primary_key: list[str]
    events: list[str] = Field(description="Types of the webhooks that belong here.")


class LimitsTold(Told):
    """What is refused because it is too much."""

    body_bytes: int
    decompressed_bytes: int
    records: int
    record_bytes: int
    nesting: int
    waiting: int


class AddressesTold(Told):
    """Where it is pushed to, on this gateway."""

    webhook: str | None = Field(description="Null if the source takes no webhooks.")
    batch: str
    stream: str
    file: str
    socket: str


class SourceTold(Told):
    """A push source, without its secrets."""

    name: str
    description: str | None
    is_receiving: bool = Field(description="False if it is not set up: the gateway's log says why.")
    signature: str | None = Field(description="The scheme that webhooks are signed by.")
    urls: AddressesTold
    allow_ips: list[str]
    limits: LimitsTold
    streams: list[StreamTold]


class Sources(Told):
    """Push sources by name."""

    sources: list[SourceTold]


def me(caller: Caller) -> Me:
    """Who the credentials are."""
    return Me(
        key_id=caller.key_id,
        tenant=caller.tenant,
        role=caller.role,
        sources=list(caller.sources),
        actions=[action for action in ACTIONS if caller.can(action)],
    )


def list_sources(caller: Caller, reach: Reached) -> Sources:
    """The push sources that the caller may push to or see."""
    mine = [
        spec
        for spec in reach.sources
        if any(caller.may(action, spec.tenant, spec.name) for action in ("push", "read"))
    ]
    return Sources(
        sources=[
            _told(spec, reach.receivers.get(spec.name) is not None)
            for spec in sorted(mine, key=lambda spec: spec.name)
        ]
    )


def _told(spec: PushSourceSpec, is_receiving: bool) -> SourceTold:
    return SourceTold(
        name=spec.name,
        description=spec.description,
        is_receiving=is_receiving,
        signature=spec.signature.scheme if spec.signature else None,
        urls=AddressesTold(
            webhook=f"{PREFIX}/webhook/{spec.name}" if spec.signature else None,
            batch=f"{PREFIX}/batch?source={spec.name}",
            stream=f"{PREFIX}/stream?source={spec.name}",
            file=f"{PREFIX}/file?source={spec.name}",
            socket=f"{PREFIX}/ws?source={spec.name}",
        ),
        allow_ips=list(spec.allow_ips),
        limits=_limits(spec.limits),
        streams=[
            StreamTold(
                name=stream.name,
                description=stream.description,
                formats=list(stream.formats),
                primary_key=list(stream.primary_key),
                events=list(stream.events),
            )
            for stream in spec.streams
        ],
    )


def _limits(limits: PushLimits) -> LimitsTold:
    return LimitsTold(
        body_bytes=limits.body,
        decompressed_bytes=limits.decompressed,
        records=limits.records,
        record_bytes=limits.record,
        nesting=limits.nesting,
        waiting=limits.waiting,
    )
