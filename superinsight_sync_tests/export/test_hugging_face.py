"""Every configuration that a card declares loads, with the declared types and the values that were exported."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from superinsight_sync.export.build import Built
from superinsight_sync_tests.export.making import build, dataset

SCHEMA = pa.schema(
    [
        ("g", pa.string()),
        ("id", pa.int64()),
        ("nothing", pa.string()),
        ("number", pa.int32()),
        ("real", pa.float64()),
        ("flag", pa.bool_()),
        ("at", pa.timestamp("us", "UTC")),
        ("day", pa.date32()),
        ("money", pa.decimal128(12, 2)),
        ("list", pa.list_(pa.int64())),
        ("inner", pa.struct([("a", pa.list_(pa.struct([("b", pa.float32())])))])),
    ]
)
FULL = {
    "id": 2**53 - 1,
    "nothing": None,
    "number": None,
    "real": 0.1 + 0.2,
    "flag": True,
    "at": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    "day": date(2026, 1, 2),
    "money": Decimal("1.10"),
    "list": [1, None],
    "inner": {"a": [{"b": 1.5}]},
}


@pytest.fixture(scope="module")
def hub() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
            patch.setenv(name, "1")
        import datasets

        datasets.disable_progress_bars()
        yield datasets


def published(built: Built, folder: Path) -> Path:
    for file, local in built.files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(local, folder / file.path)
    return folder


def rows_without_values_in_most_splits() -> pa.Table:
    names = [name for name in SCHEMA.names if name != "g"]
    rows = [{"g": f"g{n}", **dict.fromkeys(names)} for n in range(60)]
    return pa.Table.from_pylist([{"g": "full", **FULL}, *rows], SCHEMA)


def plain(value: Any, kind: pa.DataType) -> Any:
    """CSV has text for what pandas does not read where a column is NULL."""
    if not isinstance(value, str) or pa.types.is_string(kind):
        return value
    if pa.types.is_nested(kind):
        return json.loads(value)
    return (date if pa.types.is_date(kind) else datetime).fromisoformat(value)


@pytest.mark.parametrize("formats", [["jsonl", "csv", "parquet", "json"], ["csv"], ["jsonl"]])
def test_every_declared_configuration_loads(hub: ModuleType, tmp_path: Path, formats: list[str]) -> None:
    table = rows_without_values_in_most_splits()
    spec = dataset(formats=formats, split={"group_by": ["g"]})
    version = published(build(spec, tmp_path / "w", rows=table), tmp_path / "version")
    found = {}
    for card in sorted(version.rglob("README.md")):
        for name in hub.get_dataset_config_names(str(card.parent)):
            found[name] = hub.load_dataset(str(card.parent), name, cache_dir=str(tmp_path / "cache"))
    assert set(found) == set(formats) - {"json"}
    for name, splits in found.items():
        rows = sorted((row for split in splits.values() for row in split.to_list()), key=lambda r: r["g"])
        assert set(splits) == {"train", "validation", "test"}
        read = [{k: plain(v, SCHEMA.field(k).type) for k, v in row.items()} for row in rows]
        assert read == sorted(table.to_pylist(), key=lambda r: r["g"]), name
        if name == "parquet":
            assert splits["test"].features == hub.Features.from_arrow_schema(SCHEMA)


@pytest.mark.parametrize(
    ("values", "kind", "left"),
    [
        (["007", "x"], pa.string(), "csv"),
        (["True"], pa.string(), "csv"),
        (["2026-01-02"], pa.string(), "jsonl"),
        ([["2026-01-02T00:00:00"]], pa.list_(pa.string()), "jsonl"),
        ([2**60, None], pa.int64(), "csv"),
        ([Decimal("1.5")], pa.decimal128(38, 9), "csv"),
        ([2**64 - 1], pa.uint64(), "jsonl"),
        ([[("a", 1)]], pa.map_(pa.string(), pa.int64()), "parquet"),
    ],
)
def test_what_a_reader_would_guess_wrong_is_not_declared_and_told(
    tmp_path: Path, values: list[Any], kind: pa.DataType, left: str
) -> None:
    built = build(dataset(), tmp_path / "w", rows=pa.table({"x": pa.array(values, kind)}))
    told = [w for w in built.fields["warnings"] if f"read {left} right: column 'x'" in w]
    assert len(told) == 1
    folders = {file.path for file, _ in built.files if file.path.endswith("README.md")}
    assert f"{left}/README.md" not in folders
