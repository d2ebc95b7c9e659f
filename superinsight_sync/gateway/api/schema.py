"""The whole gateway as one OpenAPI document: the control API's routes, and the push routes beside them."""

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from superinsight_sync.gateway import push_openapi
from superinsight_sync.gateway.api.context import ROOT

JsonObject = dict[str, Any]

_TEXT = """Takes what customers push, and shows what became of it.

Every address wants an API key, or an access token given for one, but the webhooks (signed by their senders),
the health checks and those that give tokens. Problems are `application/problem+json` (RFC 9457).

Numbered messages are taken over WebSocket at `/api/v1/sync/push/ws`, which OpenAPI has no words for."""

_WORDS = {
    400: "Malformed.",
    401: "Not authenticated: credentials are missing or do not hold.",
    403: "Not allowed.",
    404: "Not there, or not the caller's.",
    405: "This address does not take this method.",
    408: "The body came too slowly.",
    409: "In progress, or not now: see `detail`.",
    410: "Gone.",
    411: "The length of the body is not told.",
    412: "Another version of the protocol is spoken here.",
    413: "Too large.",
    415: "A type or encoding that is not taken.",
    422: "Of the wrong shape.",
    423: "Another connection is at this upload: ask again in a moment.",
    429: "Too much at once: come again after `Retry-After` seconds.",
    460: "The bytes are not those of the checksum.",
    501: "Not set up on this gateway.",
    503: "Not now: come again after `Retry-After` seconds.",
    507: "No room on the disk: come again after `Retry-After` seconds.",
}
_EVERYWHERE = (400, 401, 403, 408, 411, 413, 422, 429, 503)
_RETRIED = (409, 423, 429, 503, 507)

_PROBLEM: JsonObject = {
    "type": "object",
    "properties": {
        "type": {"const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "request_id": {"type": "string", "description": "As in `X-Request-Id`, and in the gateway's log."},
        "errors": {
            "type": "array",
            "description": "What of the request has not the right shape.",
            "items": {
                "type": "object",
                "properties": {"at": {"type": "string"}, "reason": {"type": "string"}},
                "required": ["at", "reason"],
            },
        },
        "error": {"type": "string", "description": "At the addresses for tokens: the code of RFC 6749."},
        "committed": {"type": "integer", "description": "At streams: the last line that is stored."},
    },
    "required": ["type", "title", "status", "detail"],
}
_SCHEMES: JsonObject = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or an access token."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "oauth2": {
        "type": "oauth2",
        "description": "A key's id as client id, its last part as client secret.",
        "flows": {"clientCredentials": {"tokenUrl": f"{ROOT}/auth/token", "scopes": {}}},
    },
    "client": {"type": "http", "scheme": "basic", "description": "A key's id, and its last part."},
}
_HEADERS: JsonObject = {
    "RequestId": {
        "description": "The request's id: the sender's own, or a new one.",
        "schema": {"type": "string"},
    },
    "RetryAfter": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
    "Location": {"description": "Where it is.", "schema": {"type": "string"}},
}


def _form(security: list[JsonObject], *forms: JsonObject) -> JsonObject:
    shapes = [{"type": "object", "properties": fields, "required": list(fields)} for fields in forms]
    schema = shapes[0] if len(shapes) == 1 else {"anyOf": shapes}
    content = {"application/x-www-form-urlencoded": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}, "security": security}


_CLIENT: JsonObject = {
    "client_id": {"type": "string", "pattern": "^[0-9a-f]{8}$"},
    "client_secret": {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"},
}
TOKEN_FORM = _form(
    [{"client": []}, {}],
    {"grant_type": {"const": "client_credentials"}, **_CLIENT},
    {
        "grant_type": {"const": "refresh_token"},
        "refresh_token": {"type": "string", "pattern": "^sis_refresh_[A-Za-z0-9_-]{43}$"},
    },
    {"grant_type": {"const": "client_credentials"}},
)
REVOKE_FORM = _form([{}], {"token": {"type": "string", "minLength": 1}})


_ITSELF: JsonObject = {
    "get": {
        "operationId": "openapi",
        "tags": ["me"],
        "summary": "This document.",
        "responses": {
            "200": {"description": "It.", "content": {"application/json": {"schema": {"type": "object"}}}}
        },
        "refused": [400, 401, 403, 429, 503],
    }
}


def document(api: FastAPI, refused: Mapping[str, Iterable[int]]) -> JsonObject:
    """The document.

    Args:
        refused: by operation id, with which statuses a route turns requests away beside those that all have.
    """
    told = get_openapi(
        title=api.title,
        version=_version(),
        openapi_version="3.1.0",
        description=_TEXT,
        routes=api.routes,
        tags=[{"name": n} for n in ("push", "inbox", "sources", "keys", "audit", "auth", "me", "health")],
    )
    for item in told["paths"].values():
        for operation in item.values():
            _refuse(operation, [*_EVERYWHERE, *refused[operation["operationId"]]])
    for path, item in {f"{ROOT}/openapi.json": _ITSELF, **push_openapi.PATHS}.items():
        told["paths"][path] = {method: _pushed(operation) for method, operation in item.items()}
    told["security"] = [{"bearer": []}, {"key": []}, {"oauth2": []}]
    schemas = {n: s for n, s in told["components"]["schemas"].items() if "ValidationError" not in n}
    told["components"] = {
        "schemas": {**schemas, **push_openapi.SCHEMAS, "Problem": _PROBLEM},
        "responses": {f"Problem{status}": _response(status) for status in _WORDS},
        "securitySchemes": _SCHEMES,
        "headers": _HEADERS,
    }
    return told


def _pushed(operation: JsonObject) -> JsonObject:
    made = {name: value for name, value in operation.items() if name != "refused"}
    made["responses"] = dict(made["responses"])
    _refuse(made, operation["refused"])
    return made


def _refuse(operation: JsonObject, statuses: Iterable[int]) -> None:
    responses = operation["responses"]
    for status, response in list(responses.items()):
        headers = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
        if operation["operationId"] in ("make_key", "replay_delivery"):
            headers["Location"] = {"$ref": "#/components/headers/Location"}
        responses[status] = {**response, "headers": {**headers, **response.get("headers", {})}}
    for code in sorted(set(statuses)):
        responses[str(code)] = {"$ref": f"#/components/responses/Problem{code}"}


def _response(status: int) -> JsonObject:
    headers: JsonObject = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    if status in _RETRIED:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter", "required": True}
    if status == 401:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": _WORDS[status], "headers": headers, "content": content}


def _version() -> str:
    try:
        return version("superinsight-sync")
    except PackageNotFoundError:
        return "0"
