"""Compression, detection and limits."""

import bz2
import gzip
import lzma
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pyarrow as pa
import pytest

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.files.streams import CHUNK_BYTES
from superinsight_sync_tests.sources.files.folder import read, rows, source, stream

Pack = Callable[[bytes], bytes]
PACKS: dict[str, tuple[str, Pack]] = {
    "gzip": (".gz", gzip.compress),
    "zstd": (".zst", lambda data: pa.compress(data, codec="zstd", asbytes=True)),
    "bz2": (".bz2", lambda data: bz2.compress(data, 1)),
    "xz": (".xz", lambda data: lzma.compress(data, preset=0)),
}


@cache
def text() -> str:
    """A little over the megabyte that is read at once."""
    numbers = random.Random(1)
    return "id,t\n" + "".join(f"{i},{numbers.random()}\n" for i in range(45_000))


@cache
def packed(compression: str) -> bytes:
    return PACKS[compression][1](text().encode())


@pytest.mark.parametrize("compression", PACKS)
def test_compressed_files_are_read_in_one_or_more_members(tmp_path: Path, compression: str) -> None:
    suffix, pack = PACKS[compression]
    half = text().index("20000,")
    assert len(text()) > CHUNK_BYTES
    (tmp_path / f"a.csv{suffix}").write_bytes(packed(compression))
    (tmp_path / f"b.csv{suffix}").write_bytes(pack(text()[:half].encode()) + pack(text()[half:].encode()))
    (tmp_path / "c.csv").write_text(text())
    expected = read(tmp_path, "c.csv")
    assert expected.num_rows == 45_000
    assert read(tmp_path, f"a.csv{suffix}") == expected
    assert read(tmp_path, f"b.csv{suffix}") == expected
    (tmp_path / "plain").write_bytes(packed(compression))
    assert read(tmp_path, "plain", format={"type": "csv", "compression": compression}) == expected
    assert read(tmp_path, "plain") == expected


@pytest.mark.parametrize("compression", PACKS)
@pytest.mark.parametrize("damage", ["cut in the middle", "cut by one", "turned", "followed"])
def test_damaged_compression_is_an_error_and_never_fewer_rows(
    tmp_path: Path, compression: str, damage: str
) -> None:
    suffix, data = PACKS[compression][0], packed(compression)
    at = len(data) * 3 // 4
    data = {
        "cut in the middle": data[:at],
        "cut by one": data[:-1],
        "turned": data[:at] + bytes(b ^ 0x5A for b in data[at : at + 64]) + data[at + 64 :],
        "followed": data + b"what is this, it is no compressed data" * 3,
    }[damage]
    (tmp_path / f"a.csv{suffix}").write_bytes(data)
    try:
        table = read(tmp_path, f"a.csv{suffix}")
    except DataError as error:
        assert f"file 'a.csv{suffix}'" in str(error)
    else:
        # bz2 and xz allow, and their tools ignore, what follows.
        assert damage == "followed"
        assert table.num_rows == 45_000


def test_a_file_that_grows_past_the_limits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a\n" + b"0" * 10 + b"\n0" * 100_000))
    spec = stream("a.csv.gz")
    with pytest.raises(DataError, match=r"bytes grow to more than .* raise max_decompressed or max_ratio"):
        source(tmp_path, max_decompressed="100kB").count(ReadRequest(spec))
    assert source(tmp_path, max_decompressed="1MB").count(ReadRequest(spec)) == 100_001


def test_a_bomb_is_refused_by_its_ratio_before_it_fills_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wb", compresslevel=1) as out:
        out.write(b"a\n")
        for _ in range(120):
            out.write(b"0\n" * 500_000)
    (tmp_path / "b.csv.xz").write_bytes(lzma.compress(b"a\n" + b"0\n" * 60_000_000, preset=0))
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(DataError, match="grow to more than"):
        source(tmp_path).count(ReadRequest(stream("b.csv.xz")))
    with pytest.raises(DataError, match="grow to more than"):
        source(tmp_path, max_ratio=100).count(ReadRequest(stream("a.csv.gz")))
    assert pa.default_memory_pool().max_memory() < max(before, 300 << 20)


CONTRADICTIONS = [
    ("a.csv.gz", b"a,b\n", {}, "compression should be gzip.*is none"),
    (
        "a.csv",
        gzip.compress(b"a,b\n", mtime=0),
        {"compression": "none"},
        "compression should be none.*is gzip",
    ),
    ("a.csv", b"a,b\n", {"compression": "zstd"}, "compression should be zstd.*is none"),
    ("a.csv", b"PAR1xxxx", {}, "type should be csv.*is parquet"),
    ("a.parquet", b"a,b\n", {}, "type should be parquet.*is not"),
    ("a.json", b"a,b\n", {}, "type should be json.*is no JSON"),
    ("a.csv", b"PK\x03\x04xxx", {}, "ZIP archive or office document"),
    ("a.csv", b"a,b\n", {"delimiter": "x"}, "format.delimiter cannot be 'x'"),
    ("a.csv", b"a,b\n", {"quote": "”"}, "format.quote cannot be"),
]


@pytest.mark.parametrize(("name", "content", "declared", "message"), CONTRADICTIONS)
def test_contradictions_are_refused(
    tmp_path: Path, name: str, content: bytes, declared: dict[str, str], message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, name, format=declared)


def test_files_without_a_telling_name_are_told_by_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"x": 1}\n{"x": 2}\n')
    (tmp_path / "b.txt").write_text("x;y\n1;2\n")
    (tmp_path / "c.dat").write_text('[{"x": 1}]')
    assert rows(tmp_path, "a") == [{"x": 1}, {"x": 2}]
    assert rows(tmp_path, "b.txt") == [{"x": "1", "y": "2"}]
    assert rows(tmp_path, "c.dat") == [{"x": 1}]


def test_files_of_different_kinds_are_no_stream(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.json").write_text('[{"x": 1}]')
    with pytest.raises(ConfigError, match=r"file 'b\.json': it is json, but 'a\.csv' is csv"):
        read(tmp_path, "*")
