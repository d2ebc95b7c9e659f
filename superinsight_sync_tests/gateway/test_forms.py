"""Forms with files: what they hold comes out, and what is none is refused, however it is cut."""

import os
import random
from collections import Counter
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.gateway.forms import Form
from superinsight_sync.receive.refusals import MalformedError, TooLargeError
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import Gateway
from superinsight_sync_tests.gateway.test_files import TUS, address
from superinsight_sync_tests.gateway.test_hostile import resident_mb

KIND = "multipart/form-data; boundary=edge"


def body_of(*parts: tuple[str, bytes]) -> bytes:
    """A form with the boundary `edge`; each part as the rest of its disposition, and its content."""
    made = b"".join(
        b"--edge\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    )
    return made + b"--edge--\r\n"


CSV = ('name="f"; filename="a.csv"', b"a\n1\n")


def send(door: Gateway, key: dict[str, str], body: bytes, kind: str = KIND, **more: str) -> httpx.Response:
    return httpx.post(address(door), content=body, headers={**key, "content-type": kind, **more})


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (body_of(), 422, "the form holds no file"),
        (body_of(("name=stream", b"sales")), 422, "the form holds no file"),
        (body_of(CSV, ("name=other", b"x")), 422, "the form has an unknown field"),
        (body_of(CSV, ("name=stream", b"none")), 422, "the push names no stream of this source"),
        (body_of(CSV, ("name=metadata", b"[1]")), 422, "`metadata` is no JSON object"),
        (
            body_of(CSV, ("name=stream", b"sales"), ("name=stream", b"x")),
            422,
            "a field of the form is there twice",
        ),
        (body_of(CSV, ("name=stream", b"\xff")), 400, "a name or a field of the form is no UTF-8"),
        (
            body_of(CSV, ("name=metadata", b"x" * 70_000)),
            413,
            "a field of the form has more than 65536 bytes",
        ),
        (body_of(('filename="a.csv"', b"a\n1\n")), 400, "a part of the form has no name"),
        (body_of(CSV)[:-8], 400, "the form ends too early"),
        (body_of(CSV).replace(b"--edge", b"--egde"), 400, "the body is no valid multipart/form-data"),
        (
            body_of(CSV, ('name="f"; filename="b.xlsx"', b"x")),
            415,
            "file 2: what kind of file it is cannot be told",
        ),
        (body_of(CSV, ('name="f"; filename="b.json"', b"{hunter2")), 400, "file 2: no valid JSON"),
        (
            body_of(CSV, ('name="f"; filename="b.json"', b"[1]")),
            422,
            "file 2: nothing in the file can be taken",
        ),
        (
            body_of(CSV, ('name="f"; filename="b.csv"', b"x" * (17 << 20))),
            413,
            "file 2 has more than 16777216 bytes",
        ),
        (body_of(*[CSV] * 101), 422, "the form has more than 100 files"),
        (b"", 400, "the form ends too early"),
    ],
)
def test_what_is_no_form_with_files_is_refused_whole(
    door: Gateway, inbox: Inbox, key: dict[str, str], body: bytes, status: int, reason: str
) -> None:
    before = len(inbox.list(limit=10_000))
    answer = send(door, key, body)
    assert (answer.status_code, answer.json()["detail"][: len(reason)]) == (status, reason)
    assert "hunter2" not in answer.text and len(inbox.list(limit=10_000)) == before
    assert list((Path(door.environment["SIS_HOME"]) / "uploads").glob("*.part")) == []


def test_a_form_needs_its_type_its_length_and_a_key(door: Gateway, key: dict[str, str]) -> None:
    for kind in ("application/json", "multipart/form-data", "", f"multipart/form-data; boundary={'x' * 300}"):
        assert send(door, key, body_of(CSV), kind).status_code in (400, 415)
    chunked = httpx.post(address(door), content=iter([body_of(CSV)]), headers={**key, "content-type": KIND})
    assert chunked.status_code == 411
    assert send(door, {}, body_of(CSV)).status_code == 401


