"""From the lake's URL to its files that are no tables. Cheap to import."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from superinsight_sync.lake.locations import filesystem, is_local, local_path, storage_options

if TYPE_CHECKING:
    from superinsight_sync.lake.blobs import BlobStore


def open_blobs(url: str, options: Mapping[str, str] | None = None) -> "BlobStore":
    """The files below a local path or ``s3://…``; `options` override what the environment says."""
    from superinsight_sync.lake.blob_files import LocalBlobs, ObjectBlobs

    if is_local(url):
        return LocalBlobs(local_path(url))
    files, root = filesystem(url, storage_options(url, options))
    return ObjectBlobs(files, root, url)
