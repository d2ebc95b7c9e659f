"""How the project loads: fast, light, and with one bad declaration harming only itself."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from superinsight_sync_tests.warm import run_warm

HEAVY = (
    "great_expectations",
    "openai",
    "pandas",
    "polars",
    "sqlalchemy",
    "duckdb",
    "deltalake",
    "pyarrow",
    "connectorx",
    "psycopg",
    "matplotlib",
    "sqlglot",
    "adbc_driver_manager",
)

MOST_CALLS = 35_000
"""How many calls of functions a stream more may cost."""

PYPROJECT = """
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "{name}"
code_location_name = "{name}"
code_location_target_module = "{name}.definitions"
defs_module = "{name}.defs"
"""

DEFINITIONS = """
from pathlib import Path
import dagster as dg
from superinsight_sync.orchestration.loading import load_project_definitions

@dg.definitions
def defs() -> dg.Definitions:
    return load_project_definitions(Path(__file__).parent)
"""


def project(folder: Path, declarations: dict[str, object], name: str = "proj") -> Path:
    """A project folder with the declarations given by folder name."""
    (folder / name / "defs").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT.format(name=name))
    (folder / name / "__init__.py").touch()
    (folder / name / "defs" / "__init__.py").touch()
    (folder / name / "definitions.py").write_text(DEFINITIONS)
    for entry, document in declarations.items():
        (folder / name / "defs" / entry).mkdir()
        text = document if isinstance(document, str) else yaml.safe_dump(document)
        (folder / name / "defs" / entry / "defs.yaml").write_text(text)
    return folder


def source(name: str, streams: int = 1, **attributes: object) -> dict[str, object]:
    """A declaration of a SQLite source."""
    entries = [
        {
            "name": f"t{n}",
            "table": f"t{n}",
            "primary_key": ["id"],
            "refine": [{"step": "dedupe"}, {"step": "rule", "name": "positive", "check": "id > 0"}],
            "expect": [{"type": "not_null", "column": "id", "severity": "critical"}],
            "schedule": "*/15 * * * *",
        }
        for n in range(streams)
    ]
    connection = {"kind": "sqlite", "path": "x.db"}
    return {
        "type": "superinsight_sync.SyncSource",
        "attributes": {"name": name, "connection": connection, "streams": entries, **attributes},
    }


SCRIPT = """
import json, sys
sys.path.insert(0, {folder!r})
from {name}.definitions import defs as load
{before}
defs = load()
defs.get_repository_def()
{after}
{code}
"""


def load(folder: Path, code: str, name: str = "proj", *, counted: bool = False) -> dict[str, object]:
    """Loads the definitions in a process of its own and evaluates `code` there.

    Args:
        counted: whether `calls` is there, the number of calls of functions that loading took.
    """
    before = "import cProfile\nprofile = cProfile.Profile()\nprofile.enable()" if counted else ""
    after = "profile.disable()\ncalls = sum(e.callcount for e in profile.getstats())" if counted else ""
    done = run_warm(run_script, script(folder, code, name, before, after), env=os.environ)
    assert done.code == 0, done.err
    found: dict[str, object] = json.loads(done.out.splitlines()[-1])
    return found


def script(folder: Path, code: str, name: str = "proj", before: str = "", after: str = "") -> str:
    return SCRIPT.format(
        folder=str(folder), name=name, code=textwrap.dedent(code), before=before, after=after
    )


def run_script(text: str) -> None:
    exec(text, {"__name__": "script"})


def test_loading_imports_no_heavy_library(tmp_path: Path) -> None:
    folder = project(tmp_path, {"one": source("one")})
    code = f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script(folder, code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_a_hundred_streams_are_loaded_by_a_hundred_times_the_work_of_one(tmp_path: Path) -> None:
    """Dagster's own graphs grow by the square if jobs and schedules do; seconds are for `benchmarks/`."""
    code = """print(json.dumps({"calls": calls, "assets": len(list(defs.resolve_all_asset_specs()))}))"""
    calls = {}
    for streams in (1, 25, 100):
        folder = project(tmp_path / str(streams), {"big": source("big", streams)})
        found = load(folder, code, counted=True)
        assert found["assets"] == 3 * streams
        calls[streams] = int(str(found["calls"]))
    of_25, of_100 = calls[25] - calls[1], calls[100] - calls[1]
    assert of_100 < 1.1 * of_25 * 99 / 24, calls
    assert of_100 < 99 * MOST_CALLS, calls


def crons(declared: dict[str, object], count: int) -> dict[str, object]:
    """The declaration with `count` different schedules."""
    streams = declared["attributes"]["streams"]  # type: ignore[index]
    for n, stream in enumerate(streams):
        stream["schedule"] = f"{n % count} 3 * * *"
    return declared


