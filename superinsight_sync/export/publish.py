"""Publication: a version appears as a whole or not at all, whenever the process dies.

    <prefix>/v0007-1a2b3c4d5e6f/data/train.jsonl …   files
    <prefix>/v0007-1a2b3c4d5e6f/README.md, report.html
    <prefix>/v0007-1a2b3c4d5e6f/manifest.json        last: without it the version does not exist
    <prefix>/latest.json                             the newest version's name, for readers outside

A folder's name holds the fingerprint of its content. So two publishers at once write to different folders,
or the same bytes to the same one, and a publisher who starts again completes what the first one left. What is
left of others is removed once it is older than `abandoned_after`, by the time in `started.json`.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError, DataError, TransientError
from superinsight_sync.export.build import Built
from superinsight_sync.export.manifest import MANIFEST_FILE, Manifest, version_name, version_number
from superinsight_sync.lake.blobs import BlobStore

LATEST_FILE = "latest.json"
STARTED_FILE = "started.json"
_VERSION = re.compile(r"v\d{4,}-[0-9a-f]+")


@dataclass(frozen=True)
class Published:
    """What a publication did.

    Attributes:
        manifest: of the newest version, the one published or the equal one that was there.
        path: the version's folder, as a person finds it.
        unchanged: whether an equal version was there already.
    """

    manifest: Manifest
    path: str
    unchanged: bool


def publish(
    built: Built,
    blobs: BlobStore,
    prefix: str,
    *,
    abandoned_after: timedelta = timedelta(hours=1),
    before_visible: Callable[[], None] = lambda: None,
) -> Published:
    """Uploads a built dataset as the next version, unless the newest one is equal.

    Args:
        prefix: the dataset's folder in the store.
        abandoned_after: how old an unfinished version of somebody else must be to be removed.
        before_visible: called when all files are there, right before the manifest; may raise to give up.
    """
    newest = latest(blobs, prefix)
    if newest and newest.content_fingerprint == built.content_fingerprint:
        _point_to(blobs, prefix, newest)
        _remove_abandoned(blobs, prefix, utc_now() - abandoned_after)
        return Published(newest, blobs.url(f"{prefix}/{newest.version}"), unchanged=True)
    number = newest.number + 1 if newest else 1
    version = version_name(number, built.content_fingerprint)
    folder = f"{prefix}/{version}"
    blobs.write(f"{folder}/{STARTED_FILE}", json.dumps({"started_at": utc_now().isoformat()}).encode())
    for file, local in built.files:
        blobs.upload(local, f"{folder}/{file.path}")
    before_visible()
    _check_uploaded(blobs, folder, built)
    manifest = built.manifest(version, utc_now())
    blobs.write(f"{folder}/{MANIFEST_FILE}", _json(manifest))
    blobs.delete(f"{folder}/{STARTED_FILE}")
    _point_to(blobs, prefix, latest(blobs, prefix) or manifest)
    _remove_abandoned(blobs, prefix, utc_now() - abandoned_after)
    return Published(manifest, blobs.url(folder), unchanged=False)


def versions(blobs: BlobStore, prefix: str) -> list[str]:
    """Names of the visible versions, oldest first."""
    return [name for name, files in _folders(blobs, prefix).items() if MANIFEST_FILE in files]


def latest(blobs: BlobStore, prefix: str) -> Manifest | None:
    """The newest visible version's manifest. What is visible is read, not `latest.json`, which may lag."""
    found = versions(blobs, prefix)
    if not found:
        return None
    top = version_number(found[-1])
    newest = [load_manifest(blobs, prefix, name) for name in found if version_number(name) == top]
    return max(newest, key=lambda m: (m.created_at, m.version))


def load_manifest(blobs: BlobStore, prefix: str, version: str) -> Manifest:
    """Raises ConfigError if there is no such version, DataError if its manifest cannot be read."""
    where = f"dataset {prefix}, version {version}"
    try:
        return Manifest.model_validate_json(blobs.read(f"{prefix}/{version}/{MANIFEST_FILE}"))
    except FileNotFoundError:
        raise ConfigError(
            "there is no such version", where=where, hint=f"There are {versions(blobs, prefix)}"
        ) from None
    except ValidationError:
        raise DataError("the manifest is damaged", where=where, hint="Delete the version's folder") from None


def verify(blobs: BlobStore, prefix: str, version: str) -> Manifest:
    """Reads every file of a version again and compares size and hash with the manifest, which is returned.

    Raises DataError naming the files that are missing or differ, ConfigError if there is no such version.
    """
    manifest = load_manifest(blobs, prefix, version)
    wrong = []
    for file in manifest.files:
        try:
            data = blobs.read(f"{prefix}/{version}/{file.path}")
        except FileNotFoundError:
            wrong.append(f"{file.path} is missing")
            continue
        if len(data) != file.size_bytes or hashlib.sha256(data).hexdigest() != file.sha256:
            wrong.append(f"{file.path} differs")
    if wrong:
        raise DataError(
            f"the files are not those that were published: {', '.join(wrong)}",
            where=f"dataset {prefix}, version {version}",
            hint="Delete the version's folder and export again",
        )
    return manifest


def _folders(blobs: BlobStore, prefix: str) -> dict[str, set[str]]:
    """Version → the files in it, oldest version first; other files below the prefix are left out."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in blobs.list(prefix):
        name, _, rest = path.removeprefix(f"{prefix}/").partition("/")
        if rest and _VERSION.fullmatch(name):
            found[name].add(rest)
    return {name: found[name] for name in sorted(found, key=lambda n: (version_number(n), n))}


def _check_uploaded(blobs: BlobStore, folder: str, built: Built) -> None:
    missing = {f"{folder}/{file.path}" for file, _ in built.files} - set(blobs.list(folder))
    if missing:
        raise TransientError(
            f"{len(missing)} uploaded files are gone: the publication took too long and was cleaned away",
            where=folder,
            hint="Export again",
        )


def _remove_abandoned(blobs: BlobStore, prefix: str, before: datetime) -> None:
    for name, files in _folders(blobs, prefix).items():
        if MANIFEST_FILE in files or not _is_abandoned(blobs, f"{prefix}/{name}", before):
            continue
        if not blobs.exists(f"{prefix}/{name}/{MANIFEST_FILE}"):
            blobs.delete(f"{prefix}/{name}")


def _is_abandoned(blobs: BlobStore, folder: str, before: datetime) -> bool:
    try:
        started = json.loads(blobs.read(f"{folder}/{STARTED_FILE}"))["started_at"]
    except FileNotFoundError:
        return (
            True  # Started is the first file written; without it this is the rest of an interrupted removal.
        )
    return bool(datetime.fromisoformat(started) <= before)


def _point_to(blobs: BlobStore, prefix: str, manifest: Manifest) -> None:
    pointer = {
        "version": manifest.version,
        "manifest": f"{manifest.version}/{MANIFEST_FILE}",
        "content_fingerprint": manifest.content_fingerprint,
        "created_at": manifest.created_at.isoformat(),
    }
    data = (json.dumps(pointer, indent=2) + "\n").encode()
    path = f"{prefix}/{LATEST_FILE}"
    if not blobs.exists(path) or blobs.read(path) != data:
        blobs.write(path, data)


def _json(manifest: Manifest) -> bytes:
    return (manifest.model_dump_json(indent=2) + "\n").encode()
