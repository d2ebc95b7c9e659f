"""Serves the lines of a JSON Lines file as pages of a SOAP operation, made beforehand, on a loopback port.

    python benchmarks/soap_server.py lineitem.jsonl 1000

Prints its port once all pages are made. `ListLines(page)` answers with the records of a page, from 1.
"""

import json
import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.json_server import Answers, serve

TYPES = {
    **dict.fromkeys(("id", "order_id", "part_id", "line_number", "warehouse_id"), "long"),
    **dict.fromkeys(("quantity", "price"), "decimal"),
    "weight": "double",
    "ship_date": "date",
    "created_at": "dateTime",
    "returned": "boolean",
    **dict.fromkeys(("status", "mode", "instructions", "comment", "attributes"), "string"),
}
_FIELDS = "".join(f'<s:element name="{n}" type="s:{t}" minOccurs="0"/>' for n, t in TYPES.items())
WSDL = f"""<?xml version="1.0" encoding="utf-8"?>
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
 xmlns:s="http://www.w3.org/2001/XMLSchema" xmlns:t="urn:bench" targetNamespace="urn:bench">
<types><s:schema targetNamespace="urn:bench" elementFormDefault="qualified">
<s:complexType name="Line"><s:sequence>{_FIELDS}</s:sequence></s:complexType>
<s:element name="ListLines"><s:complexType><s:sequence>
<s:element name="page" type="s:int"/></s:sequence></s:complexType></s:element>
<s:element name="ListLinesResponse"><s:complexType><s:sequence>
<s:element name="line" type="t:Line" minOccurs="0" maxOccurs="unbounded"/></s:sequence></s:complexType></s:element>
</s:schema></types>
<message name="Ask"><part name="parameters" element="t:ListLines"/></message>
<message name="Answer"><part name="parameters" element="t:ListLinesResponse"/></message>
<portType name="Lines"><operation name="ListLines">
<input message="t:Ask"/><output message="t:Answer"/></operation></portType>
<binding name="Lines" type="t:Lines"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>
<operation name="ListLines"><soap:operation soapAction="" style="document"/>
<input><soap:body use="literal"/></input><output><soap:body use="literal"/></output></operation></binding>
<service name="Lines"><port name="Lines" binding="t:Lines">
<soap:address location="http://%s/"/></port></service>
</definitions>"""
_OPEN = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><ListLinesResponse xmlns="urn:bench">'
_CLOSE = "</ListLinesResponse></s:Body></s:Envelope>"


def text_of(value: object, kind: str) -> str:
    if kind == "boolean":
        return "true" if value else "false"
    return str(value).replace(" ", "T") if kind == "dateTime" else escape(str(value))


def pages_of(path: Path, page_rows: int) -> Iterator[bytes]:
    """The answer with the records of each page."""
    with path.open("rb") as lines:
        while rows := [json.loads(line) for line in islice(lines, page_rows)]:
            texts = (
                "".join(f"<{n}>{text_of(row[n], t)}</{n}>" for n, t in TYPES.items() if row[n] is not None)
                for row in rows
            )
            yield (_OPEN + "".join(f"<line>{text}</line>" for text in texts) + _CLOSE).encode()


class Pages(Answers):
    """Answers with the WSDL or a page."""

    media_type = "text/xml; charset=utf-8"
    pages: ClassVar[list[bytes]] = []

    def do_GET(self) -> None:
        self.answer((WSDL % self.headers["Host"]).encode())

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        found = re.search(rb"page>(\d+)<", asked)
        page = int(found[1]) if found else 1
        self.answer(self.pages[page - 1] if page <= len(self.pages) else (_OPEN + _CLOSE).encode())


def main() -> None:
    Pages.pages = list(pages_of(Path(sys.argv[1]), int(sys.argv[2])))
    serve(Pages)


if __name__ == "__main__":
    main()
