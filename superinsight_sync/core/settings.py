"""Where things are: the embedded default, moved up by one environment variable each."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from superinsight_sync.core.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """The process's settings.

    Attributes:
        project_dir: the folder relative paths of declarations are resolved against.
        home: where the embedded default keeps its files (``<project>/.sis``).
        lake_url: root of the lake, a local path or ``s3://bucket/prefix``.
        database_url: our metadata database (SQLAlchemy URL).
        memory_limit_bytes: what one refine or export step may use before it spills to disk.
        lease_ttl_s: after so long without a sign of life another process may take work over.
        lease_wait_s: how long work waits for another process that is at it.
        web_url: where Dagster's web UI is, for the links in alerts.
        stall_s: a pull that takes no step for so long raises an alert.
        audit_dir: where checkpoints of the audit log are kept: best on another disk (``<home>/audit``).
        audit_key: the private Ed25519 key (PEM) that signs them; made if it is not there (``<home>/keys/audit.pem``).
        source_silence_s: a pull whose source sends nothing for so long ends. Not set: it waits.
    """

    project_dir: Path
    home: Path
    lake_url: str
    database_url: str
    memory_limit_bytes: int = 1 << 30
    lease_ttl_s: float = 15.0
    lease_wait_s: float = 60.0
    web_url: str = "http://127.0.0.1:3000"
    stall_s: float = 600.0
    source_silence_s: float | None = None
    audit_dir: Path | None = None
    audit_key: Path | None = None

    def run_url(self, run_id: str) -> str:
        """The page of a run."""
        return f"{self.web_url}/runs/{run_id}"

    @property
    def scratch_dir(self) -> Path:
        """For files that may be deleted at any time when no run is going on."""
        return self.home / "scratch"

    @property
    def audit_places(self) -> tuple[Path, Path]:
        """Where checkpoints of the audit log are kept, and the key that signs them."""
        return self.audit_dir or self.home / "audit", self.audit_key or self.home / "keys" / "audit.pem"

    @property
    def landing_dir(self) -> Path:
        """For bodies of pushed deliveries that are too big for a row."""
        return self.home / "landing"


def load_settings(env: Mapping[str, str] | None = None) -> Settings:
    """Reads ``SIS_*`` variables; what is not set keeps the embedded default. Raises ConfigError."""
    env = os.environ if env is None else env
    project = Path(env.get("SIS_PROJECT_DIR") or _project_dir()).resolve()
    home = Path(env.get("SIS_HOME") or project / ".sis").resolve()
    return Settings(
        project_dir=project,
        home=home,
        lake_url=env.get("SIS_LAKE_URL") or str(home / "lake"),
        database_url=env.get("SIS_DATABASE_URL") or f"sqlite:///{home / 'state.db'}",
        memory_limit_bytes=int(_number(env, "SIS_MEMORY_LIMIT_MB", 1024)) << 20,
        lease_ttl_s=_number(env, "SIS_LEASE_TTL_S", 15.0),
        lease_wait_s=_number(env, "SIS_LEASE_WAIT_S", 60.0),
        web_url=(env.get("SIS_WEB_URL") or Settings.web_url).rstrip("/"),
        stall_s=_number(env, "SIS_STALL_S", 600.0),
        source_silence_s=_number(env, "SIS_SOURCE_SILENCE_S", 3600.0)
        if env.get("SIS_SOURCE_SILENCE_S")
        else None,
        audit_dir=_path(env, "SIS_AUDIT_DIR"),
        audit_key=_path(env, "SIS_AUDIT_KEY"),
    )


def _path(env: Mapping[str, str], name: str) -> Path | None:
    return Path(env[name]).resolve() if env.get(name) else None


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ConfigError(f"{name} is '{text}'", hint=f"Set it to a positive number, such as {default:g}")
    return number


def _project_dir() -> Path:
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "pyproject.toml").exists()), here)
