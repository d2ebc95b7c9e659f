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
    ("kind: sqlite", "kind: sqlight", 4, ["sqlight", "Did you mean 'sqlite'?", "postgres"]),
    ("path: shop.db", "paht: shop.db", 4, ["paht", "path"]),
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
        8,
        ["refine[0]", "casst", "Did you mean 'cast'?", "dedupe"],
    ),
    ("primary_key: [id]", "refine: [{step: rule, check: a}]", 8, ["refine[0]", "name"]),
    ("primary_key: [id]", "expect: [{type: not_nul, column: id}]", 8, ["not_nul", "not_null"]),
    ("table: orders", "tabel: orders", 7, ["tabel", "Did you mean 'table'?"]),
    ("name: shop", "name: Shop!", 3, ["name", "Shop!"]),
    ("SyncSource", "SyncSorce", 1, ["SyncSorce", "Did you mean 'superinsight_sync.SyncSource'?", "Dataset"]),
    ("type: superinsight_sync.SyncSource", "type: [a]", 1, ["type", "superinsight_sync.SyncSource"]),
    ("type: superinsight_sync.SyncSource\n", "", 1, ["type", "superinsight_sync.SyncSource"]),
    ("primary_key: [id]", "partition: {by: day, start: 2026-13-45}", 8, ["2026-13-45", "timestamp"]),
    ("name: orders", "name: !!python/object:os.system x", 6, ["no valid YAML", "x"]),
    ("primary_key: [id]", "? [a, b]\n      : c", 8, ["no valid YAML", "a key is a list"]),
    ("name: orders", "name: ord\aers", 6, ["no valid YAML", "control characters"]),
    ("name: orders", "name: ord\udcffers", 6, ["no valid YAML", "UTF-8"]),
    ("primary_key: [id]", "name: sales", 8, ["'name' is written twice"]),
    (
        "[id]",
        "[id]\n      expect: [{type: reference, column: c, to: shop/odrers}]",
        9,
        ["Did you mean 'shop/orders'?"],
    ),
    ("[id]", "[id]\n    - {name: raw_orders, table: o}", 5, ["raw_orders", "rename"]),
    ("[id]", "[id]\n    - {name: orders_dictionary, table: o}", 5, ["orders_dictionary", "rename"]),
    ("name: shop", "name: datasets", 3, ["datasets"]),
]


def problems(folder: Path, text: str) -> list[str]:
    (folder / "shop").mkdir()
    (folder / "shop" / "defs.yaml").write_text(text, errors="surrogateescape")
    return [str(p) for p in load_folder(folder).problems]


def test_a_good_declaration_has_no_problems(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("good", "wrong", "line", "said"), WRONG, ids=[ascii(w[1].split("\n")[-1].strip()) for w in WRONG]
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


@pytest.mark.parametrize("stage", ["raw", "refined"])
def test_a_secret_written_out_where_rows_are_saved_is_refused_too(tmp_path: Path, stage: str) -> None:
    save = f"save: {{{stage}: {{strategy: database, dsn: 'postgresql://u:hunter2@h/db'}}}}"
    found = problems(tmp_path, GOOD.replace("primary_key: [id]", save))
    assert len(found) == 1
    assert "defs.yaml:8:" in found[0] and "env" in found[0]
    assert "hunter2" not in found[0]


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = GOOD + "      refine:\n        - {step: casst}\n        - {step: dedup}\n"
    found = problems(tmp_path, text + "      expect:\n        - {type: uniqe, columns: [id]}\n")
    assert [p.split(":")[1] for p in found] == ["10", "11", "13"]


def test_a_dataset_over_another_tenants_stream_is_refused(tmp_path: Path) -> None:
    dataset = """\
type: superinsight_sync.Dataset
attributes: {name: d, tenant: other, inputs: {o: shop/orders}, select: SELECT * FROM o}
"""
    found = problems(tmp_path, GOOD + "---\n" + dataset)
    assert len(found) == 1
    assert "another tenant" in found[0]


def test_a_wrong_stream_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "defs.yaml").write_text(GOOD.replace("table: orders", "tabel: orders"))
    problems = load_folder(tmp_path).problems
    assert [p.message.split(":")[0] for p in problems] == ["streams.0.tabel"]
    (tmp_path / "shop" / "defs.yaml").write_text(GOOD.split("  streams:")[0] + "  streams: []\n")
    (problem,) = load_folder(tmp_path).problems
    assert "needs at least one" in problem.message
