"""A wrong declaration is refused with file, line, the value and the valid ones."""

from pathlib import Path

import pytest

from superinsight_sync.pipeline.project import load_folder

GOOD = """\
type: superinsight_sync.SyncSource
attributes:
  name: shop
  connection: {kind: sqlite, path: shop.db}
  streams:
    - name: orders
      table: orders
      primary_key: [id]
"""

WRONG = [
    ("streams:", "streems:", 5, ["streems", "Did you mean 'streams'?", "connection"]),
    ("kind: sqlite", "kind: sqlight", 1, ["sqlight", "Did you mean 'sqlite'?", "postgres"]),
    ("path: shop.db", "paht: shop.db", 1, ["paht", "path"]),
    (
        "primary_key: [id]",
        "primary_key: [id]\n      schedule: hourly",
        9,
        ["schedule", "hourly", "*/15 * * * *"],
    ),
    ("primary_key: [id]", "sync: {mode: sometimes}", 8, ["sync.mode", "full", "incremental", "sometimes"]),
    ("primary_key: [id]", "sync: {mode: incremental}", 8, ["cursor"]),
    ("primary_key: [id]", "sync: {mode: full, lag: 10 parsecs}", 8, ["lag", "10 parsecs", "10m"]),
    (
        "primary_key: [id]",
        "refine: [{step: casst}]",
        1,
        ["refine[0]", "casst", "Did you mean 'cast'?", "dedupe"],
    ),
    ("primary_key: [id]", "refine: [{step: rule, check: a}]", 1, ["refine[0]", "name"]),
    ("primary_key: [id]", "expect: [{type: not_nul, column: id}]", 1, ["not_nul", "not_null"]),
    ("table: orders", "tabel: orders", 7, ["tabel", "Did you mean 'table'?"]),
    ("name: shop", "name: Shop!", 3, ["name", "Shop!"]),
]


def problems(folder: Path, text: str) -> list[str]:
    (folder / "shop").mkdir()
    (folder / "shop" / "defs.yaml").write_text(text)
    return [str(p) for p in load_folder(folder).problems]


def test_a_good_declaration_has_no_problems(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("good", "wrong", "line", "said"), WRONG, ids=[w[1].splitlines()[-1].strip() for w in WRONG]
)
def test_a_wrong_one_is_told_by_file_line_value_and_what_is_valid(
    tmp_path: Path, good: str, wrong: str, line: int, said: list[str]
) -> None:
    found = problems(tmp_path, GOOD.replace(good, wrong, 1))
    assert found, "nothing was found"
    told = next((p for p in found if f"defs.yaml:{line}:" in p), None)
    assert told is not None, found
    for word in said:
        assert word in told, told


def test_no_yaml_at_all_is_told_with_its_line(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD + "  streams: [\n")
    assert len(found) == 1
    assert "no valid YAML" in found[0]


def test_a_secret_written_out_is_refused_and_not_repeated(tmp_path: Path) -> None:
    connection = "{kind: postgres, dsn: 'postgresql://u:hunter2@h/db'}"
    found = problems(tmp_path, GOOD.replace("{kind: sqlite, path: shop.db}", connection))
    assert "env" in found[0]
    assert "hunter2" not in found[0]


def test_a_dataset_over_another_tenants_stream_is_refused(tmp_path: Path) -> None:
    dataset = """\
type: superinsight_sync.Dataset
attributes: {name: d, tenant: other, inputs: {o: shop/orders}, select: SELECT * FROM o}
"""
    found = problems(tmp_path, GOOD + "---\n" + dataset)
    assert len(found) == 1
    assert "another tenant" in found[0]
