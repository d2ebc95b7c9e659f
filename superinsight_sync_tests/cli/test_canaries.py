"""1,000 identifiers of every type go through the whole chain, and none is found outside the raw tables."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from superinsight_sync_tests.cli.commands import sis
from superinsight_sync_tests.servers.llm import FakeLlm, fake_llm

COUNT = 1_000
COLUMNS = {
    "email": "hmac",
    "phone": "{how: hmac, match: code}",
    "id_card": "token",
    "card": "format",
    "company": "redact",
    "passport": "{how: partial, keep_first: 1, keep_last: 2}",
    "hkid": "redact",
    "twid": "hmac",
    "ip": "null",
    "iban": "token",
    "ssn": "hmac",
    "address": "redact",
    "born": "{how: generalise, to: year}",
    "pay": "{how: generalise, band: 1000000}",
    "plate": "redact",
    "api_key": "redact",
    "full_name": "hmac",
    "姓名": "redact",
    "note": "text",
}
MARKS = (
    *("canary", "1380077", "110105197", "622848007777", "91110105MA77", "EJ7707", "ZQ77", "Q17707", "10.77."),
    *("77070077", "577-07-", "Canaryweg", "7700770", "京AQ", "canarykey", "Canarysson", "金丝雀"),
)
"""Every identifier of a type holds its mark, and nothing else does."""
BORN = re.compile(r"1971-(?!01-01)\d\d-\d\d")
"""Days of one year: a mean of years, which statistics may show, lies later."""
DECLARED = """type: superinsight_sync.SyncSource
attributes:
  name: people
  connection: {{kind: sqlite, path: data/people.db}}
  defaults: {{max_row_errors: 500}}
  streams:
    - name: persons
      table: persons
      primary_key: [email]
      refine:
        - {{step: cast, columns: {{born: date, n: int}}}}
        - {{step: rule, name: even_enough, check: "n % 10 != 3"}}
        - step: mask
          columns: {{{masks}}}
        - {{step: rule, name: odd_enough, check: "n % 10 != 4"}}
      expect:
        - {{type: not_null, column: email}}
        - {{type: set, column: phone, values: [none], severity: warning}}
    - name: strict
      table: persons
      on_row_error: fail
      refine:
        - {{step: cast, columns: {{n: int}}}}
        - step: mask
          columns: {{{masks}}}
"""
DATASET = """type: superinsight_sync.Dataset
attributes:
  name: training
  inputs: {persons: people/persons}
  select: SELECT * EXCLUDE (nick), nick AS handle FROM persons
  mask: {handle: hmac}
  split: {group_by: [email]}
  anonymity: {quasi_identifiers: [pay], k: 5}
  formats: [json, jsonl, csv, parquet]
