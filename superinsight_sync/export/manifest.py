"""The manifest: what a published version holds and what it was made from. Written last, it shows it."""

from collections.abc import Mapping
from importlib import metadata
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.model.dataset import DatasetSpec

MANIFEST_FILE = "manifest.json"
_NOT_CONTENT = {"version", "created_at", "content_fingerprint"}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ManifestFile(_Part):
    """One file of the version."""

    path: str
    """Below the version's folder, with `/`."""
    size_bytes: int
    sha256: str
    """Of the file's bytes, 64 hexadecimal digits."""
    role: Literal["data", "report"]
    format: str
    """The file name's extension: json, jsonl, csv, parquet; html and md for reports."""
    split: str | None = None
    rows: int | None = None


class ManifestColumn(_Part):
    """One column of the data files."""

    name: str
    type: str
    """The Arrow type's text."""
    sources: tuple[str, ...] = ()
    """The columns its values are computed from: `<source>/<stream>.<column>`."""


class ManifestInput(_Part):
    """One input of the SELECT."""

    stream: str
    """`<source>/<stream>`."""
    version: str
    """The refined table's version that was read."""


class Manifest(_Part):
    """Everything about one version of a dataset."""

    manifest_version: Literal[1] = 1
    dataset: str
    tenant: str
    version: str
    """`v` and a number that grows, `-`, and the first digits of the content fingerprint."""
    created_at: AwareDatetime
    """When it was published. Only the manifest holds a time."""
    content_fingerprint: str
    """SHA-256 over everything but `version` and `created_at`. Equal means equal files from equal inputs."""
    tool_version: str
    configuration_fingerprint: str
    """Over the declaration, as far as it has an effect on the files."""
    inputs: dict[str, ManifestInput]
    """By name in the SELECT."""
    columns: tuple[ManifestColumn, ...]
    rows: int
    rows_by_split: dict[str, int]
    split_ratios: dict[str, float]
    split_group_by: tuple[str, ...]
    seed: int
    files: tuple[ManifestFile, ...]
    masks: dict[str, str] = {}
    """Column → how it is masked."""
    mask_key_version: int | None = None
    """The version of the key that masked."""
    anonymity: dict[str, int] = {}
    """`k`, `l`, the classes of rows there were, and the rows left out because theirs was too small."""
    warnings: tuple[str, ...] = ()
    """What a reader of the files should know, such as values a format cannot write."""

    @property
    def number(self) -> int:
        """The version's number."""
        return version_number(self.version)

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)


def configuration_fingerprint(spec: DatasetSpec) -> str:
    """Of what has an effect on the files: not the owners, not the schedule."""
    unset = {name for name in ("mask", "anonymity") if not getattr(spec, name)}
    effective = spec.model_dump(mode="json", exclude={"owners", "schedule", *unset})
    # The order of splits decides which bucket is whose, and the canonical form sorts keys.
    return fingerprint({**effective, "split_order": list(spec.split.ratios)})


def content_fingerprint(fields: Mapping[str, Any]) -> str:
    """Of a manifest's fields without version and time."""
    return fingerprint({k: v for k, v in fields.items() if k not in _NOT_CONTENT})


def is_current(manifest: Manifest, spec: DatasetSpec, input_versions: Mapping[str, int | str]) -> bool:
    """Whether building now would give the same: nothing of declaration, inputs and tool has changed."""
    return (
        manifest.configuration_fingerprint == configuration_fingerprint(spec)
        and {alias: given.version for alias, given in manifest.inputs.items()}
        == {alias: str(input_versions[alias]) for alias in spec.inputs}
        and manifest.tool_version == tool_version()
    )


def tool_version() -> str:
    """Of the installed package; `source` where it runs from a folder without being installed."""
    try:
        return metadata.version("superinsight-sync")
    except metadata.PackageNotFoundError:
        return "source"


def version_name(number: int, content: str) -> str:
    """``v0007-1a2b3c4d5e6f``. Publishers of other content at the same moment get another name."""
    return f"v{number:04d}-{content[:12]}"


def version_number(version: str) -> int:
    """The number in a version's name. Raises ValueError."""
    return int(version.removeprefix("v").split("-")[0])
