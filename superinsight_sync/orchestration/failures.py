"""Our errors → what Dagster does: the verbs have retried already, so a failure here is final for the run."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from superinsight_sync.core.errors import SisError, ThresholdError
from superinsight_sync.orchestration.keys import work_of_step
from superinsight_sync.security.secrets import redact

_log = logging.getLogger(__name__)

SOURCE, STREAMS, ERROR_CLASS = "sis/source", "sis/failed_streams", "sis/error_class"
"""Metadata of a failure: the source (`datasets` for a dataset), the streams that failed, and the classes."""


def as_failure(error: SisError, source: str = "", stream: str = "") -> dg.Failure:
    """A Dagster failure that shows the error's class, place and advice, and is not retried."""
    metadata: dict[str, dg.MetadataValue] = {
        SOURCE: dg.MetadataValue.text(source),
        STREAMS: dg.MetadataValue.text(stream),
        ERROR_CLASS: dg.MetadataValue.text(type(error).__name__),
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
def failures_shown(source: str = "", stream: str = "") -> Iterator[None]:
    """Inside it a SisError becomes a Dagster failure, of that stream."""
    try:
        yield
    except SisError as error:
        raise as_failure(error, source, stream) from error


def all_failures(errors: dict[str, SisError], source: str) -> dg.Failure:
    """One failure for several streams of a step; the others have landed."""
    lines = "\n".join(f"- {name}: {redact(str(error))}" for name, error in sorted(errors.items()))
    classes = ", ".join(sorted({type(e).__name__ for e in errors.values()}))
    return dg.Failure(
        description=f"{len(errors)} stream(s) failed; the others have landed.\n{lines}",
        metadata={
            SOURCE: source,
            STREAMS: ", ".join(sorted(errors)),
            ERROR_CLASS: dg.MetadataValue.text(classes),
        },
        allow_retries=False,
    )


@dataclass(frozen=True)
class FailedWork:
    """What a failed step says of itself; texts are empty where it does not."""

    source: str
    stream: str
    error_class: str
    text: str


def failed_work(event: dg.DagsterEvent) -> FailedWork:
    """What failed in a step: as the failure says it, else as the step is called."""
    data = event.step_failure_data
    error, said = data.error, data.user_failure_data
    if said is not None and ERROR_CLASS in said.metadata:
        source, streams, classes = (str(said.metadata[k].value) for k in (SOURCE, STREAMS, ERROR_CLASS))
        return FailedWork(source, streams, classes, said.description or "")
    source, stream = work_of_step(event.step_key or "")
    if error is None:
        return FailedWork(source, stream, "", "")
    while error.cause is not None:
        error = error.cause
    name = "DataError" if error.cls_name == "DagsterAssetCheckFailedError" else error.cls_name or ""
    return FailedWork(source, stream, name, error.message)
