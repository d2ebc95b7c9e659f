"""The documentation is complete and true where a machine can tell."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from pydantic import BaseModel

from superinsight_sync.conflict.protocol import STRATEGIES
from superinsight_sync.export.protocol import FORMATS
from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SaveSpec, SourceSpec
from superinsight_sync.model.entity import EntitySpec
from superinsight_sync.pipeline.project import load_folder
from superinsight_sync.quality.expectations import BUILTIN_CHECKS
from superinsight_sync.sources.protocol import SOURCE_KINDS
from superinsight_sync.transform.protocol import STEPS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
WRITTEN = [p for p in PAGES if p.parent.name != "reference"]
BLOCK = re.compile(r"^```yaml\n(type: superinsight_sync\..*?)^```$", re.MULTILINE | re.DOTALL)
PICTURES = {"docs/images/asset-graph.png", "docs/images/failed-check.png"}


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "tools" / "make_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_generated_pages_are_what_the_code_says() -> None:
    assert tool().stale() == [], "run: python tools/make_reference.py"


def test_a_stale_page_is_noticed(tmp_path: Path) -> None:
    made = tool()
    made.REFERENCE = tmp_path
    made.main.__globals__["sys"].argv, before = ["make_reference.py"], sys.argv
    try:
        made.main()
    finally:
        sys.argv = before
    assert made.stale() == []
    (tmp_path / "cli.md").write_text("old")
    assert made.stale() == ["cli.md"]


def every_command() -> list[str]:
    import click

    from superinsight_sync.cli.main import main

    return [path for path, _ in tool()._commands(main, click.Context(main), "sis")]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(every_command, id="commands"),
        pytest.param(lambda: SOURCE_KINDS.names(), id="kinds"),
        pytest.param(lambda: STEPS.names(), id="steps"),
        pytest.param(lambda: FORMATS.names(), id="formats"),
        pytest.param(lambda: STRATEGIES.names(), id="conflict strategies"),
        pytest.param(lambda: tuple(BUILTIN_CHECKS), id="checks"),
        pytest.param(
            lambda: SaveSpec.model_fields["strategy"].annotation.__args__,  # type: ignore[union-attr]
            id="save strategies",
        ),
    ],
)
def test_everything_a_user_can_name_is_in_a_written_page(words: object) -> None:
    text = "\n".join(p.read_text() for p in WRITTEN)
    missing = [w for w in words() if not re.search(rf"\b{re.escape(w)}\b", text)]  # type: ignore[operator]
    assert not missing


def test_every_key_of_a_declaration_says_what_it_means() -> None:
    seen: set[type[BaseModel]] = set()
    waiting: list[type[BaseModel]] = [SourceSpec, DatasetSpec, EntitySpec]
    waiting += [SOURCE_KINDS.config(n) for n in SOURCE_KINDS.names()]
    waiting += [STRATEGIES.config(n) for n in STRATEGIES.names()]
    silent = []
    while waiting:
        model = waiting.pop()
        if model in seen:
            continue
        seen.add(model)
        waiting += tool()._nested(model)
        silent += [f"{model.__name__}.{n}" for n, f in model.model_fields.items() if not f.description]
    assert silent == []


def test_every_environment_variable_is_documented() -> None:
    code = "\n".join(p.read_text() for p in (ROOT / "superinsight_sync").rglob("*.py"))
    variables = set(re.findall(r"\b(?:SIS|OPENAI)_[A-Z_]*[A-Z]\b", code)) - {"SIS_"}
    page = (DOCS / "reference" / "settings.md").read_text()
    assert sorted(v for v in variables if f"`{v}`" not in page) == []


def test_every_relative_link_leads_to_a_file() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target) or named(page.parent / path) in PICTURES:
                continue
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{named(page)}: {target}")
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_every_page_is_reached_from_another_one() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
        if target.partition("#")[0]
    }
    assert [named(p) for p in DOCS.rglob("*.md") if p.resolve() not in linked] == []


@pytest.mark.parametrize("page", [pytest.param(p, id=named(p)) for p in PAGES if BLOCK.search(p.read_text())])
def test_every_declaration_in_the_docs_is_valid(page: Path, tmp_path: Path) -> None:
    blocks = BLOCK.findall(page.read_text())
    names = {(yaml.safe_load(b)["type"], yaml.safe_load(b)["attributes"]["name"]) for b in blocks}
    for file in (ROOT / "superinsight_sync" / "defs").rglob("defs.yaml"):
        declared = yaml.safe_load(file.read_text())
        if (declared["type"], declared["attributes"]["name"]) not in names:
            blocks.append(file.read_text())
    for number, block in enumerate(blocks):
        folder = tmp_path / f"block_{number}"
        folder.mkdir()
        (folder / "defs.yaml").write_text(block)
    assert [str(p) for p in load_folder(tmp_path).problems] == []
