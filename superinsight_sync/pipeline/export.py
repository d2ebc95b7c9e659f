"""Export: a dataset from refined streams, published as a whole or not at all."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.export.build import Built, build_dataset
from superinsight_sync.export.manifest import MANIFEST_FILE, Manifest, configuration_fingerprint
from superinsight_sync.export.publish import latest, publish
from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.results import ColumnInfo, ExportResult
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.execution import Tally, Task, execute, still_ours, told
from superinsight_sync.pipeline.row_identity import rows_identity
from superinsight_sync.security.masking import KEYED
from superinsight_sync.state.exports import Export
from superinsight_sync.state.leases import Lease


def dataset_prefix(spec: DatasetSpec) -> str:
    """Where a dataset's versions are, below the lake's root."""
    return f"{spec.tenant}/datasets/{spec.name}"


def export_dataset(engine: Engine, spec: DatasetSpec, *, force: bool = False) -> ExportResult:
    """Builds the dataset from the inputs' newest versions and publishes it, unless nothing changed.

    Raises ConfigError for a wrong SELECT or an input that has no refined table yet, DataError for values that
    cannot be computed, TransientError after three retries.
    """
    task = Task("export", spec.tenant, "datasets", spec.name, force=force)

    def work(tally: Tally, lease: Lease) -> ExportResult:
        started = time.perf_counter()
        inputs = {alias: input_table(engine, spec, alias) for alias in spec.inputs}
        identity = _identity(engine, spec, inputs)
        kept = None if force else _kept(engine, spec, identity)
        if kept is not None:
            tally.unchanged = True
            return _result(engine, spec, kept, unchanged=True)
        result = _export(engine, spec, inputs, identity, lease)
        tally.rows, tally.size_bytes, tally.version = result.rows, result.size_bytes, result.version
        tally.unchanged = result.unchanged
        return replace(result, seconds=time.perf_counter() - started)

    return execute(engine, task, work)


def is_due(engine: Engine, spec: DatasetSpec) -> bool:
    """Whether `export_dataset` would build it. Raises ConfigError for an input without a refined table."""
    inputs = {alias: input_table(engine, spec, alias) for alias in spec.inputs}
    return _kept(engine, spec, _identity(engine, spec, inputs)) is None


def _identity(engine: Engine, spec: DatasetSpec, inputs: Mapping[str, TableRef]) -> str:
    """What a version is made of: the declaration and the rows of its inputs."""
    rows = {alias: rows_identity(engine.lake, table) for alias, table in inputs.items()}
    keyed = any(mask.how in KEYED for mask in spec.mask.values())
    keys = [engine.masking(spec.tenant).check_value()] if keyed else []
    return fingerprint([configuration_fingerprint(spec), rows, *keys])


def table_of_input(spec: DatasetSpec, alias: str) -> TableRef:
    """Where an input's rows are: a stream's refined table, or an own asset's, whose key of one part is in `assets`."""
    group, _, name = spec.inputs[alias].rpartition("/")
    return TableRef(spec.tenant, group or "assets", name, "refined")


def input_table(engine: Engine, spec: DatasetSpec, alias: str) -> TableRef:
    """The table of one input. Raises ConfigError if it has not landed in the lake."""
    table = table_of_input(spec, alias)
    if not engine.lake.exists(table):
        key = spec.inputs[alias]
        raise ConfigError(
            f"input '{alias}': {key} has no table in the lake",
            hint=f"Run it first, and keep it there (save: {{refined: persistent}}): sis run {key.replace('/', '.')}",
        )
    return table


def _export(
    engine: Engine, spec: DatasetSpec, inputs: Mapping[str, TableRef], identity: str, lease: Lease
) -> ExportResult:
    engine.settings.scratch_dir.mkdir(parents=True, exist_ok=True)
    versions = {alias: engine.lake.version(table) or 0 for alias, table in inputs.items()}
    with tempfile.TemporaryDirectory(dir=engine.settings.scratch_dir, prefix="export-") as folder:
        built = build_dataset(
            spec,
            {alias: engine.lake.dataset(table, version=versions[alias]) for alias, table in inputs.items()},
            versions,
            work_dir=Path(folder),
            memory_limit_bytes=engine.settings.memory_limit_bytes,
            masking=engine.masking(spec.tenant),
        )
        published = publish(
            built, engine.blobs, dataset_prefix(spec), before_visible=lambda: still_ours(lease)
        )
    engine.blobs.write(_identity_path(spec), f"{identity} {published.manifest.version}".encode())
    result = _result(engine, spec, published.manifest, unchanged=published.unchanged, built=built)
    kept = Export(
        spec.name,
        result.version,
        result.path,
        result.rows,
        result.size_bytes,
        published.manifest.content_fingerprint,
        spec.tenant,
    )
    told("the dataset is published, but not in our state", lambda: engine.state.exports.record(kept))
    return result


def _identity_path(spec: DatasetSpec) -> str:
    return f"{dataset_prefix(spec)}/identity"


def _kept(engine: Engine, spec: DatasetSpec, identity: str) -> Manifest | None:
    """The newest version, if it was made of the same rows and declaration."""
    if not engine.blobs.exists(_identity_path(spec)):
        return None
    known, _, version = engine.blobs.read(_identity_path(spec)).decode().partition(" ")
    newest = latest(engine.blobs, dataset_prefix(spec)) if known == identity else None
    return newest if newest is not None and newest.version == version else None


def _result(
    engine: Engine, spec: DatasetSpec, manifest: Manifest, *, unchanged: bool, built: Built | None = None
) -> ExportResult:
    return ExportResult(
        dataset=spec.name,
        version=manifest.version,
        path=engine.blobs.url(f"{dataset_prefix(spec)}/{manifest.version}"),
        rows=manifest.rows,
        size_bytes=manifest.size_bytes,
        files=(*(f.path for f in manifest.files), MANIFEST_FILE),
        rows_by_split=manifest.rows_by_split,
        report_markdown=f"Version {manifest.version} is current." if built is None else built.card_markdown,
        unchanged=unchanged,
        columns=tuple(ColumnInfo(c.name, c.type) for c in manifest.columns),
        lineage=_lineage(spec, manifest),
    )


def _lineage(spec: DatasetSpec, manifest: Manifest) -> dict[str, tuple[tuple[str, str], ...]]:
    """Column → the (input's alias, column) pairs its values come from."""
    aliases = {key: alias for alias, key in spec.inputs.items()}
    pairs = {c.name: [source.rpartition(".") for source in c.sources] for c in manifest.columns}
    return {
        name: tuple((aliases[key], column) for key, _, column in found if key in aliases)
        for name, found in pairs.items()
    }
