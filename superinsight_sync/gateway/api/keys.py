"""API keys of a tenant, kept by its admins."""

import logging
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, Field
from starlette.responses import Response

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.gateway.answers import RequestError
from superinsight_sync.gateway.api.context import ROOT, Caller, Given, Reached, Told
from superinsight_sync.model.written import Name
from superinsight_sync.security.api_keys import ApiKey
from superinsight_sync.security.networks import Networks
from superinsight_sync.security.refusals import ForbiddenError
from superinsight_sync.security.roles import Principal, Role

_log = logging.getLogger(__name__)
_TEN_YEARS_S = 10 * 365 * 86_400

KeyId = Annotated[str, Path(pattern="^[0-9a-f]{8}$", description="The key's id: eight hex digits.")]


def _network(text: str) -> str:
    try:
        Networks([text])
    except ConfigError:
        raise ValueError("is no address or network, such as 192.0.2.0/24") from None
    return text


Network = Annotated[
    str, Field(max_length=64, json_schema_extra={"format": "ip-network"}), AfterValidator(_network)
]


class KeyWanted(Given):
    """The key that is to be made."""

    name: str = Field(
        min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$", description="Who holds it."
    )
    role: Role
    sources: list[Name] = Field(
        default=[], max_length=100, description="The only sources it reaches; none: all."
    )
    networks: list[Network] = Field(
        default=[], max_length=100, description="The only networks it is taken from; none: all."
    )
    expires_in_s: int | None = Field(
        default=None, ge=60, le=_TEN_YEARS_S, description="When it ends, in seconds from now. Default: never."
    )


class KeyTold(Told):
    """A key without what is secret of it."""

    id: str
    name: str
    role: str
    sources: list[str]
    networks: list[str]
    holds: bool = Field(description="Neither revoked nor ended.")
    created_at: datetime
    not_after: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To within seconds.")


class KeyMade(Told):
    """A new key. Nothing else ever shows it."""

    id: str
    key: str = Field(
        description="To be sent as `Authorization: Bearer …` or `X-API-Key: …`. Shown this once."
    )
    client_secret: str = Field(description="Its last part, for the token endpoint; `client_id` is the id.")
    tenant: str
    role: str
    not_after: datetime | None


class Keys(Told):
    """All keys of the tenant, oldest first."""

    keys: list[KeyTold]


def list_keys(caller: Caller, reach: Reached) -> Keys:
    """The tenant's keys, also those that hold no longer."""
    _check(caller)
    return Keys(keys=[_told(key) for key in reach.keys.list(caller.tenant)])


def make_key(wanted: KeyWanted, caller: Caller, reach: Reached, response: Response) -> KeyMade:
    """Makes a key of the caller's tenant and shows it, this once: only its hash is kept."""
    _check(caller)
    not_after = (
        utc_now() + timedelta(seconds=wanted.expires_in_s) if wanted.expires_in_s is not None else None
    )
    made = reach.keys.create(
        wanted.name,
        wanted.role,
        tenant=caller.tenant,
        sources=wanted.sources,
        networks=wanted.networks,
        not_after=not_after,
    )
    _log.info("key %s made key %s (%s)", caller.key_id, made.id, wanted.role)
    response.headers["location"] = f"{ROOT}/keys/{made.id}"
    return KeyMade(
        id=made.id,
        key=made.text,
        client_secret=made.secret,
        tenant=caller.tenant,
        role=wanted.role,
        not_after=not_after,
    )


def revoke_key(key_id: KeyId, caller: Caller, reach: Reached) -> Response:
    """Ends a key, and the sessions begun with it. Other gateways notice within seconds."""
    _check(caller)
    found = reach.keys.find(key_id)
    if found is None or found.tenant != caller.tenant:
        raise RequestError(404, "there is no such key")
    if reach.keys.revoke(key_id, tenant=caller.tenant):
        _log.info("key %s revoked key %s", caller.key_id, key_id)
    reach.access.forget(key_id)
    return Response(status_code=204)


def _check(caller: Principal) -> None:
    # Who is bound to some sources would make himself a key that is not.
    if not caller.may("manage_keys"):
        raise ForbiddenError()


def _told(key: ApiKey) -> KeyTold:
    return KeyTold(
        id=key.id,
        name=key.name,
        role=key.role,
        sources=list(key.sources),
        networks=list(key.networks),
        holds=key.holds(utc_now()),
        created_at=key.created_at,
        not_after=key.not_after,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
    )
