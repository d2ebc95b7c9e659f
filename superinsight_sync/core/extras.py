"""Optional parts of the installation: what each needs, and the command that installs it."""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec

from superinsight_sync.core.errors import ConfigError

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "avro": ("fastavro",),
    "excel": ("fastexcel",),
    "gateway": (
        "fastapi",
        "httptools",
        "jwt",
        "lxml",
        "maxminddb",
        "python_multipart",
        "starlette",
        "uvicorn",
        "uvloop",
        "websockets",
    ),
    "graphql": ("graphql",),
    "kafka": ("confluent_kafka",),
    "llm": ("openai",),
    "masking": ("ffx",),
    "mongodb": ("pymongo",),
    "mssql": ("mssql_python",),
    "mysql": ("connectorx", "pymysql", "pymysqlreplication"),
    "oracle": ("oracledb",),
    "quality": ("great_expectations",),
    "redis": ("redis",),
    "sftp": ("paramiko",),
    "soap": ("lxml", "zeep"),
    "xml": ("lxml",),
}
"""The modules that each extra of `pyproject.toml` installs. A kind of source has the name of its extra."""


def need(extra: str, what: str) -> None:
    """Raises ConfigError, with the command to run, if `what` cannot work because its extra is not installed."""
    missing = [module for module in EXTRAS[extra] if not _installed(module)]
    if missing:
        raise ConfigError(
            f"{what} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            hint=f"Run: pip install 'superinsight-sync[{extra}]'",
        )


@cache
def _installed(module: str) -> bool:
    return find_spec(module) is not None
