"""In which encoding text may be written, by its bytes."""

import codecs
from dataclasses import dataclass

SAMPLE_BYTES = 1 << 16
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CANDIDATES = (
    "cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "gb18030", "big5", "cp932",
    "euc_jp", "euc_kr",
)  # fmt: skip
"""What customers' files are written in; of more, all the more would be mistaken for each other."""


@dataclass(frozen=True)
class Likely:
    """An encoding by its Python name. `certain` if a mark says so or no byte contradicts UTF-8."""

    name: str
    certain: bool


def marked(start: bytes) -> str | None:
    """The encoding that a byte order mark at the start of a text tells."""
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)


def looks_like_utf16(start: bytes) -> str | None:
    """`utf-16-le` or `utf-16-be` for text without a mark that has a zero in every second byte, mostly."""
    even, odd = start[:4096:2], start[1:4096:2]
    for zeros, others, name in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if len(others) > 1 and zeros.count(0) > 0.4 * len(zeros) and not others.count(0):
            return name
    return None


def likely_encoding(sample: bytes) -> Likely | None:
    """What a text may be written in, by some of its bytes, best from its start; None if nothing fits."""
    by_mark = marked(sample)
    if by_mark:
        return Likely(by_mark, True)
    wide = looks_like_utf16(sample)
    if wide:
        return Likely(wide, False)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return Likely("utf-8", True)
    except UnicodeDecodeError:
        return _guess(sample)


def _guess(sample: bytes) -> Likely | None:
    from charset_normalizer import from_bytes

    found = from_bytes(sample[:SAMPLE_BYTES], cp_isolation=list(_CANDIDATES))
    best = found.best()
    if best is None:
        return None
    as_good = [m for m in found if (m.chaos, m.coherence) == (best.chaos, best.coherence)]
    names = {name for m in as_good for name in (m.encoding, *m.could_be_from_charset)}
    return Likely(next(name for name in _CANDIDATES if name in names), False)
