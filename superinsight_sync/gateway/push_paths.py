"""The push routes in OpenAPI. They are plain ASGI, so that what they take is written down here by hand.

An operation lists in `refused` with which statuses it turns requests away; the schema makes answers of them.
"""

from typing import Any

from superinsight_sync.gateway.app import PREFIX

JsonObject = dict[str, Any]

_SOURCE = {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"}
_MANY_REFUSALS = [400, 401, 403, 404, 408, 411, 413, 415, 422, 429, 503]


def _parameter(place: str, name: str, schema: JsonObject, text: str, *, required: bool = False) -> JsonObject:
    return {"in": place, "name": name, "schema": schema, "description": text, "required": required}


def _json(name: str, text: str) -> JsonObject:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _records(*media: str, json_schema: JsonObject | None = None) -> JsonObject:
    schemas = {"application/json": json_schema or {"$ref": "#/components/schemas/Records"}}
    return {"required": True, "content": {m: {"schema": schemas.get(m, {"type": "string"})} for m in media}}


_ENCODING = _parameter(
    "header", "Content-Encoding", {"enum": ["identity", "gzip", "deflate"]}, "How the body is packed."
)
_STREAM = _parameter("query", "stream", _SOURCE, "The stream; may be left out if the source has one only.")
_BATCH_ID = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$"}

PATHS: JsonObject = {
    f"{PREFIX}/webhook/{{id}}": {
        "post": {
            "operationId": "push_webhook",
            "tags": ["push"],
            "summary": "Takes one event, signed by its sender.",
            "description": "The signature's headers are those of the source's scheme (Standard Webhooks, GitHub, "
            "Stripe, Svix, or declared ones) over the bytes as they come. No key is needed.",
            "security": [],
            "parameters": [
                _parameter("path", "id", {"type": "string"}, "The push source's name.", required=True),
                _ENCODING,
            ],
            "requestBody": _records(
                "application/json",
                "application/x-ndjson",
                "text/csv",
                "application/xml",
                json_schema={"type": ["object", "array"]},
            ),
            "responses": {
                "202": _json("Stored", "Stored: it is on the disk."),
                "200": _json("Stored", "Was stored before."),
            },
            "refused": _MANY_REFUSALS,
        }
    },
    f"{PREFIX}/batch": {
        "post": {
            "operationId": "push_batch",
            "tags": ["push"],
            "summary": "Takes many records at once.",
            "description": "Either records in any format of the stream, with `source` (and `stream`) in the query, "
            "or a JSON envelope that names them. A batch with too many records is refused whole.",
            "parameters": [
                _parameter("query", "source", _SOURCE, "The push source; left out with an envelope."),
                _STREAM,
                _parameter(
                    "header",
                    "Idempotency-Key",
                    {"type": "string", "pattern": '^"?[!-~]{1,255}"?$'},
                    "By which the batch is known when it comes again. Default: its content.",
                ),
                _ENCODING,
            ],
            "requestBody": _records(
                "application/json",
                "application/x-ndjson",
                "text/csv",
                "application/xml",
                json_schema={
                    "anyOf": [
                        {"$ref": "#/components/schemas/Envelope"},
                        {"$ref": "#/components/schemas/Records"},
                    ]
                },
            ),
            "responses": {
                "202": _json("StoredBatch", "Stored: it is on the disk."),
                "200": _json("StoredBatch", "Was stored before."),
            },
            "refused": _MANY_REFUSALS,
        }
    },
    f"{PREFIX}/stream": {
        "post": {
            "operationId": "push_stream",
            "tags": ["push"],
            "summary": "Takes lines without end, and stores them as they come.",
            "description": "NDJSON or CSV. What broke off is sent again with the same `X-Batch-Id`; a problem says "
            "in `committed` up to which line all is stored.",
            "parameters": [
                _parameter("query", "source", _SOURCE, "The push source.", required=True),
                _STREAM,
                _parameter(
                    "query",
                    "line",
                    {"type": "integer", "minimum": 1},
                    "NDJSON: the number of the first line sent.",
                ),
                _parameter("header", "X-Batch-Id", _BATCH_ID, "Names the whole stream. Default: a new one."),
            ],
            "requestBody": _records("application/x-ndjson", "text/csv"),
            "responses": {
                "202": _json("StoredStream", "Stored to the end."),
                "200": _json("StoredStream", "Was stored before."),
            },
            "refused": [400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503],
        }
    },
    f"{PREFIX}/stream/{{batch}}": {
        "get": {
            "operationId": "stream_position",
            "tags": ["push"],
            "summary": "Tells up to which line a stream is stored.",
            "parameters": [
                _parameter("path", "batch", _BATCH_ID, "What was sent as `X-Batch-Id`.", required=True),
                _parameter("query", "source", _SOURCE, "The push source.", required=True),
            ],
            "responses": {"200": _json("Position", "The last line that is stored.")},
            "refused": [400, 401, 403, 404, 429, 503],
        }
    },
    "/health/live": {
        "get": {
            "operationId": "live",
            "tags": ["health"],
            "summary": "Whether the process lives.",
            "security": [],
            "responses": {"200": _json("Health", "It does.")},
            "refused": [],
        }
    },
    "/health/ready": {
        "get": {
            "operationId": "ready",
            "tags": ["health"],
            "summary": "Whether the inbox can be reached and the disk has room.",
            "security": [],
            "responses": {"200": _json("Health", "It can.")},
            "refused": [503],
        }
    },
}

_COUNT = {"type": "integer", "minimum": 0}
_REASON = {"type": "string"}
_OUTCOME = {
    "id": {"type": "string", "description": "The delivery; of the first one if it came again."},
    "status": {"enum": ["stored", "duplicate"]},
}


def _object(properties: JsonObject, *, required: list[str] | None = None, **more: Any) -> JsonObject:
    names = list(properties) if required is None else required
    return {
        "type": "object",
        "properties": properties,
        "required": names,
        "additionalProperties": False,
        **more,
    }


def _rejected(place: str) -> JsonObject:
    item = _object({place: {"type": "integer", "minimum": 0}, "reason": _REASON})
    return {"type": "array", "items": item, "maxItems": 1_000}


SCHEMAS: JsonObject = {
    "Records": {"type": "array", "items": {"type": "object"}},
    "Envelope": _object(
        {
            "source": _SOURCE,
            "data": {"type": ["array", "object"]},
            "tenant": {"type": ["string", "null"]},
            "stream": {"anyOf": [_SOURCE, {"type": "null"}]},
            "metadata": {
                "type": "object",
                "additionalProperties": {"type": ["string", "integer", "boolean", "null"]},
            },
        },
        required=["source", "data"],
    ),
    "Stored": _object(_OUTCOME),
    "StoredBatch": _object(
        {**_OUTCOME, "records": _COUNT, "rejected_count": _COUNT, "rejected": _rejected("place")}
    ),
    "StoredStream": _object(
        {
            "batch_id": {"type": "string"},
            "committed": _COUNT,
            "records": _COUNT,
            "rejected_count": _COUNT,
            "rejected": _rejected("line"),
        }
    ),
    "Position": _object({"batch_id": {"type": "string"}, "committed": _COUNT}),
    "Health": _object({"status": {"enum": ["live", "ready"]}}),
}
