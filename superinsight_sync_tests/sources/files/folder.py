"""A folder with files, read as a source."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.kinds.files import Config, FilesSource


def settings(path: Path) -> Settings:
    return Settings(path, path / ".sis", str(path / "lake"), "sqlite://")


def source(path: Path, **config: Any) -> FilesSource:
    return FilesSource(Config(path=".", **config), settings(path))


def stream(path: str, **declared: Any) -> StreamSpec:
    return StreamSpec.model_validate({"name": "s", "path": path, **declared})


def read(folder: Path, path: str, *, request: dict[str, Any] | None = None, **declared: Any) -> pa.Table:
    """All rows without `_sis_file`, after checking that the schema is the described one."""
    spec = stream(path, **declared)
    files = source(folder)
    shape = files.describe(spec)
    with files.read(ReadRequest(spec, **(request or {}))) as reader:
        assert reader.schema == pa.schema([(c.name, c.arrow) for c in shape.columns])
        table = reader.read_all()
    assert table.column_names[-1] == "_sis_file"
    table.validate(full=True)
    return table.drop_columns("_sis_file")


def rows(folder: Path, path: str, **declared: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(folder, path, **declared).to_pylist()
    return found
