"""Runs the gateway in this process, on uvicorn."""

import asyncio
import gc
import importlib.util
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.gateway.api.app import build_api
from superinsight_sync.gateway.api.context import Reach
from superinsight_sync.gateway.app import PREFIX, Bounds, build_app
from superinsight_sync.gateway.receivers import Receivers
from superinsight_sync.gateway.sessions import MESSAGE_FRAME_BYTES
from superinsight_sync.gateway.settings import access_rules, proxies
from superinsight_sync.gateway.webhook_fast_path import Direct
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.project import load_project
from superinsight_sync.security.access import Access, AccessRules
from superinsight_sync.security.grants import Grants
from superinsight_sync.security.jwt_tokens import signer_from
from superinsight_sync.security.networks import Networks

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

SHUTDOWN_S = 30
_NEW_OBJECTS = 20_000


def open_gateway(
    settings: Settings, bounds: Bounds | None = None, rules: AccessRules | None = None
) -> "Starlette":
    """The application for this project's push sources.

    Args:
        rules: who comes in from where; default: as the environment says.

    Raises ConfigError: none is declared, the state database is wrong, or a secret or rule in the environment cannot
    be used; TransientError, AccessError.
    """
    project = load_project(settings)
    if not project.push_sources:
        raise ConfigError(
            "no push source is declared", hint="Declare one with `type: superinsight_sync.PushSource`"
        )
    engine = open_engine("gateway", settings)
    state = engine.state
    signer = signer_from(os.environ)
    rules = rules or access_rules(os.environ)
    access = Access(state.api_keys, signer, rules)
    grants = Grants(access, signer, state.refresh_tokens) if signer is not None else None
    sources = tuple(project.push_sources.values())
    receivers = Receivers(sources)
    api = build_api(Reach(engine, access, state.api_keys, grants, receivers, sources))
    return build_app(engine.inbox, receivers, access=access, rate=rules.per_tenant, bounds=bounds, api=api)


def server_config(
    app: "Starlette", *, host: str, port: int, cert: Path | None = None, key: Path | None = None
) -> "uvicorn.Config":
    """How uvicorn runs it. Raises ConfigError: a package it needs is not installed, or a file is not there."""
    for name in ("uvloop", "httptools", "websockets", "python_multipart"):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"the gateway needs {name}", hint=f"pip install {name}")
    if (cert is None) != (key is None):
        raise ConfigError("TLS needs a certificate and its key", hint="Give --tls-cert and --tls-key")
    for path in (cert, key):
        if path is not None and not path.is_file():
            raise ConfigError(f"there is no file {path}", hint="Give the path of a PEM file")
    believed = proxies(os.environ)
    import uvicorn

    from superinsight_sync.gateway.http_protocol import Http
    from superinsight_sync.gateway.wire_sockets import Socket

    direct = Direct(app.state.gate, f"{PREFIX}/webhook/", Networks(believed))

    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=cast("type[Http]", partial(Http, direct)),
        ws=Socket,
        ws_max_size=max((r.limits.record for r in app.state.gate.receivers), default=0) + MESSAGE_FRAME_BYTES,
        ws_per_message_deflate=False,  # what one read brings is unpacked at once: a little would become a lot
        lifespan="on",
        access_log=False,
        log_level="warning",
        proxy_headers=bool(believed),
        forwarded_allow_ips=believed,
        server_header=False,
        date_header=True,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SHUTDOWN_S,
        ssl_certfile=cert,
        ssl_keyfile=key,
        ssl_context_factory=_tls_1_3 if cert is not None else None,
    )


def serve(config: "uvicorn.Config") -> None:
    """Serves until it is told to stop; then answers what it took. Raises ConfigError if it cannot start."""
    _log_to_stderr()
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: "list[socket.socket] | None" = None) -> None:
            gate = cast("Starlette", config.app).state.gate
            gate.uploading.end()
            # Else they were cut before they are answered.
            await asyncio.gather(gate.sessions.end(), gate.streams.end())
            await super().shutdown(sockets)

    server = Server(config)
    _tune_collector()
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn hears them while it serves, and raises them again when it has ended as it should.
        signal.signal(number, lambda *_: None)
    try:
        server.run()
    except SystemExit as error:
        if error.code:
            raise ConfigError(
                f"the gateway cannot listen on {config.host}:{config.port}", hint="Choose another --port"
            ) from None


def _tune_collector() -> None:
    """Requests that wait for a commit are no garbage: by default they were looked through at every 700 new objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)


def _log_to_stderr() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Who looked into a body, replayed, made or revoked a key.
    logging.getLogger("superinsight_sync.gateway.api").setLevel(logging.INFO)


def _tls_1_3(config: "uvicorn.Config", default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
