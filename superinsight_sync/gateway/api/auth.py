"""Tokens for keys: OAuth 2.0 client credentials, refreshing (RFC 6749), revocation (RFC 7009)."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote_plus

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from superinsight_sync.gateway.access import client_ip, headers_of
from superinsight_sync.gateway.answers import RequestError
from superinsight_sync.gateway.api.context import Reached, Told
from superinsight_sync.gateway.api.problems import GrantError
from superinsight_sync.receive.refusals import UnsupportedError
from superinsight_sync.security.grants import Granted, Grants
from superinsight_sync.security.jwt_tokens import TOKEN_SECRET
from superinsight_sync.security.refusals import UnauthenticatedError

_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 20


class Tokens(Told):
    """An access token, and what it is renewed with."""

    access_token: str
    """A JSON Web Token, sent as `Authorization: Bearer …`."""
    token_type: str = Field(pattern="^Bearer$")
    expires_in: int = Field(ge=1)
    """Seconds that the access token lives."""
    refresh_token: str
    """Used once: each use gives the next. Using an old one ends the session."""


async def give_token(request: Request, reach: Reached) -> Tokens:
    """Gives an access token and a refresh token.

    `grant_type=client_credentials`: for a key. Its id (`client_id`) and its secret part (`client_secret`) come
    in the form, or as HTTP Basic. `grant_type=refresh_token`: for a `refresh_token`, which is used up.
    """
    grants = _grants(reach)
    form = await _form(request)
    headers, ip = headers_of(request.scope), client_ip(request.scope)
    match form.get("grant_type"):
        case "client_credentials":
            client_id, secret = _client(form, headers)
            try:
                granted = await asyncio.to_thread(grants.session, client_id, secret, headers, ip)
            except UnauthenticatedError as error:
                raise GrantError(401, "invalid_client", error.message) from None
        case "refresh_token":
            token = _field(form, "refresh_token")
            try:
                granted = await asyncio.to_thread(grants.refresh, token, headers, ip)
            except UnauthenticatedError:
                message = "the refresh token does not hold, or was used before"
                raise GrantError(400, "invalid_grant", message) from None
        case None:
            raise GrantError(400, "invalid_request", "the form has no grant_type")
        case _:
            message = "grant_type is client_credentials or refresh_token"
            raise GrantError(400, "unsupported_grant_type", message)
    return _told(granted)


async def end_session(request: Request, reach: Reached) -> Response:
    """Ends the session of a refresh token: a logout.

    The answer is the same for a token that is none. An access token cannot be taken back: it lives its minutes,
    or ends with its key.
    """
    grants = _grants(reach)
    token = _field(await _form(request), "token")
    if token.startswith("eyJ"):
        raise GrantError(400, "unsupported_token_type", "only a refresh token can be revoked")
    headers, ip = headers_of(request.scope), client_ip(request.scope)
    await asyncio.to_thread(grants.end, token, headers, ip)
    return Response(status_code=200)


def _grants(reach: Reached) -> Grants:
    if reach.grants is None:
        hint = f"Use the API key itself; who runs the gateway can set {TOKEN_SECRET}"
        raise RequestError(501, "tokens are not set up on this gateway", hint=hint)
    return reach.grants


async def _form(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != _FORM:
        raise UnsupportedError("the body is not a form", hint=f"Send {_FORM}")
    try:
        text = (await request.body()).decode("ascii")
        found = parse_qs(text, strict_parsing=bool(text), max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise GrantError(400, "invalid_request", "the form cannot be read") from None
    if any(len(values) > 1 for values in found.values()):
        raise GrantError(400, "invalid_request", "a field of the form is there twice")
    return {name: values[0] for name, values in found.items()}


def _field(form: Mapping[str, str], name: str) -> str:
    if name not in form:
        raise GrantError(400, "invalid_request", f"the form has no {name}")
    return form[name]


def _client(form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str]:
    """Id and secret, from the one place where they are. Raises GrantError."""
    scheme, _, coded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return _field(form, "client_id"), _field(form, "client_secret")
    if "client_secret" in form:
        raise GrantError(
            400, "invalid_request", "the client proves itself in one way: the form, or HTTP Basic"
        )
    try:
        text = base64.b64decode(coded.strip(), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise GrantError(401, "invalid_client", UnauthenticatedError().message) from None
    client_id, _, secret = text.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)


def _told(granted: Granted) -> Tokens:
    return Tokens(
        access_token=granted.access_token,
        token_type="Bearer",
        expires_in=granted.expires_in_s,
        refresh_token=granted.refresh_token,
    )
