"""Each source, the lake and the I/O manager as Dagster resources: described, without secrets, for users' assets too."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import dagster as dg

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.orchestration import keys
from superinsight_sync.orchestration.failures import failures_shown
from superinsight_sync.orchestration.io_manager import LakeIOManager
from superinsight_sync.security.secrets import holds_literal_secret, redact

if TYPE_CHECKING:
    import pyarrow as pa


class SourceResource(dg.ConfigurableResource["SourceResource"]):
    """A customer system, as an asset of yours takes it: `def report(crm: SourceResource)`."""

    kind: str
    """What kind of system it is."""
    tenant: str
    """Whose data it is."""
    settings: dict[str, Any]
    """Its `connection` as declared: secrets are references in it, never values."""
    declared: ClassVar[SourceSpec]

    def create_resource(self, context: dg.InitResourceContext) -> "SourceResource":
        return self

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of its declared streams."""
        return tuple(s.name for s in self.declared.streams)

    @contextmanager
    def read(self, stream: str, *, limit: int | None = None) -> Iterator["pa.RecordBatchReader"]:
        """The rows that the source has now of a declared stream, at most `limit` of them.

        Streams them: memory is bounded by the batch. It lands nothing and moves no checkpoint; leaving the block
        ends the read at the source. A stream that is not declared, a source that cannot be reached, and a record
        that cannot be read fail the step.
        """
        from superinsight_sync.pipeline.inspect import read_rows

        with failures_shown():
            if stream not in self.streams:
                raise ConfigError(
                    f"source '{self.declared.name}' has no stream '{stream}'",
                    hint=f"Valid: {', '.join(self.streams)}",
                )
            wanted = self.declared.stream(stream)
            with read_rows(self.declared, wanted, load_settings(), limit=limit) as batches:
                yield batches


class LakeResource(dg.ConfigurableResource["LakeResource"]):
    """Where rows land: a Delta table for each stream and stage, `<tenant>/<source>/<stream>/<stage>`."""

    url: str
    """A local folder or an object store; `SIS_LAKE_URL` sets it."""

    def create_resource(self, context: dg.InitResourceContext) -> Self:
        return self


class MissingResource(dg.ConfigurableResource[None]):
    """Stands for a resource that an asset asks for and nothing provides. Only what asks for it fails."""

    reason: str
    """Why it is not there."""

    def create_resource(self, context: dg.InitResourceContext) -> None:
        raise dg.Failure(self.reason, allow_retries=False)


def source_resource(source: SourceSpec) -> SourceResource:
    """The resource of a source. Dagster shows a class's docstring as a resource's description, so it has its own."""
    said = f"{source.description.rstrip('.')}. " if source.description else ""
    streams = f"{len(source.streams)} stream{'s' if len(source.streams) > 1 else ''}"
    own = {
        "__doc__": f"{said}Source '{source.name}' of kind {source.connection['kind']}, {streams}.",
        "__module__": SourceResource.__module__,
        "__annotations__": {},
        "declared": source,
    }
    described: type[SourceResource] = type(SourceResource.__name__, (SourceResource,), own)
    settings = {k: shown(v, k) for k, v in source.connection.items() if k != "kind"}
    return described(kind=source.connection["kind"], tenant=source.tenant, settings=settings)


@cache
def _lake(url: str) -> LakeResource:
    return LakeResource(url=url)


def lake_resource() -> LakeResource:
    """The lake of this process's settings; one object, since Dagster takes two of one name for a conflict."""
    return _lake(redact(load_settings().lake_url))


def common_resources() -> Mapping[str, Any]:
    """What every project has beside its sources."""
    return {keys.LAKE: lake_resource(), keys.IO_MANAGER: LakeIOManager()}


def shown(value: Any, key: str = "") -> Any:
    """A setting without what may be a secret: references stay, since they say where the secret is."""
    match value:
        case Mapping():
            return {str(k): shown(v, str(k)) for k, v in value.items()}
        case list() | tuple():
            return [shown(v, key) for v in value]
        case str() if holds_literal_secret(value) or (_is_secret(key) and "{{" not in value):
            return "***"
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("password", "secret", "token", "api_key", "apikey"))
