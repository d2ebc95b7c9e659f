"""A gateway in a process of its own, and what its customers send."""

import base64
import hashlib
import hmac
import os
import signal
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.servers.process import dying_with_us
from superinsight_sync_tests.waiting import until

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four!").decode()
PUSH = "/api/v1/sync/push"
HOOK = f"{PUSH}/webhook"
SIS = [sys.executable, "-c", "from superinsight_sync.cli.entry import sis; sis()"]
"""The command line, in a process of its own."""

DECLARED = """
type: superinsight_sync.PushSource
attributes:
  name: shop
  tenant: acme
  signature: {scheme: standard, secrets: "{{ env.SHOP_SECRET }}"}
  event_type: type
  streams:
    - {name: orders, primary_key: [id], events: ["order.*"]}
    - {name: others, formats: [json, ndjson, csv, xml]}
---
type: superinsight_sync.PushSource
attributes:
  name: till
  tenant: acme
  streams:
    - {name: sales, formats: [json, ndjson, csv, xml]}
"""


def project(folder: Path, declared: str = DECLARED) -> Path:
    """A project folder with push sources."""
    (folder / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "shop"\n')
    defs = folder / "shop" / "defs" / "pushed"
    defs.mkdir(parents=True)
    (defs / "defs.yaml").write_text(declared)
    return folder


def signed(body: bytes, delivery_id: str, at_s: float | None = None, secret: str = SECRET) -> dict[str, str]:
    """Headers of Standard Webhooks."""
    stamp = str(int(time.time() if at_s is None else at_s))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{delivery_id}.{stamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
        "content-type": "application/json",
    }


UNVERIFIED = ssl.create_default_context()
"""Reading the certificates of all the world takes longer than asking a gateway; no certificate is checked."""
UNVERIFIED.check_hostname, UNVERIFIED.verify_mode = False, ssl.CERT_NONE


@dataclass
class Gateway:
    """A running gateway: `sis gateway` as a user starts it."""

    folder: Path
    port: int
    environment: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    tls: tuple[Path, Path] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        tls = ["--tls-cert", str(self.tls[0]), "--tls-key", str(self.tls[1])] if self.tls else []
        self.process = subprocess.Popen(
            dying_with_us([*SIS, "gateway", "--port", str(self.port), *tls]),
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stderr=(self.folder / "gateway.log").open("ab"),
        )
        until(self._is_ready, "the gateway did not become ready")

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "gateway.log").read_text()
        try:
            return httpx.get(f"{self.url}/health/ready", verify=UNVERIFIED, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def answers_others(self, times: int = 20) -> None:
        """Returns after it has answered so many questions: whatever it could do meanwhile, it has done."""
        for _ in range(times):
            httpx.get(f"{self.url}/health/live", verify=UNVERIFIED, timeout=60).raise_for_status()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=300)


def gateway(folder: Path, database_url: str | None = None, declared: str = DECLARED) -> Gateway:
    """A gateway that is not started yet."""
    environment = {
        "SHOP_SECRET": SECRET,
        "SIS_HOME": str(folder / "home"),
        "SIS_PROJECT_DIR": str(folder),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    if database_url:
        environment["SIS_DATABASE_URL"] = database_url
    return Gateway(project(folder, declared), free_port(), environment)
