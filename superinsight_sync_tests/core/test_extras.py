"""What an optional part needs is declared, and a missing one says what to install."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from superinsight_sync.core.extras import EXTRAS

_PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
_OPTIONAL = _PROJECT["optional-dependencies"]
_REPOSITORY_ONLY = {"all", "demo", "dev"}


def _name(requirement: str) -> str:
    return requirement.split(">=")[0].split("[")[0].lower().replace("_", "-")


def test_the_table_of_extras_is_that_of_the_package() -> None:
    distributions = packages_distributions()
    for extra, modules in EXTRAS.items():
        required = {_name(r) for r in _OPTIONAL[extra]}
        assert {
            next(iter({d.lower().replace("_", "-") for d in distributions[m]} & required)) for m in modules
        } == required
    assert set(_OPTIONAL) - _REPOSITORY_ONLY == set(EXTRAS)


def test_all_means_all_extras_and_the_core_repeats_none() -> None:
    assert _OPTIONAL["all"] == [f"superinsight-sync[{','.join(EXTRAS)}]"]
    optional = {_name(r) for extra in EXTRAS for r in _OPTIONAL[extra]}
    assert not optional & {_name(r) for r in _PROJECT["dependencies"]}


_WITHOUT_EXTRAS = """
import sys
from superinsight_sync.core.extras import EXTRAS

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(name, name=name)

# Starlette and uvicorn come with Dagster's web server.
HIDDEN = {m for modules in EXTRAS.values() for m in modules} - {"starlette", "uvicorn"}
sys.meta_path.insert(0, Hidden())

import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in HIDDEN else real(name)
import superinsight_sync.core.extras as extras
extras.find_spec = importlib.util.find_spec
"""


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", _WITHOUT_EXTRAS + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_kind_without_its_driver_says_what_to_install() -> None:
    shown = _run(
        """
from pydantic import BaseModel
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import SOURCE_KINDS

VALUES = {"dsn": "x://h/d", "url": "http://h", "uri": "x://h", "path": "x", "wsdl": "http://h", "bootstrap_servers": "h:1", "user": "{{ env.U }}", "password": "{{ env.P }}"}
for kind in SOURCE_KINDS.names():
    needed = {n: VALUES.get(n, "x") for n, f in SOURCE_KINDS.config(kind).model_fields.items() if f.is_required()}
    try:
        open_source({"kind": kind, **needed}, load_settings())
    except ConfigError as error:
        print(error)
    else:
        print(kind, "works")
"""
    )
    told = {line.split("'")[1]: line for line in shown.splitlines() if "pip install" in line}
    kinds_with_extras = {"graphql", "kafka", "mongodb", "mssql", "mysql", "oracle", "redis", "soap"}
    assert set(told) == kinds_with_extras
    for kind, line in told.items():
        assert f"pip install 'superinsight-sync[{kind}]'" in line
    assert {"postgres works", "sqlite works", "files works", "rest works", "duckdb works"} <= set(
        shown.splitlines()
    )


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ("gateway", "from superinsight_sync.cli.main import main; main(['gateway'])"),
        (
            "llm",
            "from superinsight_sync.semantics.llm import LlmDescriber, LlmSettings\n"
            "from superinsight_sync.core.errors import ConfigError\n"
            "try: LlmDescriber(LlmSettings(api_key='k', model='m'))\n"
            "except ConfigError as error: print(error)",
        ),
    ],
)
def test_a_part_without_its_libraries_says_what_to_install(extra: str, code: str) -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT_EXTRAS + code], capture_output=True, text=True)
    assert f"pip install 'superinsight-sync[{extra}]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
