"""What web servers do to those who read files from them."""

import base64
import os
from collections.abc import Iterator

import pyarrow as pa
import pytest

from superinsight_sync.core.errors import ConfigError, TransientError
from superinsight_sync.core.retry import RetryPolicy
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.files.remote import file as remote_file
from superinsight_sync_tests.servers.web import WebServer, running_web
from superinsight_sync_tests.sources.files.places import (
    RemotePlace,
    csv_of,
    ids,
    nothing_open,
    parquet_of,
    place_in,
)
from superinsight_sync_tests.sources.reading import read, stream

TABLE = pa.table({"id": pa.array(range(300_000), pa.int64())})
CSV = stream(path="t.csv", format={"columns": {"id": "int64"}})


@pytest.fixture
def web(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemotePlace]:
    monkeypatch.setattr(remote_file, "_POLICY", RetryPolicy(retries=3, base_s=0.01))
    with place_in(request, "http") as found:
        yield found


def test_files_can_be_named_where_there_is_no_index(web: RemotePlace, project: Settings) -> None:
    for name in ("a.csv", "2026/b c.csv", "other.csv"):
        web.put(name, csv_of(len(name)))
    source = web.source(project, names=["a.csv", "2026/b c.csv", "gone.csv"])
    assert ids(source, "**/*.csv") == [12, 5]
    assert ids(source, "*.csv") == [5]
    assert ids(source, "2026/*.csv") == [12]
    assert not any(path.endswith("/") for path, _ in web.server.asked)
    assert not any("gone" in path for path, _ in web.server.asked[-3:])


def test_a_file_that_is_no_index_is_not_taken_for_one(web: RemotePlace, project: Settings) -> None:
    web.put("data", csv_of(1))
    web.server.redirects["/index/"] = f"{web.url.removeprefix(web.server.url)}data"
    with pytest.raises(ConfigError, match=r"gives no index page of the folder.*names:"):
        web.source(project, path=f"{web.server.url}/index/").probe()


@pytest.mark.parametrize("lacks", [["ranges"], ["tags"], ["times"], ["ranges", "times"], ["ranges", "tags"]])
def test_servers_that_know_less_are_read_and_resumed(
    web: RemotePlace, project: Settings, lacks: list[str]
) -> None:
    for name in lacks:
        setattr(web.server, name, False)
    web.put("t.parquet", parquet_of(TABLE, row_group_size=10_000))
    web.put("t.csv", csv_of(*range(300_000)))
    source = web.source(project)
    source.describe(CSV)
    web.server.drops[:] = [1_100_000, 300_000]
    assert read(source, ReadRequest(CSV)).column("id").to_pylist() == list(range(300_000))
    assert web.server.drops == []
    assert read(source, ReadRequest(stream(path="t.parquet"))).select(["id"]) == TABLE
    nothing_open(web)


def test_without_any_mark_a_cut_file_is_not_resumed(web: RemotePlace, project: Settings) -> None:
    web.server.tags = web.server.times = False
    web.put("t.csv", csv_of(*range(300_000)))
    source = web.source(project)
    source.describe(CSV)
    assert read(source, ReadRequest(CSV)).num_rows == 300_000
    web.server.drops[:] = [1_500_000] * 3
    with pytest.raises(TransientError, match="cannot say whether it is still the same"):
        read(source, ReadRequest(CSV))
    nothing_open(web)


def test_files_of_unknown_size_are_read(web: RemotePlace, project: Settings) -> None:
    web.server.sizes = web.server.ranges = False
    web.put("t.csv", csv_of(*range(300_000)))
    web.put("t.parquet", parquet_of(TABLE))
    source = web.source(project)
    assert read(source, ReadRequest(CSV)).num_rows == 300_000
    assert read(source, ReadRequest(stream(path="t.parquet"))).select(["id"]) == TABLE
    web.server.drops[:] = [1_500_000, 1_800_000, 300_000]
    assert read(source, ReadRequest(CSV)).column("id").to_pylist() == list(range(300_000))
    assert web.server.drops == []
    with pytest.raises(ConfigError, match="more than 100000 bytes"):
        web.source(project, max_decompressed=100_000).describe(stream(path="t.parquet"))
    nothing_open(web)


