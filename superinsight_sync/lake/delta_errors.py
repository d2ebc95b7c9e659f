"""From storage and Delta errors to ours, and the loop that does a lost commit anew."""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from superinsight_sync.core.errors import AccessError, ConfigError, SisError, TransientError
from superinsight_sync.core.retry import OWN_STORES, RetryPolicy

T = TypeVar("T")

_RACES = RetryPolicy(retries=30, base_s=0.05, max_s=2.0)
_DENIED = (
    "AccessDenied",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "Forbidden",
    "403",
    "PermissionDenied",
)


_UNFIT = (
    "No field named",
    "Schema error",
    "SchemaMismatch",
    "Error during planning",
    "type_coercion",
    "Cast error",
    "Invalid argument error",
    "not implemented",
    "Not yet implemented",
    "Unsupported",
    "Ambiguous",
    "Invariant",
)
"""What Delta and its query engine say of rows, columns and statements, which no other try makes fit."""


_AWAY = (
    "Generic S3 error",
    "Generic MicrosoftAzure error",
    "Generic GCS error",
    "AWS Error",
    "error sending request",
    "onnection refused",
    "onnection reset",
    "timed out",
)
"""What the clients of object stores say of a server that does not answer."""


class LostRaceError(TransientError):
    """Another writer committed first what this commit depended on; it can be done anew."""


def until_committed(work: Callable[[], T]) -> T:
    """Calls `work` until it commits: repeats on LostRaceError only, with jitter, for about a minute."""
    for attempt in range(_RACES.retries):
        try:
            return work()
        except LostRaceError:
            time.sleep(_RACES.delay_s(attempt))
    return work()


@contextmanager
def storage_errors(where: str, *, keep: type[OSError] | None = None) -> Iterator[None]:
    """Maps what pyarrow, the operating system and deltalake raise; `keep` passes through.

    Only the first line of a foreign message is kept: the next ones may show rows.
    """
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        yield
    except SisError:
        raise
    except CommitFailedError as error:
        raise LostRaceError(
            "another writer committed at the same time", where=where, hint="Run it again; nothing was written"
        ) from error
    except PermissionError as error:
        raise AccessError("the storage refuses access", where=where, hint="Check its rights") from error
    except (OSError, DeltaError) as error:
        if keep and isinstance(error, keep):
            raise
        raise _translated(error, where) from error


def _translated(error: Exception, where: str) -> SisError:
    from deltalake.exceptions import DeltaError

    text = str(error)
    first = text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left" in text:
        return TransientError("the disk is full", where=where, hint="Free space; nothing was committed")
    if any(word in text for word in _DENIED):
        return AccessError(
            "the storage refuses the credentials", where=where, hint="Check AWS_ACCESS_KEY_ID and its rights"
        )
    if "NoSuchBucket" in text:
        return ConfigError("the bucket does not exist", where=where, hint="Create it or correct SIS_LAKE_URL")
    if isinstance(error, DeltaError) and any(word in text for word in _UNFIT):
        return ConfigError(
            f"the rows do not fit the table: {first}",
            where=where,
            hint="Trying again would not help. See `sis plan` for what changed, or start the stream over: `sis reset`",
        )
    failed = TransientError(
        f"the storage failed: {first}", where=where, hint="Run it again; nothing was committed"
    )
    if any(word in text for word in _AWAY):
        failed.patience_s = OWN_STORES.patience_s
    return failed
