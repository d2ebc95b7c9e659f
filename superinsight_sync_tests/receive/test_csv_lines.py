"""CSV is cut where the parser ends its records, whatever the parts it comes in."""

import csv
import io
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from superinsight_sync.receive.csv_lines import CsvLines, csv_records, lines_in

TEXT = st.text(st.sampled_from('ab,,"\r\n'), max_size=16)


def cut(text: str, places: list[int]) -> list[bytes]:
    lines, data = CsvLines(), text.encode()
    parts = [data[a:b] for a, b in pairwise([0, *sorted(p for p in places if p < len(data)), len(data)])]
    return [record for part in parts for record in lines.feed(part)] + lines.feed(b"", is_last=True)


@given(TEXT, st.lists(st.integers(0, 16)))
@settings(max_examples=500)
def test_each_record_by_itself_reads_as_all_together(text: str, places: list[int]) -> None:
    reader, whole, numbers, line = csv.reader(io.StringIO(text, newline=""), strict=True), [], [], 1
    try:
        for cells in reader:
            whole += [cells] if cells else []
            numbers += [line] if cells else []
            line = reader.line_num + 1
    except csv.Error:
        assume(False)
    found = [list(csv.reader(io.StringIO(r.decode(), newline=""), strict=True)) for r in cut(text, places)]
    assert [cells for one in found for cells in one if cells] == whole
    assert [n for n, record in csv_records(text.encode()) if record.strip(b"\r")] == numbers


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_any_line_end_and_a_quote_within_a_cell(end: str) -> None:
    text = end.join(["id,note", '1,5" pipe', f'2,"two{end}lines ""quoted"""', "3,x", ""])
    found = [r.decode().removesuffix("\r") for r in cut(text, list(range(0, 60, 3)))]
    assert found == ["id,note", '1,5" pipe', f'2,"two{end}lines ""quoted"""', "3,x"]
    assert [lines_in(r.encode()) for r in found] == [1, 1, 2, 1]