"""


def letters(number: int) -> str:
    return "".join(chr(97 + int(digit)) for digit in f"{number:04}")


def luhn(text: str) -> str:
    digits = [int(c) for c in text]
    doubled = [d * 2 - 9 if d > 4 else d * 2 for d in digits[::-2]]
    return text + str(-(sum(doubled) + sum(digits[-2::-2])) % 10)


def person(n: int) -> dict[str, object]:
    born = date(1970, 1, 2) + timedelta(days=3 * n)
    id_card = f"110105{born:%Y%m%d}{n:03}"
    id_card += "10X98765432"[sum(int(c) * (2 ** (17 - i) % 11) for i, c in enumerate(id_card)) % 11]
    found = {
        "email": f"canary{n:04}@example.org",
        "phone": f"1380077{n:04}",
        "id_card": id_card,
        "card": luhn(f"622848007777{n:06}"),
        "company": f"91110105MA77{n:04}7X",
        "passport": f"EJ7707{n:03}",
        "hkid": f"ZQ77{n:04}(7)",
        "twid": f"Q17707{n:04}",
        "ip": f"10.77.{n % 250}.{n // 250}",
        "iban": f"DE89 7707 0077 {n:04} 0000 00",
        "ssn": f"577-07-{n:04}",
        "address": f"Canaryweg {n}",
        "born": str(born if born < date(1979, 12, 31) else date(1975, 5, 5)),
        "pay": 7_700_770_000 + n,
        "plate": f"京AQ{n:04}",
        "api_key": f"sk-canarykey{n:012}",
        "full_name": f"Zephyrine Canarysson{letters(n)}",
        "姓名": f"金丝雀{n}",
    }
    sentence = (
        "{email}, tel {phone} or +86 {phone}, 身份证{id_card}, card {card}, {company}, {passport}, {hkid}, {twid}, from "
        "{ip}, {iban}, {ssn}, plate {plate}, password={api_key}, Mr. {full_name}"
    )
    found["iban"] = str(found["iban"]).replace(" ", "") if n % 2 else found["iban"]
    found["note"] = sentence.format(**found)
    found["nick"] = f"NICKMARK{n}"
    found["n"] = "x" if n % 50 == 7 else str(n)
    return found


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLlm]:
    with fake_llm() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "key-of-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


@pytest.fixture
def people(new_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIS_MASK_KEY", "0123456789abcdef0123456789abcdef")
    rows = [person(n) for n in range(COUNT)]
    listed = ", ".join(f'"{name}"' for name in rows[0])
    with closing(sqlite3.connect(new_project / "data" / "people.db")) as db, db:
        db.execute(
            f"CREATE TABLE persons ({listed.replace(', ', ' TEXT, ')} TEXT)".replace(
                '"pay" TEXT', '"pay" INTEGER'
            )
        )
        marks = ", ".join("?" * len(rows[0]))
        db.executemany(f"INSERT INTO persons VALUES ({marks})", [tuple(r.values()) for r in rows])
    masks = ", ".join(f"{name}: {how}" for name, how in COLUMNS.items())
    defs = new_project / new_project.name / "defs"
    for name, text in (("people", DECLARED.format(masks=masks)), ("training", DATASET)):
        (defs / name).mkdir()
        (defs / name / "defs.yaml").write_text(text)
    return new_project


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file below a folder as text, tables decoded."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".parquet":
            yield name, str(pq.read_table(path, partitioning=None).to_pylist())
        yield name, path.read_bytes().decode("utf-8", "replace")


def leaks(where: str, text: str) -> list[str]:
    plain = text.encode().decode("unicode_escape", "replace") if "\\u" in text else ""
    found = [f"{where}: {mark}" for mark in MARKS if mark in text or mark in plain]
    if "NICKMARK" in text and not re.search("/persons/(refined|quarantine)/|preview|sis quarantine", where):
        found.append(f"{where}: a value that the dataset masks")
    return [*found, *(f"{where}: {m}" for m in BORN.findall(text)[:1])]


def test_no_identifier_is_found_outside_the_raw_tables(people: Path, llm: FakeLlm) -> None:
    printed = {}
    for command in (
        ("run", "people.persons", "datasets/training"),
        ("run", "people.strict"),
        ("quarantine", "list", "people.persons"),
        ("preview", "people.persons", "--landed", "refined"),
        ("preview", "people.persons", "--refined"),
        ("history", "people.persons"),
        ("logs",),
        ("sensitive", "people.persons", "--json"),
        ("status",),
    ):
        printed[" ".join(command)] = sis(*command)
    assert printed["run people.persons datasets/training"].code == 0, printed.popitem()
    assert printed["run people.strict"].code != 0
    held = dict.fromkeys(MARKS, 0)
    found: list[str] = []
    for name, text in texts(people):
        if "/raw/" in name or name == "data/people.db":
            held = {mark: held[mark] + text.count(mark) for mark in MARKS}
        else:
            found += leaks(name, text)
    for command, done in printed.items():
        found += leaks(f"sis {command}", done.out + done.err)
    found += [leak for body in llm.bodies for leak in leaks("LLM", json.dumps(body, ensure_ascii=False))]
    assert "\n".join(found) == ""
    assert all(count >= COUNT for mark, count in held.items()), "they must have been there"
    assert len(llm.bodies) > 0
    told = printed["sensitive people.persons --json"].document["columns"]
    raw = {c["column"]: c["kind"] for c in told if c["stage"] == "raw"}
    assert {"email", "phone", "id_card", "card", "twid", "ip", "ssn", "api_key", "plate", "note"} <= set(raw)
    assert raw["id_card"] == "national_id"
