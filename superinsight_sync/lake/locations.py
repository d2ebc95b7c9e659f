"""Where a lake is: from its URL and the environment to storage options, file systems and table addresses."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superinsight_sync.core.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow.fs

_S3_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
)


def is_local(url: str) -> bool:
    """Whether the URL is a path of this machine."""
    return "://" not in url or url.startswith("file://")


def local_path(url: str) -> Path:
    """The absolute path of a local URL."""
    return Path(url.removeprefix("file://")).expanduser().absolute()


def storage_options(url: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """What deltalake needs for the URL: for S3 the ``AWS_*`` variables, overridden by `given`.

    Commits to S3 use conditional puts, so that two writers cannot make the same version.
    """
    options = dict(given or {})
    if not url.startswith("s3://"):
        return options
    for name in _S3_VARIABLES:
        if value := os.environ.get(name):
            options.setdefault(name, value)
    options.setdefault("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION") or "us-east-1")
    options.setdefault("aws_conditional_put", "etag")
    if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options.setdefault("AWS_ALLOW_HTTP", "true")
    return options


def filesystem(url: str, options: Mapping[str, str]) -> "tuple[pyarrow.fs.FileSystem, str]":
    """The file system that holds the URL, and the path in it. Raises ConfigError for an unknown scheme."""
    import pyarrow as pa
    import pyarrow.fs

    if is_local(url):
        return pyarrow.fs.LocalFileSystem(), str(local_path(url))
    if url.startswith("s3://"):
        return _s3(options), url.removeprefix("s3://").rstrip("/")
    try:
        found, path = pyarrow.fs.FileSystem.from_uri(url)
    except pa.ArrowInvalid as error:
        raise ConfigError(
            f"'{url.partition('://')[0]}' is no storage we know",
            hint="Use a local path, s3://, gs:// or abfss://",
        ) from error
    return found, path.rstrip("/")


def _s3(options: Mapping[str, str]) -> "pyarrow.fs.S3FileSystem":
    import pyarrow.fs

    known: dict[str, Any] = {"region": options.get("AWS_REGION")}
    if endpoint := options.get("AWS_ENDPOINT_URL"):
        scheme, _, host = endpoint.rpartition("://")
        known |= {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"}
    if key := options.get("AWS_ACCESS_KEY_ID"):
        known |= {"access_key": key, "secret_key": options.get("AWS_SECRET_ACCESS_KEY", "")}
        known |= {"session_token": token} if (token := options.get("AWS_SESSION_TOKEN")) else {}
    return pyarrow.fs.S3FileSystem(**known)


def checked_path(path: str) -> str:
    """A relative path with `/`. Raises ConfigError for one that leaves the root or is not plain."""
    parts = path.split("/")
    if any(p in ("", ".", "..") for p in parts) or "\\" in path or "\0" in path:
        raise ConfigError(
            f"the path '{path}' is not below the lake's root", hint="Use a relative path without '..'"
        )
    return path


def table_address(root_url: str, path: str) -> str:
    """The table's address as deltalake takes it. Raises ConfigError for a '%', which deltalake misreads."""
    checked_path(path)
    if "%" in path:
        raise ConfigError(f"the table name '{path}' holds a percent sign", hint="Rename the source or stream")
    if is_local(root_url):
        return str(local_path(root_url) / path)
    return f"{root_url.rstrip('/')}/{path}"
