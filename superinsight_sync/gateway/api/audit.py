"""The audit log of a tenant, for its admins."""

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field

from superinsight_sync.gateway.api.context import Caller, Given, Moment, Reached, Told
from superinsight_sync.security.refusals import ForbiddenError
from superinsight_sync.state.audit import AuditFilter

_Text = Annotated[str, Field(max_length=300)]


class AuditWanted(Given):
    """Which records are wanted, and which page of them."""

    action: _Text | None = None
    actor: _Text | None = None
    object: _Text | None = None
    result: _Text | None = None
    since: Moment | None = Field(default=None, description="Written then or later.")
    until: Moment | None = Field(default=None, description="Written before then.")
    before: int | None = Field(default=None, ge=1, le=1 << 53, description="`next` of the page before.")
    limit: int = Field(default=100, ge=1, le=500)


class AuditRecord(Told):
    """What was done."""

    seq: int = Field(description="Its number in the tenant's chain.")
    at: str
    actor: str
    actor_kind: Literal["user", "key", "person"]
    origin: str = Field(description="Host or address.")
    action: str
    object: str
    phase: Literal["done", "intent", "outcome"]
    result: str
    ref: int | None = Field(description="Of an outcome, the number of its intent.")
    detail: dict[str, Any]
    prev: str = Field(description="The hash of the record before.")
    hash: str


class AuditPage(Told):
    """Records, newest first."""

    records: list[AuditRecord]
    next: int | None = Field(description="Send it as `before` for older ones; null if there are none.")


def list_audit(wanted: Annotated[AuditWanted, Query()], caller: Caller, reach: Reached) -> AuditPage:
    """The newest records of the tenant's audit log, a page at a time."""
    if not caller.may("read_audit"):  # who is bound to some sources would see the others
        raise ForbiddenError()
    only = AuditFilter(
        action=wanted.action,
        actor=wanted.actor,
        object=wanted.object,
        result=wanted.result,
        since=wanted.since,
        until=wanted.until,
    )
    log = reach.engine.state.audit
    found = log.list(caller.tenant, only, before=wanted.before, limit=wanted.limit + 1)
    page = found[: wanted.limit]
    return AuditPage(
        records=[AuditRecord(**{name: r[name] for name in AuditRecord.model_fields}) for r in page],
        next=page[-1]["seq"] if len(found) > len(page) else None,
    )
