"""Builds a dataset in a local folder: SELECT, order, split, files, statistics, report. Publishes nothing."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.export.hugging_face import front_matter, loadable
from superinsight_sync.export.manifest import (
    Manifest,
    ManifestColumn,
    ManifestFile,
    ManifestInput,
    configuration_fingerprint,
    content_fingerprint,
    tool_version,
)
from superinsight_sync.export.masked import told
from superinsight_sync.export.protocol import FORMATS
from superinsight_sync.export.report import Report, render_card, render_html
from superinsight_sync.export.select import Input, select_rows
from superinsight_sync.export.staging import Staged, stage
from superinsight_sync.export.statistics import DatasetStatistics, dataset_statistics
from superinsight_sync.lake.delta_errors import storage_errors
from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.security.mask_keys import Masking
from superinsight_sync.security.masking import KEYED

_TEXT_FORMATS_WITHOUT_NAN = ("json", "jsonl")


@dataclass(frozen=True)
class Built:
    """A dataset on local disk, whole, not yet published.

    Attributes:
        files: what the manifest says of each file, and where it is now.
        fields: the manifest's fields, without version and time.
        lineage: column → the (input's alias, column) pairs its values come from.
        statistics: per column and split.
        card_markdown: what the dataset is, without any value of it: fit to be shown to everybody.
    """

    files: tuple[tuple[ManifestFile, Path], ...]
    fields: Mapping[str, Any]
    lineage: Mapping[str, tuple[tuple[str, str], ...]]
    statistics: DatasetStatistics
    card_markdown: str

    @property
    def content_fingerprint(self) -> str:
        """Equal for equal files from equal inputs, configuration and tool."""
        return str(self.fields["content_fingerprint"])

    def manifest(self, version: str, created_at: datetime) -> Manifest:
        """The manifest of this content under a version's name."""
        return Manifest(version=version, created_at=created_at, **self.fields)


def build_dataset(
    spec: DatasetSpec,
    inputs: Mapping[str, Input],
    input_versions: Mapping[str, int | str],
    *,
    work_dir: Path,
    memory_limit_bytes: int,
    masking: Masking | None = None,
) -> Built:
    """Makes all files of a dataset below `work_dir`. Equal inputs and declaration give equal bytes.

    Args:
        inputs: by name in the SELECT: a dataset, or what opens a new stream over the same rows at each call.
        input_versions: by the same names; they go into the manifest.
        work_dir: a folder of this build alone; the caller removes it when the files are published.
        masking: whose keys mask. Default: the key of SIS_MASK_KEY.
        memory_limit_bytes: DuckDB's limit; beyond it sorting spills below `work_dir`.

    Raises ConfigError for a wrong SELECT, `order_by` or `group_by`, or a type that cannot be exported,
    DataError for a value that cannot be computed, TransientError for a full disk.
    """
    where = f"dataset '{spec.name}'"
    for alias in spec.inputs:
        if alias not in inputs or alias not in input_versions:
            raise ConfigError(f"input '{alias}' is not given", where=where)
    staging, target = work_dir / "staged", work_dir / "files"
    for folder in (staging, target / "data"):
        folder.mkdir(parents=True)
    with storage_errors(where):
        with select_rows(
            spec, inputs, scratch_dir=work_dir, memory_limit_bytes=memory_limit_bytes, masking=masking
        ) as selected:
            staged = stage(selected, staging)
        data = [_write(name, split, staged, target) for split in staged.rows for name in spec.formats]
        statistics = dataset_statistics(staged, scratch_dir=work_dir, memory_limit_bytes=memory_limit_bytes)
        found = loadable(spec.formats, staged.schema, statistics.columns)
        report = Report(
            spec,
            input_versions,
            staged.schema,
            selected.lineage,
            statistics,
            [f for f, _ in data],
            (*told(selected.anonymity), *_warnings(spec, staged), *found.left_out),
            found,
        )
        card = render_card(report, values=False)
        written = [_describe(path, target, "report") for path in _cards(report, target)]
        shutil.rmtree(staging)
    files = (*data, *written)
    return Built(
        files,
        _fields(report, [f for f, _ in files], _masking(spec, masking, selected.anonymity)),
        selected.lineage,
        statistics,
        card,
    )


def _write(name: str, split: str, staged: Staged, target: Path) -> tuple[ManifestFile, Path]:
    plugin = FORMATS.load(name)
    path = target / "data" / f"{split}.{plugin.extension}"
    rows = plugin(FORMATS.config(name)()).write(staged.read(split), path)
    return _describe(path, target, "data", split=split, rows=rows)


def _cards(report: Report, target: Path) -> list[Path]:
    """The page and the card, and cards of the formats that the card does not declare."""
    cards = [_save(target / "README.md", render_card(report, values=True))]
    for name in list(report.loadable.features)[1:]:
        (target / name).mkdir()
        declared = front_matter(report.loadable, name, report.files, folder="../")
        cards.append(_save(target / name / "README.md", f"---\n{declared}---\n\nSee `../README.md`.\n"))
    return [*cards, _save(target / "report.html", render_html(report))]


def _save(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def _describe(path: Path, root: Path, role: str, **more: Any) -> tuple[ManifestFile, Path]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    fields = {
        "path": path.relative_to(root).as_posix(),
        "size_bytes": path.stat().st_size,
        "sha256": digest,
        "role": role,
        "format": path.suffix[1:],
        **more,
    }
    return ManifestFile.model_validate(fields), path


def _warnings(spec: DatasetSpec, staged: Staged) -> tuple[str, ...]:
    """What the text formats cannot write as it is."""
    formats = [name for name in spec.formats if name in _TEXT_FORMATS_WITHOUT_NAN]
    if not formats:
        return ()
    lost = dict.fromkeys(staged.schema.names, 0)
    for split in staged.rows:
        for batch in staged.read(split):
            for name in lost:
                lost[name] += _non_finite(batch.column(name))
    return tuple(
        f"column '{name}': {count} NaN or infinite values are null in {' and '.join(formats)}"
        for name, count in lost.items()
        if count
    )


def _non_finite(values: pa.Array) -> int:
    kind = values.type
    if pa.types.is_floating(kind):
        return int(pc.sum(pc.invert(pc.is_finite(values))).as_py() or 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _non_finite(values.flatten())
    if pa.types.is_struct(kind):
        return sum(_non_finite(part) for part in values.flatten())
    if pa.types.is_map(kind):
        return _non_finite(values.keys) + _non_finite(values.items)
    return 0


def _masking(spec: DatasetSpec, masking: Masking | None, anonymity: Mapping[str, int]) -> dict[str, Any]:
    """What the manifest says of masks; nothing where there are none."""
    found: dict[str, Any] = {"anonymity": dict(anonymity)} if anonymity else {}
    if spec.mask:
        found["masks"] = {name: mask.how for name, mask in spec.mask.items()}
    if any(mask.how in KEYED for mask in spec.mask.values()):
        found["mask_key_version"] = (masking or Masking(spec.tenant)).version
    return found


def _fields(report: Report, files: list[ManifestFile], masking: Mapping[str, Any]) -> Mapping[str, Any]:
    """The manifest's fields without version and time."""
    spec = report.spec
    columns = [
        ManifestColumn(name=f.name, type=str(f.type), sources=report.sources(f.name)) for f in report.schema
    ]
    fields: dict[str, Any] = {
        "dataset": spec.name,
        "tenant": spec.tenant,
        "tool_version": tool_version(),
        "configuration_fingerprint": configuration_fingerprint(spec),
        "inputs": {
            alias: ManifestInput(stream=stream, version=str(report.input_versions[alias])).model_dump()
            for alias, stream in spec.inputs.items()
        },
        "columns": [column.model_dump() for column in columns],
        "rows": report.statistics.rows,
        "rows_by_split": dict(report.statistics.rows_by_split),
        "split_ratios": dict(spec.split.ratios),
        "split_group_by": list(spec.split.group_by),
        "seed": spec.split.seed,
        "files": [file.model_dump() for file in files],
        "warnings": list(report.warnings),
        **masking,
    }
    return {**fields, "content_fingerprint": content_fingerprint(fields)}
