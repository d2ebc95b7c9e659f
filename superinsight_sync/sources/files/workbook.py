"""What a workbook's XML tells and its reader does not: where a sheet begins, and formulas without a stored result.

Format: ECMA-376-1, SpreadsheetML: 18.3.1.4 `c` (cell), 18.3.1.40 `f` (formula), 18.3.1.96 `v` (value), 18.2.28
`workbookPr`.
"""

import io
import posixpath
import re
import zipfile
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

_CELL = rb"<(?:\w+:)?c\b([^>]*)>\s*"
_UNSOLVED = re.compile(
    _CELL + rb"<(?:\w+:)?f\b(?:[^>]*/>|[^>]*>[^<]*</(?:\w+:)?f>)\s*"
    rb"(?:<(?:\w+:)?v\b[^>]*/>|<(?:\w+:)?v\b[^>]*>\s*</(?:\w+:)?v>)?\s*</(?:\w+:)?c>"
)
_FILLED = re.compile(
    _CELL + rb"(?:<(?:\w+:)?f\b(?:[^>]*/>|[^>]*>[^<]*</(?:\w+:)?f>)\s*)?<(?:\w+:)?(?:v\b[^>]*>[^<]|is\b)"
)
_UNNAMED = re.compile(
    _CELL
    + rb"(?:<(?:\w+:)?f\b(?:[^>]*/>|[^>]*>[^<]*</(?:\w+:)?f>)\s*)?<(?:\w+:)?v\b[^>]*>#NAME\?</(?:\w+:)?v>"
)
_NAME_ERROR = re.compile(rb"(<(?:\w+:)?v\b[^>]*>)#NAME\?(</(?:\w+:)?v>)")
_FORMULA = re.compile(rb"<(?:\w+:)?f\b")
_PLACE = re.compile(rb'\br\s*=\s*["\']([A-Z]+)(\d+)["\']')
_TEXT = re.compile(rb'\bt\s*=\s*["\']str["\']')

DAMAGED = (zipfile.BadZipFile, ET.ParseError, ValueError, LookupError, StopIteration, NotImplementedError)
"""What the functions here raise for a workbook that is damaged."""


@dataclass(frozen=True)
class SheetFacts:
    """Of one sheet.

    Attributes:
        first_row: the number of the first row that has a cell with a value, from 1.
        unsolved: row → the first cell in it (`C4`) whose formula has no stored result.
        from_1904: whether dates are counted from 1904.
        unnamed: the rows that hold the error `#NAME?`.
    """

    first_row: int = 1
    unsolved: dict[int, str] = field(default_factory=dict)
    from_1904: bool = False
    unnamed: tuple[int, ...] = ()


def sheet_facts(data: bytes, name: str) -> SheetFacts:
    """Of the sheet of this name. A workbook that is no XML (`.xls`) stores every result.

    Raises one of `DAMAGED`.
    """
    if not data.startswith(b"PK"):
        return SheetFacts()
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        if "xl/workbook.xml" not in parts.namelist():  # a binary one
            return SheetFacts()
        book = _root(parts.read("xl/workbook.xml"))
        settings = [e for e in book if e.tag.endswith("}workbookPr")]
        text = parts.read(_part_of(parts, book, name))
    first = _FILLED.search(text)
    unsolved: dict[int, str] = {}
    for found in _UNSOLVED.finditer(text) if _FORMULA.search(text) else ():
        if _TEXT.search(found[1]) and b"<v" in found[0]:
            continue  # its result is the empty text
        column, row = _place(found[1])
        unsolved.setdefault(row, f"{column}{row}")
    return SheetFacts(
        _place(first[1])[1] if first else 1,
        unsolved,
        any(e.get("date1904") in ("1", "true") for e in settings),
        tuple(_place(c[1])[1] for c in _UNNAMED.finditer(text)),
    )


def readable(data: bytes, facts: SheetFacts) -> bytes:
    """The workbook as the reader can take it: it stops at an error `#NAME?`, so that another one stands there."""
    if not facts.unnamed:
        return data
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as parts, zipfile.ZipFile(out, "w") as written:
        for name in parts.namelist():
            content = parts.read(name)
            if name.endswith(".xml"):
                content = _NAME_ERROR.sub(rb"\1#VALUE!\2", content)
            written.writestr(name, content)
    return out.getvalue()


def _place(attributes: bytes) -> tuple[str, int]:
    found = _PLACE.search(attributes)
    if found is None:
        raise ValueError("a cell does not say where it is")
    return found[1].decode(), int(found[2])


def _part_of(parts: zipfile.ZipFile, book: ET.Element, name: str) -> str:
    ids = [
        next(v for k, v in e.attrib.items() if k.endswith("}id"))
        for e in book.iter()
        if e.tag.endswith("}sheet") and e.get("name") == name
    ]
    links = _root(parts.read("xl/_rels/workbook.xml.rels"))
    target = next(e.get("Target", "") for e in links if e.get("Id") == ids[0])
    return target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"xl/{target}")


def _root(text: bytes) -> ET.Element:
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise ValueError("it has entities")
    return ET.fromstring(text)
