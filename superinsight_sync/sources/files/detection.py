"""How a file is written: from its name and content, confirmed by what is declared."""

import codecs
import json
from collections.abc import Iterator, Sequence

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import FormatSpec
from superinsight_sync.records.encodings import Likely, likely_encoding
from superinsight_sync.records.text_records import Scanner
from superinsight_sync.sources.files.layout import FileFormat, Member
from superinsight_sync.sources.files.listing import FoundFile
from superinsight_sync.sources.files.streams import (
    ArchivedFile,
    Limits,
    TextStream,
    check_encoding,
    entries,
    open_file,
    skip_lines,
    text_start,
)
from superinsight_sync.sources.files.xmlrows import encoding_of

_HEAD_BYTES = 1 << 16
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz"}
_REFUSED = {
    b"PK\x03\x04": "a ZIP archive or office document",
    b"PK\x05\x06": "an empty ZIP archive",
    b"%PDF": "a PDF",
    b"SQLite format": "a SQLite database",
}
_BINARY = {b"PAR1": "parquet", b"Obj\x01": "avro", b"ORC": "orc", b"\xd0\xcf\x11\xe0": "excel"}
_COMPRESSIONS = {
    ".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2", ".xz": "xz",
}  # fmt: skip
_TYPES = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".pq": "parquet", ".xml": "xml", ".avro": "avro", ".orc": "orc",
    ".xlsx": "excel", ".xlsm": "excel", ".xls": "excel",
}  # fmt: skip
_DELIMITERS = ",;\t|"
FAMILIES = {"csv": "delimited", "tsv": "delimited", "json": "json", "jsonl": "json"} | {
    t: t for t in ("parquet", "xml", "excel", "avro", "orc")
}
_TYPED = ("parquet", "excel", "avro", "orc")


def detect_all(files: Sequence[FoundFile], spec: FormatSpec, limits: Limits) -> tuple[Member, ...]:
    """The files with their formats.

    Raises:
        ConfigError: if a file is not what its name or the declaration says, or two are of different kinds.
    """
    check_encoding(spec.encoding)
    for name in ("delimiter", "quote"):
        char = getattr(spec, name)
        if char is not None and (not char.isascii() or char.isalnum() or char in "\r\n\0"):
            raise ConfigError(f"format.{name} cannot be {char!r}", hint="Write one ASCII sign such as ';'")
    members = tuple(Member(f, detect(f, spec, limits)) for f in _unpacked(files, spec, limits))
    for member in members[1:]:
        if FAMILIES[member.format.type] != FAMILIES[members[0].format.type]:
            raise ConfigError(
                f"it is {member.format.type}, but '{members[0].file.name}' is {members[0].format.type}",
                where=member.where,
                hint="Make `path` match files of one kind, a stream for each",
            )
    return members


def _unpacked(files: Sequence[FoundFile], spec: FormatSpec, limits: Limits) -> Iterator[FoundFile]:
    """The files, instead of each ZIP archive those in it."""
    for file in files:
        if spec.compression == "zip" or (spec.compression is None and file.name.lower().endswith(".zip")):
            yield from entries(file, limits)
        else:
            yield file


def detect(file: FoundFile, spec: FormatSpec, limits: Limits) -> FileFormat:
    """The format of one file. Raises ConfigError where name, content and declaration contradict."""
    with open_file(file) as raw:
        start = raw.read(16)
    named = _named_type(file.name)
    binary = next((t for m, t in _BINARY.items() if start.startswith(m)), None)
    if start.startswith(b"PK\x03\x04") and (spec.type or named) == "excel":
        binary = "excel"
    if binary:
        _agree(file, "type", spec.type or named, binary)
        _agree(file, "compression", None if isinstance(file, ArchivedFile) else spec.compression, "none")
        return FileFormat(binary)
    for magic, what in _REFUSED.items():
        if start.startswith(magic):
            raise ConfigError(f"it is {what}", where=f"file '{file.name}'", hint="Unpack or convert it first")
    compression = _compression(file, spec, start)
    encoding = _encoding(file, spec, compression, limits)
    with TextStream(file, compression, encoding, limits) as stream:
        skip_lines(stream, spec.skip_rows)
        head = stream.read(_HEAD_BYTES)
    if head.startswith(b"PAR1"):
        raise ConfigError(
            f"it is Parquet inside {compression}", where=f"file '{file.name}'", hint="Unpack it first"
        )
    wanted = spec.type or named
    seen = _seen_type(head)
    if not head.strip():
        kind = wanted or "csv"
    elif wanted in ("json", "jsonl"):
        kind = _json_type(file, spec, wanted, seen)
    elif wanted in _TYPED:
        raise _contradiction(file, "type", wanted, "not")
    elif wanted == "xml" and not head.lstrip().startswith(b"<"):
        raise _contradiction(file, "type", "xml", "no XML")
    elif wanted is None and head.lstrip().startswith(b"<?xml"):
        kind = "xml"
    else:
        kind = wanted or {None: "csv", "lines": "jsonl"}.get(seen, "json")

    return FileFormat(kind, compression, encoding, _delimiter(kind, head, spec))


