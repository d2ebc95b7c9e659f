"""XML: every record element is a row; attributes are `@name`, repeated elements lists, nested ones structs."""

import codecs
import re
from collections.abc import Iterator
from typing import Any

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.core.extras import need
from superinsight_sync.records.json_text import OnBad, Records
from superinsight_sync.sources.files.jsonrows import JsonLayout
from superinsight_sync.sources.files.layout import Member
from superinsight_sync.sources.files.streams import TextStream

MAX_ELEMENTS = 100_000
"""A record with more elements is refused."""
_CHUNK_ELEMENTS = 50_000
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_ENCODING = re.compile(rb"^(?:\xef\xbb\xbf)?<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")


def encoding_of(head: bytes) -> str | None:
    """The encoding that an XML file's first line names, by its Python name."""
    found = _ENCODING.match(head)
    try:
        return codecs.lookup(found.group(1).decode()).name if found else None
    except LookupError:
        return None


class XmlLayout(JsonLayout):
    """Columns are those of all records, in order of appearance; all values are text unless declared."""

    def _chunks(self, member: Member, on_bad: OnBad, most: int) -> Iterator[Records]:
        need("xml", "reading XML files")
        from lxml import etree

        form = member.format
        with TextStream(member.file, form.compression, form.encoding, self._limits) as stream:
            events = etree.iterparse(
                stream, events=("start", "end"), resolve_entities=False, no_network=True, load_dtd=False,
                huge_tree=False, encoding="utf-8", remove_comments=True, remove_pis=True,
            )  # fmt: skip
            try:
                yield from _gathered(_records(events, member, self._record, on_bad), most)
            except etree.XMLSyntaxError as error:
                if stream.failure:
                    raise stream.failure from None
                line = f"line {error.lineno}: " if error.lineno else ""
                raise DataError(
                    f"{line}no XML, or it is cut off or nested too deep",
                    where=member.where,
                    hint="Have the file written again",
                ) from None

    @property
    def _record(self) -> str | None:
        return self._spec.record


def _records(
    events: Any, member: Member, record: str | None, on_bad: OnBad
) -> Iterator[tuple[int, dict[str, Any], int]]:
    """(line, row, number of elements) of each record. What was read is dropped from the tree."""
    path: list[str] = []
    inside = size = 0
    for event, element in events:
        if event == "start":
            if not path:
                _refuse_doctype(element, member)
            path.append(_name(element.tag))
            size += 1
            if not inside and _is_record(path, record):
                inside, size = len(path), 1
            elif inside and size > MAX_ELEMENTS:
                raise DataError(
                    f"line {element.sourceline}: a record has more than {MAX_ELEMENTS} elements",
                    where=member.where,
                    hint="Name the element of one row in format.record",
                )
            continue
        depth = len(path)
        path.pop()
        if inside and depth > inside:
            continue
        if inside:
            inside = 0
            try:
                value = _value(element)
            except ValueError as error:
                on_bad(element.sourceline, str(error), _text(element))
            else:
                yield element.sourceline, value if isinstance(value, dict) else {"#text": value}, size
        tail = element.getparent()
        element.clear(keep_tail=False)
        if tail is not None:
            while element.getprevious() is not None:
                del tail[0]


def _gathered(records: Iterator[tuple[int, dict[str, Any], int]], most: int) -> Iterator[Records]:
    rows: list[dict[str, Any]] = []
    lines: list[tuple[int, str | bytes | None]] = []
    elements = 0
    for line, row, size in records:
        rows.append(row)
        lines.append((line, None))
        elements += size
        if len(rows) >= most or elements >= _CHUNK_ELEMENTS:
            yield Records(rows, lines)
            rows, lines, elements = [], [], 0
    if rows:
        yield Records(rows, lines)


def _refuse_doctype(root: Any, member: Member) -> None:
    info = root.getroottree().docinfo
    if info.doctype or info.internalDTD is not None:
        raise ConfigError(
            "it has a DOCTYPE, which is refused because it can define entities",
            where=member.where,
            hint="Have the file written without one",
        )


def _is_record(path: list[str], record: str | None) -> bool:
    if record is None:
        return len(path) == 2
    return path == record.strip("/").split("/") if "/" in record else path[-1] == record


def _name(tag: str) -> str:
    """An element's name without its namespace."""
    return tag.rpartition("}")[2]


def _value(element: Any) -> Any:
    """Text, NULL, or a dict. Raises ValueError for text between elements, which has no column."""
    if element.get(_NIL) in ("true", "1") and not len(element):
        return None
    found: dict[str, Any] = {f"@{_name(k)}": v for k, v in element.attrib.items() if k != _NIL}
    if len(found) != len(element.attrib) - (_NIL in element.attrib):
        raise ValueError("two attributes differ only by their namespace")
    text = element.text or ""
    if not len(element):
        if not found:
            return text
        if text:
            found["#text"] = text
        return found
    if text.strip() or any((child.tail or "").strip() for child in element):
        raise ValueError("text stands between elements")
    groups: dict[str, list[Any]] = {}
    for child in element:
        if not isinstance(child.tag, str):
            raise ValueError("it refers to an entity")
        groups.setdefault(_name(child.tag), []).append(_value(child))
    return found | {name: values[0] if len(values) == 1 else values for name, values in groups.items()}


def _text(element: Any) -> str:
    from lxml import etree

    return str(etree.tostring(element, encoding="unicode", with_tail=False))
