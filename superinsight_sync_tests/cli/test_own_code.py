"""Python files beside the declarations: what is wrong with them harms only themselves, and is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from superinsight_sync_tests.cli.commands import sis

MINE = """
import dagster as dg
import pyarrow as pa


@dg.asset(key=["mine", "joined"], group_name="mine", ins={"bad": dg.AssetIn(["bad", "o2"]), "pages": dg.AssetIn(["web", "pages"])})
def joined(bad: pa.Table, pages: pa.Table) -> pa.Table:
    return pages


@dg.asset(key=["mine", "typo"], group_name="mine", ins={"pages": dg.AssetIn(["web", "pagse"])})
def typo(pages: pa.Table) -> pa.Table:
    return pages


@dg.asset(key=["mine", "below"], group_name="mine", ins={"rows": dg.AssetIn(["mine", "joined"])}, deps=["made_elsewhere"])
def below(rows: pa.Table) -> None: ...


@dg.asset(key=["mine", "copy"], group_name="mine", ins={"pages": dg.AssetIn(["web", "pages"])})
def copy(pages: pa.Table) -> pa.Table:
    return pages


@dg.asset(group_name="mine")
def by_name(copy: pa.Table) -> pa.Table:
    return copy
"""


@pytest.fixture
def mine(project: Path) -> Iterator[Path]:
    """The project with own assets, and a source that one of them reads and that does not load."""
    defs = project / project.name / "defs"
    bad = (
        (defs / "web" / "defs.yaml").read_text().replace("name: web", "name: bad").replace("table:", "tabel:")
    )
    (defs / "bad").mkdir()
    (defs / "bad" / "defs.yaml").write_text(bad)
    (defs / "mine.py").write_text(MINE)
    (defs / "torn.py").write_text("raise RuntimeError('no good')")
    yield project
    for file in ("mine.py", "torn.py", "bad/defs.yaml"):
        (defs / file).unlink()
    (defs / "bad").rmdir()


def test_what_is_missing_is_told_and_the_rest_runs(mine: Path) -> None:
    checked = sis("check", "web", "--json")
    assert checked.code == 2
    told = [(Path(p["file"]).name, p["message"]) for p in checked.document["problems"]]
    of_mine = [message for name, message in told if name == "mine.py"]
    assert any("mine/joined: reads bad/o2" in m and "defs/bad could not be loaded" in m for m in of_mine)
    assert any("mine/typo: reads web/pagse" in m and "Did you mean web/pages?" in m for m in of_mine)
    assert len(of_mine) == 2
    assert [m for name, m in told if name == "torn.py"] == ["RuntimeError: no good"]
    assert [m for name, m in told if "declaration_error" in m] == []
    assert sis("run", "web.pages", "mine/copy", "by_name", "--json").code == 0
    failed = sis("run", "mine/joined", "mine/below", "--json")
    assert failed.code == 2
    assert [a["materialized"] for a in failed.document["assets"]] == [False, False]
    assert "bad/o2" in failed.document["errors"][0]
    planned = {a["asset"]: a for a in sis("plan", "group:mine", "--json").document["assets"]}
    assert planned["mine/joined"]["outcome"] == "waits"
    assert planned["mine/below"]["outcome"] == "waits"
    assert planned["mine/copy"]["outcome"] == "made"


OF_MINE = """type: superinsight_sync.Dataset
attributes:
  name: of_mine
  inputs:
    copy: mine/copy
    named: by_name
    lost: mine/cpoy
  select: SELECT c.page FROM copy c JOIN named n USING (page)
"""


def test_a_dataset_of_own_tables_is_checked_with_its_line(mine: Path) -> None:
    file = mine / mine.name / "defs" / "of_mine" / "defs.yaml"
    file.parent.mkdir()
    file.write_text(OF_MINE)
    try:
        problems = sis("check", "--offline", "--json").document["problems"]
        found = [(p["line"], p["message"]) for p in problems if p["file"] == str(file)]
        assert len(found) == 1
        assert found[0][0] == 7 and "'mine/cpoy'" in found[0][1]
        file.write_text(OF_MINE.replace("    lost: mine/cpoy\n", ""))
        problems = sis("check", "--offline", "--json").document["problems"]
        assert [p for p in problems if p["file"] == str(file)] == []
        done = sis("run", "web.pages", "mine/copy", "by_name", "of_mine", "--json")
        assert done.code == 0
        assert {a["asset"]: a["rows"] for a in done.document["assets"]}["datasets/of_mine"] == 5
        planned = sis("plan", "of_mine", "--json").document["assets"][0]
        assert planned["outcome"] == "unchanged"
        assert planned["reads"][0].startswith("mine/copy version ")
    finally:
        file.unlink()
        file.parent.rmdir()
