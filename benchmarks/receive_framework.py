"""What the framework can do: a Starlette route that reads the body, checks its HMAC and stores nothing.

python benchmarks/receive_framework.py PORT, with the secret's base64 in KEY.
"""

import base64
import hmac
import os
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

KEY = base64.b64decode(os.environ["KEY"])


async def hook(request: Request) -> JSONResponse:
    body, h = await request.body(), request.headers
    digest = hmac.digest(KEY, f"{h['webhook-id']}.{h['webhook-timestamp']}.".encode() + body, "sha256")
    holds = hmac.compare_digest(base64.b64decode(h["webhook-signature"][3:]), digest)
    return JSONResponse({"status": "stored"}, 202 if holds else 401)


app = Starlette(routes=[Route("/api/v1/sync/push/webhook/{id}", hook, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
