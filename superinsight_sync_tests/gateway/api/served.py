"""A gateway in this process on a real port, so that tests can set its rules and its clock."""

import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import update
from starlette.applications import Starlette

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.settings import Settings, load_settings
from superinsight_sync.gateway.serving import open_gateway, server_config
from superinsight_sync.security.access import AccessRules
from superinsight_sync.security.api_keys import Credential
from superinsight_sync.security.jwt_tokens import TokenSigner, signer_from
from superinsight_sync.state import State, open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.tables import api_keys
from superinsight_sync_tests.gateway.doors import DECLARED, SECRET, project
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.waiting import until

API = "/api/v1"
TOKEN_SECRET = "a secret for tokens of more than 32 bytes"
FAR = """
---
type: superinsight_sync.PushSource
attributes:
  name: far
  tenant: other
  signature: {scheme: standard, secrets: "{{ env.SHOP_SECRET }}"}
  streams:
    - {name: things}
---
type: superinsight_sync.PushSource
attributes:
  name: broken
  tenant: acme
  signature: {scheme: standard, secrets: "{{ env.NOT_SET }}"}
  streams:
    - {name: things}
"""
_addresses = itertools.count(2)


@dataclass
class Served:
    """A gateway that serves, and what is behind it."""

    app: Starlette
    url: str
    state: State
    inbox: Inbox
    signer: TokenSigner

    @property
    def api(self) -> Any:
        """The control API within the application."""
        door: Any = self.app.router.default
        return door.app

    def client(self, headers: Mapping[str, str] | None = None, address: str = "") -> httpx.Client:
        """A client with an address of its own, so that its failures are counted apart."""
        place = address or "127.0.{}.{}".format(*divmod(next(_addresses), 250))
        transport = httpx.HTTPTransport(local_address=place)
        return httpx.Client(base_url=self.url, headers=headers, transport=transport, timeout=20)

    def key(self, role: Any = "admin", tenant: str = "acme", **more: Any) -> Credential:
        return self.state.api_keys.create("n", role, tenant=tenant, **more)

    def expired_key(self, role: Any = "admin") -> Credential:
        made = self.key(role, not_after=utc_now() + timedelta(days=1))
        with self.state.database.write() as connection:
            values = {"not_after": utc_now() - timedelta(seconds=1)}
            connection.execute(update(api_keys).where(api_keys.c.id == made.id).values(values))
        return made

    def revoked_key(self, role: Any = "admin") -> Credential:
        made = self.key(role)
        self.state.api_keys.revoke(made.id)
        return made

    def token(self, key: Credential, role: str = "admin", now: datetime | None = None) -> str:
        return self.signer.make(key.id, "acme", role, now=now)


def bearer(given: Credential | str) -> dict[str, str]:
    return {"authorization": f"Bearer {given if isinstance(given, str) else given.text}"}


def settings_for(folder: Path, patch: pytest.MonkeyPatch, *, with_tokens: bool = True) -> Settings:
    """A project with two tenants' push sources."""
    patch.setenv("SHOP_SECRET", SECRET)
    if with_tokens:
        patch.setenv("SIS_TOKEN_SECRET", TOKEN_SECRET)
    else:
        patch.delenv("SIS_TOKEN_SECRET", raising=False)
    return load_settings({"SIS_PROJECT_DIR": str(project(folder, DECLARED + FAR))})


@contextmanager
def serving(settings: Settings, rules: AccessRules | None = None) -> Iterator[Served]:
    """Serves until the block ends."""
    app = open_gateway(settings, rules=rules)
    port = free_port()
    server = uvicorn.Server(server_config(app, host="127.0.0.1", port=port))
    thread = threading.Thread(target=server.run)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    state = open_state(settings.database_url)
    try:
        until(lambda: server.started or not thread.is_alive(), "it does not start")
        assert thread.is_alive()
        signer = signer_from({"SIS_TOKEN_SECRET": TOKEN_SECRET})
        assert signer is not None
        yield Served(app, url, state, Inbox(state.database, settings.landing_dir), signer)
    finally:
        server.should_exit = True
        thread.join()
        state.close()
