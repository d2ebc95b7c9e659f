"""SOAP answers: faults as our errors, records as elements, elements as JSON text."""

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lxml import etree

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.security.secrets import redact
from superinsight_sync.sources.soap.transport import status_error

if TYPE_CHECKING:
    import httpx

Element = Any
XSI = "http://www.w3.org/2001/XMLSchema-instance"
_NIL = f"{{{XSI}}}nil"
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\d{3,}|[\w.+-]+@[\w.-]+")
_SHOWN_CHARS = 200
_MOST_DEPTH = 100
_AUTH = ("auth", "security", "credential", "login", "accessdenied", "unauthorized", "forbidden")


def body_of(answer: "httpx.Response", where: str) -> Element:
    """The answer's body. Raises our error for a fault, a status that is none, and what is no SOAP."""
    content, status = answer.content, answer.status_code
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError):
        if status >= 300:
            raise status_error(status, answer.headers).at(where) from None
        raise TransientError(
            "the answer is no XML", where=where, hint="Look at what the service says"
        ) from None
    if root.getroottree().docinfo.doctype:
        raise DataError("the answer holds a DTD, which is refused", where=where)
    body = next((e for e in root if _local(e) == "Body"), None)
    if _local(root) != "Envelope" or body is None:
        if status >= 300:
            raise status_error(status, answer.headers).at(where)
        raise TransientError("the answer is no SOAP", where=where)
    fault = next((e for e in body if _local(e) == "Fault"), None)
    if fault is not None:
        raise _fault(fault).at(where)
    if status >= 300:
        raise status_error(status, answer.headers).at(where)
    if len(body) == 0:
        raise TransientError("the answer is empty", where=where)
    return body


def _fault(fault: Element) -> SisError:
    """A fault of SOAP 1.1 or 1.2 as ours; its text without what could be values."""
    codes = [(e.text or "").strip() for e in fault.iter() if _local(e) in ("faultcode", "Value")]
    texts = [(e.text or "").strip() for e in fault.iter() if _local(e) in ("faultstring", "Text")]
    code = " ".join(c.rpartition(":")[2] for c in codes)[:_SHOWN_CHARS]
    text = _VALUES.sub("…", redact(texts[0] if texts else ""))[:_SHOWN_CHARS].rstrip(". ")
    said = f"the service answers with fault {code or 'of no code'}" + (f": {text}" if text else "")
    folded = code.lower()
    if any(word in folded.replace(".", "") for word in _AUTH):
        return AccessError(said, hint="Check auth, user and password, and the account's rights")
    if folded.startswith(("client", "sender", "versionmismatch", "mustunderstand")):
        return ConfigError(said, hint="Check options.params")
    return TransientError(said)


def records_in(answer: Element, path: tuple[str, ...]) -> list[Element]:
    """The elements at a path of names below the answer's outermost one."""
    level = [answer]
    for name in path:
        level = [child for e in level for child in e if _local(child) == name]
    return level


def children_of(record: Element) -> dict[str, list[Element]]:
    """The record's children by name."""
    found: dict[str, list[Element]] = {}
    for child in record.iterchildren("*"):
        name = _name(child.tag)
        if name in found:
            found[name].append(child)
        else:
            found[name] = [child]
    return found


def text_of(element: Element | None) -> str | None:
    """The text of a simple element; None for none, and for one that says it is nil."""
    if element is None or element.get(_NIL) in ("true", "1"):
        return None
    return "".join(element.itertext()) if len(element) else element.text or ""


def json_of(element: Element | None) -> str | None:
    """An element as JSON text: texts, objects of children, arrays where a name is there more than once;
    attributes are `@name`. Raises DataError if it is nested too deep."""
    if element is None or element.get(_NIL) in ("true", "1"):
        return None
    return json.dumps(_plain(element, 0), ensure_ascii=False)


def _plain(element: Element, depth: int) -> Any:
    if depth > _MOST_DEPTH:
        raise DataError("nested too deep")
    if element.get(_NIL) in ("true", "1"):
        return None
    attributes = {f"@{_name(k)}": v for k, v in element.attrib.items() if not k.startswith(f"{{{XSI}}}")}
    children = children_of(element)
    if not children:
        text = "".join(element.itertext())
        return {**attributes, "#text": text} if attributes else text
    inner = {n: [_plain(e, depth + 1) for e in found] for n, found in children.items()}
    return {**attributes, **{n: v if len(v) > 1 else v[0] for n, v in inner.items()}}


def _local(element: Element) -> str:
    return _name(element.tag) if isinstance(element.tag, str) else ""


@lru_cache(4096)
def _name(tag: str) -> str:
    return tag.rpartition("}")[2]
