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

_KEY = {"type": "string", "pattern": '^"?[!-~]{1,255}"?$'}
_PART = "application/offset+octet-stream"
_HEADER: JsonObject = {"schema": {"type": "string"}}
_PROGRESS: JsonObject = {"Upload-Offset": _HEADER, "Upload-Expires": _HEADER, "Tus-Resumable": _HEADER}
_VERSION = _parameter("header", "Tus-Resumable", {"const": "1.0.0"}, "The protocol's version.", required=True)
_UPLOAD = [
    _parameter("path", "id", {"type": "string"}, "The upload.", required=True),
    _parameter("query", "source", _SOURCE, "The push source.", required=True),
]


def _about(operation_id: str) -> JsonObject:
    operation: JsonObject = {
        "operationId": operation_id,
        "tags": ["push"],
        "summary": "tus: tells which version and extensions are spoken here.",
        "security": [],
        "responses": {"204": {"description": "In headers.", "headers": {"Tus-Version": _HEADER}}},
        "refused": [],
    }
    if operation_id == "upload_about":
        operation["parameters"] = _UPLOAD[:1]
    return operation


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
                    _KEY,
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
    f"{PREFIX}/file": {
        "post": {
            "operationId": "push_file",
            "tags": ["push"],
            "summary": "Takes the files of a form, or begins an upload by tus 1.0.0.",
            "description": "With `Tus-Resumable` there is no form: `Upload-Length` and `Upload-Metadata` say what "
            "will come, and `Location` where to.",
            "parameters": [
                _parameter("query", "source", _SOURCE, "The push source.", required=True),
                _STREAM,
                _parameter(
                    "header", "Idempotency-Key", _KEY, "By which the files are known when they come again."
                ),
                {**_VERSION, "required": False},
                _parameter(
                    "header", "Upload-Length", {"type": "integer", "minimum": 0}, "tus: bytes of the file."
                ),
                _parameter(
                    "header", "Upload-Metadata", {"type": "string"}, "tus: filename, filetype and others."
                ),
            ],
            "requestBody": {
                "required": False,
                "content": {
                    "multipart/form-data": {"schema": {"$ref": "#/components/schemas/FileForm"}},
                    _PART: {"schema": {"type": "string", "format": "binary"}},
                },
            },
            "responses": {
                "202": _json("StoredFiles", "Stored: they are on the disk."),
                "200": _json("StoredFiles", "Were stored before."),
                "201": {
                    "description": "tus: the upload has begun.",
                    "headers": {"Location": _HEADER, **_PROGRESS},
                },
            },
            "refused": [*_MANY_REFUSALS, 409, 412, 423, 460, 507],
        },
        "options": _about("tus_about"),
    },
    f"{PREFIX}/file/{{id}}": {
        "get": {
            "operationId": "upload_state",
            "tags": ["push"],
            "summary": "Tells how far an upload is, and what became of it.",
            "parameters": _UPLOAD,
            "responses": {"200": {**_json("UploadState", "How far it is."), "headers": _PROGRESS}},
            "refused": [400, 401, 403, 404, 409, 423, 429, 503],
        },
        "head": {
            "operationId": "upload_offset",
            "tags": ["push"],
            "summary": "tus: tells how far an upload is.",
            "parameters": [*_UPLOAD, _VERSION],
            "responses": {"200": {"description": "How far it is.", "headers": _PROGRESS}},
            "refused": [*_MANY_REFUSALS, 409, 412, 423, 507],
        },
        "patch": {
            "operationId": "upload_part",
            "tags": ["push"],
            "summary": "tus: takes the next bytes of an upload.",
            "parameters": [
                *_UPLOAD,
                _VERSION,
                _parameter("header", "Upload-Offset", {"type": "integer", "minimum": 0}, "Where they begin."),
                _parameter(
                    "header", "Upload-Checksum", {"type": "string"}, "sha1, sha256 or md5, and its Base64."
                ),
            ],
            "requestBody": {"content": {_PART: {"schema": {"type": "string", "format": "binary"}}}},
            "responses": {"204": {"description": "They are on the disk.", "headers": _PROGRESS}},
            "refused": [*_MANY_REFUSALS, 409, 412, 423, 460, 507],
        },
        "delete": {
            "operationId": "drop_upload",
            "tags": ["push"],
            "summary": "tus: drops an upload.",
            "parameters": [*_UPLOAD, _VERSION],
            "responses": {"204": {"description": "It is gone."}},
            "refused": [*_MANY_REFUSALS, 409, 412, 423, 507],
        },
        "post": {
            "operationId": "upload_by_post",
            "tags": ["push"],
            "summary": "tus: as PATCH, HEAD or DELETE, for who can send POST only.",
            "parameters": [
                *_UPLOAD,
                _VERSION,
                _parameter(
                    "header", "X-HTTP-Method-Override", {"enum": ["PATCH", "HEAD", "DELETE"]}, "Which."
                ),
            ],
            "requestBody": {"content": {_PART: {"schema": {"type": "string", "format": "binary"}}}},
            "responses": {
                "200": {"description": "As HEAD.", "headers": _PROGRESS},
                "204": {"description": "As PATCH or DELETE.", "headers": _PROGRESS},
            },
            "refused": [*_MANY_REFUSALS, 405, 409, 412, 423, 460, 507],
        },
        "options": _about("upload_about"),
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
    "FileForm": _object(
        {"stream": _SOURCE, "metadata": {"type": "string"}, "file": {"type": "string", "format": "binary"}},
        required=["file"],
    ),
    "StoredFiles": _object(
        {
            "files": {
                "type": "array",
                "items": _object(
                    {
                        "file": {"type": "integer", "minimum": 1, "description": "Its place in the form."},
                        **_OUTCOME,
                        "records": _COUNT,
                        "rejected_count": _COUNT,
                        "rejected": _rejected("place"),
                    }
                ),
            }
        }
    ),
    "UploadState": _object({"offset": _COUNT, "length": _COUNT, "outcome": {"type": ["object", "null"]}}),
    "Position": _object({"batch_id": {"type": "string"}, "committed": _COUNT}),
    "Health": _object({"status": {"enum": ["live", "ready"]}}),
}
