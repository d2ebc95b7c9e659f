"""Our errors → what Dagster does: the verbs have retried already, so a failure here is final for the run."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from superinsight_sync.core.errors import SisError, ThresholdError
from superinsight_sync.security.secrets import redact

_log = logging.getLogger(__name__)


def as_failure(error: SisError) -> dg.Failure:
    """A Dagster failure that shows the error's class, place and advice, and is not retried."""
    metadata: dict[str, dg.MetadataValue] = {
        "sis/error_class": dg.MetadataValue.text(type(error).__name__),
        "sis/where": dg.MetadataValue.text(redact(error.where)),
        "sis/what_to_do": dg.MetadataValue.text(redact(error.hint)),
    }
    if isinstance(error, ThresholdError):
        metadata["sis/published"] = dg.MetadataValue.bool(False)
    return dg.Failure(description=redact(str(error)), metadata=metadata, allow_retries=False)


def told(error: BaseException) -> SisError:
    """What stopped one stream, as an error beside which the others go on. What is none of ours is a defect of ours.

    Raises what is no error but an end of the process.
    """
    if isinstance(error, SisError):
        return error
    if not isinstance(error, Exception):
        raise error
    _log.error("%s", redact("".join(traceback.format_exception(error))))
    return SisError(
        f"it failed unexpectedly ({type(error).__name__})", hint="The log has the details; report them"
    )


@contextmanager
def failures_shown() -> Iterator[None]:
    """Inside it a SisError becomes a Dagster failure."""
    try:
        yield
    except SisError as error:
        raise as_failure(error) from error


def all_failures(errors: dict[str, SisError]) -> dg.Failure:
    """One failure for several streams of a step; the others have landed."""
    lines = "\n".join(f"- {name}: {redact(str(error))}" for name, error in sorted(errors.items()))
    classes = ", ".join(sorted({type(e).__name__ for e in errors.values()}))
    return dg.Failure(
        description=f"{len(errors)} stream(s) failed; the others have landed.\n{lines}",
        metadata={
            "sis/error_class": dg.MetadataValue.text(classes),
            "sis/failed_streams": ", ".join(sorted(errors)),
        },
        allow_retries=False,
    )
