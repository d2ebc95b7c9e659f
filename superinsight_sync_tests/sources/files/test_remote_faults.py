"""Connections that drop, and files that change meanwhile: exactly the bytes, or an error."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import TransientError
from superinsight_sync.core.retry import RetryPolicy
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.files.listing import FoundFile, Seen
from superinsight_sync.sources.files.remote import file as remote_file
from superinsight_sync.sources.files.remote.file import RemotePlace as Place
from superinsight_sync.sources.files.remote.folder import matches
from superinsight_sync_tests.servers.proxy import Proxy, running_proxy
from superinsight_sync_tests.sources.files.places import (
    RemotePlace,
    csv_of,
    ids,
    nothing_open,
    place_in,
)
from superinsight_sync_tests.sources.reading import read, stream

ROWS = 500_000


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_file, "_POLICY", RetryPolicy(retries=3, base_s=0.01))


@pytest.fixture(params=["ftp", "ftps", "ftp-old", "http"])
def dropping(request: pytest.FixtureRequest) -> Iterator[RemotePlace]:
    with place_in(request, request.param) as found:
        yield found


def big(place: RemotePlace, project: Settings) -> Any:
    place.put("t.csv", csv_of(*range(ROWS)))
    source = place.source(project)
    source.describe(BIG)
    return source


BIG = stream(path="t.csv", format={"columns": {"id": "int64"}})


def test_a_transfer_that_is_cut_goes_on_where_it_was(dropping: RemotePlace, project: Settings) -> None:
    source = big(dropping, project)
    dropping.server.drops[:] = [1, 1_500_000, 70_000]
    assert read(source, ReadRequest(BIG)).column("id").to_pylist() == list(range(ROWS))
    assert dropping.server.drops == []
    nothing_open(dropping)


def test_after_three_new_connections_the_read_fails(dropping: RemotePlace, project: Settings) -> None:
    source = big(dropping, project)
    dropping.server.drops[:] = [100_000] * 9
    with pytest.raises(TransientError):
        read(source, ReadRequest(BIG))
    assert len(dropping.server.drops) >= 5
    dropping.server.drops.clear()
    nothing_open(dropping)
    assert ids(source, "t.csv") == list(range(ROWS))


def test_what_changed_while_the_connection_was_down_is_not_mixed(
    dropping: RemotePlace, project: Settings
) -> None:
    source = big(dropping, project)
    dropping.server.drops[:] = [1_500_000]
    with pytest.raises(TransientError, match=r"file 't\.csv': it changed while it was read"):
        with source.read(ReadRequest(BIG, batch_rows=1_000)) as batches:
            batches.read_next_batch()
            dropping.put("t.csv", csv_of(*range(ROWS, 2 * ROWS)))
            for batch in batches:
                assert batch.column(0)[0].as_py() < ROWS
    nothing_open(dropping)


@pytest.fixture(params=["sftp", "s3", "http", "ftp"])
def through_proxy(request: pytest.FixtureRequest) -> Iterator[tuple[RemotePlace, Proxy]]:
    with place_in(request, request.param) as place:
        port = place.server.port if request.param != "http" else int(place.url.split(":")[2].split("/")[0])
        with running_proxy(port) as proxy:
            key = "endpoint" if request.param == "s3" else "path"
            direct = place.connection[key]
            place.connection[key] = direct.replace(f":{port}", f":{proxy.port}")
            assert place.connection[key] != direct
            yield place, proxy


def test_every_connection_cut_at_once_is_made_again(
    through_proxy: tuple[RemotePlace, Proxy], project: Settings
) -> None:
    place, proxy = through_proxy
    place.put("t.csv", csv_of(*range(3 * ROWS)))
    source = place.source(project, path=place.connection["path"])
    source.describe(BIG)
    with source.read(ReadRequest(BIG, batch_rows=5_000)) as batches:
        found = batches.read_next_batch().column("id").to_pylist()
        for number, batch in enumerate(batches):
            found += batch.column("id").to_pylist()
            if number in (20, 120):
                proxy.break_all()
    assert found == list(range(3 * ROWS))


def test_a_server_that_does_not_come_back_is_a_transient_error(
    through_proxy: tuple[RemotePlace, Proxy], project: Settings
) -> None:
    place, proxy = through_proxy
    place.put("t.csv", csv_of(*range(3 * ROWS)))
    source = place.source(project, path=place.connection["path"])
    source.describe(BIG)
    with pytest.raises(TransientError):
        with source.read(ReadRequest(BIG, batch_rows=5_000)) as batches:
            batches.read_next_batch()
            proxy.refusing = True
            proxy.break_all()
            for _ in batches:
                pass


class Dropping:
    """A server in memory whose streams give little at once and fail where they are told to."""

    where = "memory"

    def __init__(self, data: bytes, faults: list[int]) -> None:
        self.data, self.faults, self.open = data, faults, 0

    def entry(self, path: str) -> Any:
        from superinsight_sync.sources.files.remote.server import Entry

        return Entry(path, path, seen=Seen(len(self.data), 1))

    def jumps(self, file: FoundFile) -> bool:
        return True

    def stream(self, file: FoundFile, offset: int) -> Any:
        server, left = self, self.faults.pop(0) if self.faults else 1 << 60
        self.open += 1

        class Stream:
            at, left_bytes = offset, left

            def read(self, size: int) -> bytes:
                size = min(size, 7_000, self.left_bytes)
                if size <= 0:
                    raise TransientError("dropped")
                self.left_bytes -= size
                self.at += size
                return server.data[self.at - size : self.at]

            def close(self) -> None:
                server.open -= 1

        return Stream()


@given(
    size=st.integers(0, 300_000),
    faults=st.lists(st.integers(0, 150_000), max_size=3),
    moves=st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 70_000)), max_size=12),
)
@settings(max_examples=150)
def test_any_jumps_and_any_three_drops_give_exactly_the_bytes(
    size: int, faults: list[int], moves: list[tuple[int, int]]
) -> None:
    data = hashlib.shake_128(b"x").digest(size)
    server = Dropping(data, faults)
    place: Any = Place(server, 1 << 30)  # type: ignore[arg-type]
    with place.open(FoundFile("f", "f", size, 1, "", place), jumps=True) as opened:
        for at, length in moves:
            opened.seek(at)
            assert opened.read(length) == data[at : at + length]
        opened.seek(-min(size, 10), io.SEEK_END)
        assert opened.read() == data[size - min(size, 10) :]
        opened.seek(0)
        assert opened.read() == data
    assert server.open == 0


@given(st.lists(st.sampled_from(["a", "b", "ab", "x.csv"]), min_size=1, max_size=5),
       st.lists(st.sampled_from(["a", "*", "**", "a*", "*.csv", "?", "[ab]"]), min_size=1, max_size=4))  # fmt: skip
def test_patterns_match_as_in_a_local_folder(path: list[str], pattern: list[str]) -> None:
    def expected(parts: list[str], rest: list[str]) -> bool:
        from fnmatch import fnmatchcase

        if not rest:
            return not parts
        if rest[0] == "**":
            return (
                expected(parts, rest[1:])
                if not parts
                else expected(parts, rest[1:]) or expected(parts[1:], rest)
            )
        return bool(parts) and fnmatchcase(parts[0], rest[0]) and expected(parts[1:], rest[1:])

    wanted = expected(path, pattern) and pattern[-1] != "**"
    assert matches(path, tuple(pattern)) == wanted


def test_connections_and_transfers_are_used_again(request: pytest.FixtureRequest, project: Settings) -> None:
    with place_in(request, "ftp") as place:
        for number in range(10):
            place.put(f"{number}.csv", csv_of(number))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for number in range(20):
                archive.writestr(f"{number:02}.csv", csv_of(number))
        place.put("packed.zip", packed.getvalue())
        commands = place.server.commands
        commands.clear()
        assert ids(place.source(project), "*.csv") == list(range(10))
        assert commands.count("USER") <= 3
        assert commands.count("RETR") <= 20
        commands.clear()
        assert ids(place.source(project), "packed.zip") == list(range(20))
        assert commands.count("RETR") <= 2
        nothing_open(place)
