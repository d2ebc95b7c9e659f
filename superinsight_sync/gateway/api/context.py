"""What the routes have in common: what they reach, who asks, and the forms of what they are told."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict
from starlette.requests import Request

from superinsight_sync.gateway.receivers import Receivers
from superinsight_sync.model.push import PushSourceSpec
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.security.access import Access
from superinsight_sync.security.grants import Grants
from superinsight_sync.security.refusals import ForbiddenError
from superinsight_sync.security.roles import Principal
from superinsight_sync.state.keys import ApiKeys

ROOT = "/api/v1"
_DATE_AND_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]", re.ASCII)


@dataclass(frozen=True)
class Reach:
    """What the routes reach.

    Attributes:
        engine: the inbox, and what a replay asks the lake.
        grants: None where tokens are not set up.
        sources: the declared push sources, also those that cannot receive.
    """

    engine: Engine
    access: Access
    keys: ApiKeys
    grants: Grants | None
    receivers: Receivers
    sources: tuple[PushSourceSpec, ...]


def _reach(request: Request) -> Reach:
    reach: Reach = request.app.state.reach
    return reach


def _caller(request: Request) -> Principal:
    caller: Principal = request.scope["principal"]
    return caller


Reached = Annotated[Reach, Depends(_reach)]
Caller = Annotated[Principal, Depends(_caller)]


def needs(action: str) -> Callable[[Principal], None]:
    """A dependency: the caller's role allows `action`. Which sources it may do it to, routes see to."""

    def check(caller: Caller) -> None:
        if not caller.can(action):
            raise ForbiddenError()

    return check


def _written_out(value: object) -> object:
    if isinstance(value, str) and not _DATE_AND_TIME.match(value):
        raise ValueError("is no date and time, such as 2027-01-31T08:00:00Z")
    return value


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("is no time that can be written in UTC") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]


class Given(BaseModel):
    """What a request says. A word it does not know is refused, so that a misspelt one is not passed over."""

    model_config = ConfigDict(extra="forbid")


class Told(BaseModel):
    """What an answer says."""

    model_config = ConfigDict(frozen=True, extra="forbid")