def test_a_form_sent_again_counts_once(door: Gateway, inbox: Inbox, key: dict[str, str]) -> None:
    body = body_of(CSV, ('name="g"; filename="..\\..\\b.csv"', b"a\n2\n"))
    first = send(door, key, body, **{"idempotency-key": "form-1"})
    again = send(door, key, body, **{"idempotency-key": "form-1"})
    assert (first.status_code, again.status_code) == (202, 200)
    assert [f["id"] for f in first.json()["files"]] == [f["id"] for f in again.json()["files"]]
    assert [f["status"] for f in again.json()["files"]] == ["duplicate", "duplicate"]
    other = send(door, key, body.replace(b"a\n2", b"a\n3"), **{"idempotency-key": "form-1"})
    assert other.status_code == 422 and other.json()["detail"].startswith(
        "file 2: this key was used for another body"
    )
    plain = [
        send(door, key, body_of(('name="f"; filename="x.csv"', b"a\nplain\n"))).status_code for _ in range(2)
    ]
    assert plain == [202, 200], "without a key a file is known by its content"


@given(content=st.binary(max_size=200), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_however_a_form_is_cut_its_file_comes_out(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, cuts: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "form.part"
    path.unlink(missing_ok=True)
    content = content.replace(b"\r\n--edge", b"")
    body = body_of(("name=stream", b"sales"), ('name="f"; filename="ä b.csv"', content))
    form, at, turn = Form(KIND, lambda: path, 10_000), 0, 0
    while at < len(body):
        size = cuts[turn % len(cuts)]
        form.feed(body[at : at + size])
        at, turn = at + size, turn + 1
    form.finish()
    assert path.read_bytes() == content and form.fields == {"stream": "sales"}
    assert [(f.name, f.media_type) for f in form.files] == [("ä b.csv", "")]


def test_a_file_is_measured_as_it_comes(tmp_path: Path) -> None:
    form = Form(KIND, lambda: tmp_path / "x", 100)
    form.feed(body_of(CSV)[:-12])
    with pytest.raises(TooLargeError, match="file 1 has more than 100 bytes"):
        form.feed(b"x" * 100)
    form.close()
    with pytest.raises(MalformedError, match="ends too early"):
        form.finish()


def test_hostile_files_are_refused_and_leave_nothing_behind(door: Gateway, key: dict[str, str]) -> None:
    assert door.process is not None
    rng, codes, warm_mb = random.Random(7), Counter[int](), 0
    seeds = [body_of(CSV), body_of(("name=metadata", b'{"a":1}'), CSV), body_of(*[CSV] * 5)]
    with httpx.Client(timeout=20) as client:
        for number in range(900):
            body = bytearray(rng.choice(seeds))
            for _ in range(rng.randint(0, 3)):
                at = rng.randrange(len(body))
                body[at : at + rng.randint(0, 3)] = rng.choice(
                    [b"", b"\r\n", b"--edge", b"\x00", b'"', os.urandom(2)]
                )
            if number % 3 == 0:
                headers = {**TUS, "upload-length": str(len(body)), "content-type": "application/offset+octet-stream",
                           "upload-metadata": rng.choice(["filename YS5jc3Y=", "filetype YQ==", "\xff", "a,b", "x"]),
                           "upload-checksum": rng.choice(["sha1 AAAA", "md5 x", "\xe9"])}  # fmt: skip
                drop = rng.choice([*headers, "none"])
                headers = {k: v for k, v in headers.items() if k != drop}
            else:
                headers = {
                    "content-type": rng.choice([KIND, KIND + '"', "multipart/form-data; boundary=\xff"])
                }
            sent = {k: v.encode("latin-1") for k, v in {**key, **headers}.items()}
            answer = client.post(address(door), content=bytes(body), headers=sent)
            codes[answer.status_code] += 1
            assert answer.status_code < 400 or answer.headers["content-type"] == "application/problem+json"
            if number == 300:
                warm_mb = resident_mb(door.process.pid)
    assert set(codes) <= {200, 201, 202, 400, 413, 415, 422, 460, 507}, codes
    assert codes[400] > 100 and codes[202] + codes[200] > 10, codes
    assert resident_mb(door.process.pid) - warm_mb < 20
    assert list((Path(door.environment["SIS_HOME"]) / "uploads").glob("*.part")) == []
