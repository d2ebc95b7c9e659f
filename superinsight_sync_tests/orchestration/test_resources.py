"""Sources, the lake and the I/O manager as Dagster resources: described, without secrets, and taken by own assets."""

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap

from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.orchestration.resources import source_resource
from superinsight_sync_tests.cli.conftest import make_web
from superinsight_sync_tests.orchestration.test_loading import project

OWN = """
import dagster as dg
import pyarrow as pa

from superinsight_sync.orchestration.resources import LakeResource, SourceResource


@dg.asset(key=["mine", "all_pages"])
def all_pages(web: SourceResource, lake: LakeResource) -> pa.Table:
    assert lake.url.endswith(".sis/lake") and web.streams == ("visits", "pages")
    with web.read("visits", limit=7) as batches:
        assert batches.read_all().num_rows == 7
    with web.read("pages") as batches:
        return batches.read_all()


@dg.asset(key=["mine", "no_stream"])
def no_stream(web: SourceResource) -> None:
    with web.read("pagse"):
        pass


@dg.asset(key=["mine", "no_file"])
def no_file(gone: SourceResource) -> None:
    with gone.read("pages"):
        pass


@dg.asset(key=["mine", "of_bad"])
def of_bad(bad: SourceResource) -> None: ...


@dg.asset(key=["mine", "typo"])
def typo(webb: SourceResource) -> None: ...


@dg.sensor(asset_selection=["mine/typo"], required_resource_keys={"pager"})
def paged(): ...
"""
CLASH = """
import dagster as dg

defs = dg.Definitions(resources={"web": "another"}, assets=[dg.AssetSpec("of_clash")])
"""


def source(name: str, *streams: str, path: str = "web.db", **attributes: Any) -> dict[str, Any]:
    given = {
        "name": name,
        "connection": {"kind": "sqlite", "path": path},
        "streams": [{"name": s, "table": s, "schedule": "5 2 * * *"} for s in streams],
        **attributes,
    }
    return {"type": "superinsight_sync.SyncSource", "attributes": given}


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.Definitions]:
    declared = {
        "web": source("web", "visits", "pages", description="The shop's web site."),
        "gone": source("gone", "pages", path="nowhere.db"),
        "bad": source("bad", "pages", colour="blue"),
        "lake": source("lake", "pages"),
        "mart": {
            "type": "superinsight_sync.Dataset",
            "attributes": {"name": "mart", "inputs": {"p": "web/pages"}, "select": "SELECT * FROM p"},
        },
    }
    folder = project(tmp_path_factory.mktemp("resources"), declared, name="resourceproj")
    make_web(folder / "web.db")
    (folder / "resourceproj" / "defs" / "mine.py").write_text(OWN)
    (folder / "resourceproj" / "defs" / "zclash.py").write_text(CLASH)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DAGSTER_HOME", str(folder))
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("resourceproj.definitions").defs()
    for name in [m for m in sys.modules if m.split(".")[0] == "resourceproj"]:
        del sys.modules[name]


def made(defs: dg.Definitions, asset: str) -> tuple[bool, str]:
    """Whether the asset could be made, and what was said."""
    done = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey(asset.split("/"))], raise_on_error=False
    )
    said = [e.event_specific_data for e in done.all_events if e.is_failure]
    return done.success, "\n".join(str(s.error.to_string()) for s in said if getattr(s, "error", None))


def test_dagster_shows_each_source_with_what_uses_it(defs: dg.Definitions) -> None:
    snap = RepositorySnap.from_def(defs.get_repository_def())
    shown = {r.name: r for r in snap.resources or []}
    web = shown["web"]
    assert web.resource_type.endswith(".SourceResource")
    assert web.resource_snapshot.description == (
        "The shop's web site. Source 'web' of kind sqlite, 2 streams."
    )
    assert web.configured_values == {
        "kind": '"sqlite"',
        "tenant": '"default"',
        "settings": '{"path": "web.db"}',
    }
    using = {key.to_user_string() for key in web.asset_keys_using}
    chain = {f"web/{n}" for s in ("visits", "pages") for n in (f"raw_{s}", s, f"{s}_dictionary")}
    assert using == chain | {"mine/all_pages", "mine/no_stream"}
    for name in ("lake", "io_manager"):
        assert shown[name].resource_snapshot.description
    assert chain | {"datasets/mart"} <= {k.to_user_string() for k in shown["lake"].asset_keys_using}


def test_an_own_asset_reads_from_a_source_and_lands_nothing_of_it(defs: dg.Definitions) -> None:
    assert made(defs, "mine/all_pages") == (True, "")
    assert made(defs, "web/raw_pages") == (True, "")


@pytest.mark.parametrize(
    ("asset", "words"),
    [
        ("mine/no_stream", "source 'web' has no stream 'pagse'. Valid: visits, pages"),
        ("mine/no_file", "source 'gone', stream 'pages': there is no database file"),
        (
            "mine/of_bad",
            "asks for the resource 'bad', which nothing here provides. defs/bad could not be loaded",
        ),
        ("mine/typo", "asks for the resource 'webb', which nothing here provides. Did you mean web?"),
    ],
)
def test_what_cannot_be_had_fails_what_asks_for_it_alone(
    defs: dg.Definitions, asset: str, words: str
) -> None:
    done, said = made(defs, asset)
    assert not done
    assert words in said


def test_what_is_missing_or_there_twice_is_told_where(defs: dg.Definitions) -> None:
    described = {s.key.to_user_string(): s.description or "" for s in defs.resolve_all_asset_specs()}
    assert "asks for the resource 'webb'" in described["webb_resource/declaration_error"]
    assert "sensor 'paged'" in described["pager_resource/declaration_error"]
    assert "resource 'web' is there already" in described["zclash/declaration_error"]
    assert "'lake' is a resource of every project" in described["lake/declaration_error"]
    assert "of_clash" not in described


@pytest.mark.parametrize(
    ("connection", "settings"),
    [
        (
            {"kind": "postgres", "dsn": "postgresql://sync:{{ env.P }}@db/crm"},
            {"dsn": "postgresql://sync:{{ env.P }}@db/crm"},
        ),
        ({"kind": "postgres", "dsn": "postgresql://sync:hunter2@db/crm"}, {"dsn": "***"}),
        (
            {
                "kind": "rest",
                "auth": {"token": "hunter2", "kind": "bearer"},
                "tries": [1, "password=hunter2"],
            },
            {"auth": {"token": "***", "kind": "bearer"}, "tries": [1, "***"]},
        ),
        ({"kind": "rest", "api_token": "{{ env.T }}", "on": True}, {"api_token": "{{ env.T }}", "on": True}),
    ],
)
def test_settings_are_shown_with_references_and_without_secrets(
    connection: dict[str, Any], settings: dict[str, Any]
) -> None:
    spec = SourceSpec.model_validate(source("crm", "t", connection=connection)["attributes"])
    assert source_resource(spec).settings == settings