def test_a_server_without_times_cannot_be_read_by_them(web: RemotePlace, project: Settings) -> None:
    web.server.times = False
    web.put("t.csv", csv_of(1))
    spec = stream(path="t.csv", sync={"mode": "incremental", "cursor": "_sis_file_modified_at"})
    with pytest.raises(ConfigError, match=r"does not tell when 't\.csv' was modified"):
        web.source(project).describe(spec)
    source, request = web.source(project), ReadRequest(stream(path="t.csv"))
    before = source.token(request)
    web.put("t.csv", csv_of(2))
    assert source.token(request) != before


def test_credentials_and_headers_go_to_the_declared_host_alone(web: RemotePlace, project: Settings) -> None:
    os.environ["TEST_HTTP_PASSWORD"] = "sesame"
    web.put("a.csv", csv_of(1))
    web.server.wants = "Basic " + base64.b64encode(b"u:sesame").decode()
    keys = {
        "user": "u",
        "password": "{{ env.TEST_HTTP_PASSWORD }}",
        "headers": {"X-Key": "{{ env.TEST_HTTP_PASSWORD }}"},
    }
    with running_web() as other:
        (other.folder / "b.csv").write_bytes(csv_of(2))
        prefix = web.url.removeprefix(web.server.url)
        web.server.redirects[f"{prefix}b.csv"] = f"{other.url}/b.csv"
        web.server.redirects[f"{prefix}c.csv"] = f"{prefix}a.csv"
        source = web.source(project, names=["a.csv", "b.csv", "c.csv"], **keys)
        assert ids(source, "*.csv") == [1, 2, 1]
        assert other.asked and not any({"authorization", "x-key"} & set(h) for _, h in other.asked)
        assert all(h["x-key"] == "sesame" for _, h in web.server.asked)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("http://169.254.169.254/latest/meta-data/", "inside a private network"),
        ("http://0xa9fea9fe/", "inside a private network"),
        ("file:///etc/passwd", "not HTTP"),
        ("//10.0.0.1/a.csv", "inside a private network"),
        ("/circle.csv", "redirects in a circle"),
    ],
)
def test_redirects_that_lead_inside_or_nowhere_are_refused(
    web: RemotePlace, project: Settings, target: str, says: str
) -> None:
    web.server.redirects["/circle.csv"] = target
    networks = {"allow_private": False, "allow_networks": ["127.0.0.1/32"]}
    source = web.source(project, path=f"{web.server.url}/circle.csv", **networks)
    with pytest.raises(ConfigError, match=says):
        source.probe()


def test_a_signed_address_is_read_and_not_told(web: RemotePlace, project: Settings) -> None:
    web.put("a.csv", csv_of(1))
    os.environ["TEST_SIGNED"] = f"{web.url}a.csv?sig=topsecret&x=1"
    source = web.source(project, path="{{ env.TEST_SIGNED }}")
    assert ids(source, "a.csv") == [1]
    assert "topsecret" not in str(source.probe())
    assert web.server.asked[0][0].endswith("?sig=topsecret&x=1")
    os.environ["TEST_SIGNED"] = os.environ["TEST_SIGNED"].replace("a.csv", "gone.csv")
    with pytest.raises(ConfigError) as caught:
        web.source(project, path="{{ env.TEST_SIGNED }}").describe(stream(path="gone.csv"))
    assert "topsecret" not in str(caught.value)


def test_the_index_leads_only_to_what_is_below_it(web: RemotePlace, project: Settings) -> None:
    web.put("x/a.csv", csv_of(1))
    web.put("a & b.csv", csv_of(2))
    (web.server.folder / "outside.csv").write_bytes(csv_of(3))
    assert ids(web.source(project), "**/*.csv") == [2, 1]
    assert isinstance(web.server, WebServer)
    assert not any("outside" in path or "passwd" in path for path, _ in web.server.asked)
