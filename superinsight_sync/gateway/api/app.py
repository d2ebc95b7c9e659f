"""The control API as an application: its routes, each with the right it needs."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from superinsight_sync.core.errors import SisError
from superinsight_sync.gateway.api import audit, auth, deliveries, keys, problems, sources
from superinsight_sync.gateway.api.context import ROOT, Reach, needs
from superinsight_sync.gateway.api.deliveries import Octets
from superinsight_sync.gateway.api.guard import Door
from superinsight_sync.gateway.api.schema import REVOKE_FORM, TOKEN_FORM, document


class _Way(NamedTuple):
    """A route.

    Attributes:
        action: of `security.roles.ACTIONS`, which the caller's role must allow; "" for every holder of a key, and
            for the addresses of `door.OPEN`, which have none.
        refused: statuses it is answered with beside those that all are.
    """

    method: str
    path: str
    call: Callable[..., Any]
    action: str
    refused: tuple[int, ...] = ()
    status: int = 200
    answer: type[Response] = JSONResponse
    told: dict[str, Any] | None = None


_WAYS = (
    _Way("POST", "/auth/token", auth.give_token, "", (415, 501), told=TOKEN_FORM),
    _Way("POST", "/auth/revoke", auth.end_session, "", (415, 501), answer=Response, told=REVOKE_FORM),
    _Way("GET", "/me", sources.me, ""),
    _Way("GET", "/sources", sources.list_sources, ""),
    _Way("GET", "/inbox/deliveries", deliveries.list_deliveries, "read", (404,)),
    _Way("GET", "/inbox/deliveries/{delivery_id}", deliveries.show_delivery, "read", (404,)),
    _Way(
        "GET",
        "/inbox/deliveries/{delivery_id}/body",
        deliveries.show_body,
        "read_records",
        (404, 410),
        answer=Octets,
    ),
    _Way(
        "POST",
        "/inbox/deliveries/{delivery_id}/replay",
        deliveries.replay_delivery,
        "control",
        (404, 409),
        status=202,
    ),
    _Way("GET", "/audit", audit.list_audit, "read_audit"),
    _Way("GET", "/keys", keys.list_keys, "manage_keys"),
    _Way("POST", "/keys", keys.make_key, "manage_keys", status=201),
    _Way("DELETE", "/keys/{key_id}", keys.revoke_key, "manage_keys", (404,), status=204, answer=Response),
)


def build_api(reach: Reach) -> Door:
    """The application, behind its door."""
    api = build_routes()
    api.state.reach = reach
    return Door(api, reach.access)


def build_routes() -> FastAPI:
    """The routes and, from its ``openapi()``, the document of the whole gateway. Nothing is behind them yet."""
    api = _Described(
        title="SuperInsight Sync gateway",
        openapi_url=f"{ROOT}/openapi.json",
        docs_url=None,  # the page that comes with the framework loads its parts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            SisError: problems.told,
            HTTPException: problems.not_taken,
            RequestValidationError: problems.not_valid,
            Exception: problems.unforeseen,
        },
    )
    for way in _WAYS:
        _add(api, way)
    return api


class _Described(FastAPI):
    """With the document of the push routes too."""

    def openapi(self) -> dict[str, Any]:
        self.openapi_schema = self.openapi_schema or document(
            self, {way.call.__name__: way.refused for way in _WAYS}
        )
        return self.openapi_schema


def _add(api: FastAPI, way: _Way) -> None:
    title, _, text = (way.call.__doc__ or "").partition("\n")
    api.add_api_route(
        f"{ROOT}{way.path}",
        way.call,
        methods=[way.method],
        dependencies=[Depends(needs(way.action))] if way.action else [],
        status_code=way.status,
        response_class=way.answer,
        openapi_extra=way.told,
        operation_id=way.call.__name__,
        tags=[way.path.split("/")[1]],
        summary=title,
        description="\n".join(line.strip() for line in text.splitlines()).strip(),
    )