def likely(file: FoundFile, limits: Limits) -> Likely | None:
    """In which encoding a text file, or the first one of an archive, may be written; None if nothing fits."""
    first = next(iter(_unpacked([file], FormatSpec(), limits)), file)
    with open_file(first) as raw:
        start = raw.read(16)
    if start.startswith((*_BINARY, *_REFUSED)):
        return None
    return likely_encoding(text_start(first, _compression(first, FormatSpec(), start), limits))


def _encoding(file: FoundFile, spec: FormatSpec, compression: str, limits: Limits) -> str:
    """The declared encoding; for XML, if none is declared, the one that its first line names."""
    with TextStream(file, compression, "latin-1", limits, any_mark=True) as stream:
        said = encoding_of(stream.read(200))
    if said is None or said.startswith("utf-16") or said == codecs.lookup(spec.encoding).name:
        return spec.encoding
    if "encoding" in spec.model_fields_set:
        raise _contradiction(file, "encoding", spec.encoding, said)
    return said


def _compression(file: FoundFile, spec: FormatSpec, start: bytes) -> str:
    seen = next((c for m, c in _MAGIC.items() if start.startswith(m)), "none")
    if start[:3] == b"BZh" and start[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        seen = "bz2"
    named = next((c for s, c in _COMPRESSIONS.items() if file.name.lower().endswith(s)), None)
    if isinstance(file, ArchivedFile):
        if seen != "none":
            raise ConfigError(
                f"it is {seen} inside a ZIP archive", where=f"file '{file.name}'", hint="Unpack it first"
            )
    elif start or spec.compression not in (None, "none"):
        _agree(file, "compression", spec.compression or named, seen)
    return seen


def _named_type(name: str) -> str | None:
    lower = name.lower()
    for suffix in _COMPRESSIONS:
        lower = lower.removesuffix(suffix)
    return next((t for s, t in _TYPES.items() if lower.endswith(s)), None)


def _seen_type(head: bytes) -> str | None:
    """What JSON it may be: `array`, `lines`, `object` (one, on one line), `pretty`; None for none."""
    text = head.strip()
    if text.startswith(b"["):
        return "array"
    if not text.startswith(b"{"):
        return None
    line, _, rest = text.partition(b"\n")
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return "pretty"
    return "lines" if rest.strip() else "object"


def _json_type(file: FoundFile, spec: FormatSpec, wanted: str, seen: str | None) -> str:
    if wanted == "jsonl":
        if seen == "array":
            raise _contradiction(file, "type", "jsonl", "a JSON array")
        return "jsonl"  # lines that are no JSON are for the reader to report
    if seen is None:
        raise _contradiction(file, "type", "json", "no JSON")
    if seen == "lines" and spec.type:
        raise _contradiction(file, "type", "json", "jsonl")
    return "jsonl" if seen == "lines" else "json"


def _delimiter(kind: str, head: bytes, spec: FormatSpec) -> str:
    if FAMILIES[kind] != "delimited":
        return ""
    if spec.delimiter:
        return spec.delimiter
    if kind == "tsv":
        return "\t"
    return sniff_delimiter(head, spec.quote)


def sniff_delimiter(head: bytes, quote: str) -> str:
    """The sign that cuts the first record into most cells; a comma where none does."""
    cells: dict[str, int] = {}
    for delimiter in _DELIMITERS:
        scanner = Scanner(delimiter, quote, skip_blank=True)
        record = next((r for _, r, _ in scanner.records(_Once(head))), b"")
        cells[delimiter] = len(scanner.split(record))
    return max(_DELIMITERS, key=lambda d: cells[d])


class _Once:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        data, self._data = self._data[:size], self._data[size:]
        return data


def _agree(file: FoundFile, what: str, said: str | None, seen: str) -> None:
    if said is not None and said != seen:
        raise _contradiction(file, what, said, seen)


def _contradiction(file: FoundFile, what: str, said: str, seen: str) -> ConfigError:
    return ConfigError(
        f"its {what} should be {said}, by its name or the declaration, but its content is {seen}",
        where=f"file '{file.name}'",
        hint=f"Declare format.{what}, or correct the file's name",
    )