def test_loading_grows_with_streams_crons_and_sources_not_with_their_product(tmp_path: Path) -> None:
    """Counts calls of functions, which are the same on every machine."""
    sizes = {
        "warm": {"s": crons(source("s", 3), 3)},
        "few": {"s": crons(source("s", 6), 1)},
        "streams": {"s": crons(source("s", 24), 1)},
        "crons": {"s": crons(source("s", 24), 24)},
        "three": {f"s{n}": crons(source(f"s{n}"), 1) for n in range(3)},
        "twelve": {f"s{n}": crons(source(f"s{n}"), 1) for n in range(12)},
    }
    for name, declarations in sizes.items():
        project(tmp_path / name, declarations, name=name)
    code = f"""
    import cProfile, importlib
    from dagster._core.remote_representation.external_data import RepositorySnap
    found = {{}}
    for name in {list(sizes)!r}:
        sys.path.insert(0, {str(tmp_path)!r} + "/" + name)
        load = importlib.import_module(name + ".definitions").defs
        counted = cProfile.Profile()
        counted.enable()
        repository = load().get_repository_def()
        snap = RepositorySnap.from_def(repository, defer_snapshots=True)
        counted.disable()
        calls = sum(entry.callcount for entry in counted.getstats())
        jobs = [n for n in repository.job_names if not n.startswith("__")]
        found[name] = [calls, len(jobs), len(repository.schedule_defs)]
    print(json.dumps(found))
    """
    project(tmp_path / "proj", {"s": source("s")})
    found: dict[str, Any] = load(tmp_path / "proj", code)
    calls, jobs, schedules = ({name: each[n] for name, each in found.items()} for n in range(3))
    assert (schedules["crons"], jobs["crons"], jobs["twelve"]) == (25, 2, 13), (
        "one job a source, and the upkeep's"
    )
    assert calls["crons"] < 1.5 * calls["streams"]
    assert calls["streams"] < 4.4 * calls["few"]
    assert calls["twelve"] < 4.4 * calls["three"]


BAD = [
    ("unknown key", {"colour": "blue"}, "colour"),
    ("unknown kind", {"connection": {"kind": "postgress", "dsn": "x"}}, "postgres"),
    ("literal secret", {"connection": {"kind": "postgres", "dsn": "postgresql://u:hunter2@h/db"}}, "env"),
]


@pytest.mark.parametrize(("what", "attributes", "said"), BAD, ids=[b[0] for b in BAD])
def test_a_bad_declaration_fails_alone_and_says_why(
    tmp_path: Path, what: str, attributes: dict[str, object], said: str
) -> None:
    folder = project(tmp_path, {"bad": source("bad", **attributes), "good": source("good")})
    code = """
    specs = {s.key.to_user_string(): s.description for s in defs.resolve_all_asset_specs()}
    print(json.dumps(specs))
    """
    found = load(folder, code)
    assert "good/t0" in found
    assert "bad/t0" not in found
    reason = str(found["bad/declaration_error"])
    assert said in reason
    assert "hunter2" not in reason


def test_a_dataset_over_an_unknown_stream_fails_alone(tmp_path: Path) -> None:
    dataset = {
        "type": "superinsight_sync.Dataset",
        "attributes": {"name": "d", "inputs": {"x": "good/nothing"}, "select": "SELECT * FROM x"},
    }
    folder = project(tmp_path, {"good": source("good"), "d": dataset})
    code = """
    print(json.dumps({s.key.to_user_string(): s.description for s in defs.resolve_all_asset_specs()}))
    """
    found = load(folder, code)
    assert "good/t0" in str(found["d_inputs/declaration_error"])


def test_a_declaration_of_what_is_there_already_fails_alone(tmp_path: Path) -> None:
    folder = project(tmp_path, {"one": source("one"), "copy": source("one"), "good": source("good")})
    code = """
    print(json.dumps({s.key.to_user_string(): s.description for s in defs.resolve_all_asset_specs()}))
    """
    found = load(folder, code)
    assert "good/t0" in found and "one/t0" in found
    assert "is there already" in str(found)


def test_yaml_that_cannot_be_read_fails_alone_and_says_where(tmp_path: Path) -> None:
    text = yaml.safe_dump(source("bad")).replace("name: bad", "name: 2026-13-45")
    folder = project(tmp_path, {"bad": text, "good": source("good")})
    code = """
    print(json.dumps({s.key.to_user_string(): s.description for s in defs.resolve_all_asset_specs()}))
    """
    found = load(folder, code)
    assert "good/t0" in found
    assert "defs.yaml" in str(found["bad/declaration_error"]) and "2026-13-45" in str(
        found["bad/declaration_error"]
    )
