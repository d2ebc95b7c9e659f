"""Streams of lines: results by line, what broke off is gone on with, no line twice."""

import csv
import io
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.core.settings import load_settings
from superinsight_sync.gateway.line_reader import LineReader
from superinsight_sync.receive.parsing import parse
from superinsight_sync.state import open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import PUSH, Gateway, gateway
from superinsight_sync_tests.waiting import until

LINES = [b'{"n": %d, "t": "%s"}' % (n, b"x" * (n % 50)) for n in range(1, 3_501)]


def push(door: Gateway, content: object, key: dict[str, str], batch: str, query: str = "") -> httpx.Response:
    headers = {**key, "x-batch-id": batch, "content-type": "application/x-ndjson"}
    url = f"{door.url}{PUSH}/stream?source=till{query}"
    return httpx.post(url, content=content, headers=headers, timeout=60)  # type: ignore[arg-type]


def stored(inbox: Inbox, batch: str) -> list[int]:
    mine = [d for d in inbox.list(limit=10_000) if d.metadata.get("batch") == batch]
    numbers: list[int] = []
    for delivery in sorted(mine, key=lambda d: d.seq):
        body = inbox.body(delivery.id)
        assert body is not None
        numbers.extend(int(r["n"]) for r in parse(body, delivery.format).records)  # type: ignore[arg-type]
    return numbers


def test_lines_are_stored_in_chunks_and_once(door: Gateway, inbox: Inbox, key: dict[str, str]) -> None:
    answer = push(door, b"\n".join(LINES), key, "whole")
    assert answer.status_code == 202
    assert answer.json() | {"rejected": []} == {
        "batch_id": "whole", "committed": 3_500, "records": 3_500, "rejected_count": 0, "rejected": [],
    }  # fmt: skip
    assert stored(inbox, "whole") == list(range(1, 3_501))
    again = push(door, b"\n".join(LINES), key, "whole")
    assert (again.status_code, again.json()["committed"], again.json()["records"]) == (200, 3_500, 0)
    longer = push(door, b"\n".join([*LINES[3_000:], b'{"n": 3501}']), key, "whole", "&line=3001")
    assert (longer.status_code, longer.json()["records"]) == (202, 1)
    assert stored(inbox, "whole") == list(range(1, 3_502))


def test_bad_lines_have_their_numbers_in_the_whole(door: Gateway, key: dict[str, str]) -> None:
    lines = list(LINES[:2_500])
    lines[4], lines[1_999] = b"{", b"[]"
    told = push(door, b"\n".join(lines), key, "bad").json()
    assert [r["line"] for r in told["rejected"]] == [5, 2_000]
    assert (told["records"], told["rejected_count"], told["committed"]) == (2_498, 2, 2_500)


def test_a_slow_stream_is_stored_as_it_comes_and_gone_on_with(
    door: Gateway, inbox: Inbox, key: dict[str, str]
) -> None:
    position = f"{door.url}{PUSH}/stream/slow?source=till"
    seen: list[int] = []

    def slowly() -> Iterator[bytes]:
        yield b"\n".join(LINES[:10]) + b"\n" + LINES[10][:5]
        until(lambda: httpx.get(position, headers=key).json()["committed"], "nothing is stored")
        seen.append(httpx.get(position, headers=key).json()["committed"])
        second = push(door, b"{}", key, "slow")
        seen.append(second.status_code)
        raise ConnectionError("cut")

    with suppress(ConnectionError, httpx.TransportError):
        push(door, slowly(), key, "slow")
    assert seen == [10, 409]
    answers: list[httpx.Response] = []

    def goes_on() -> bool:
        answers.append(push(door, b"\n".join(LINES[:20]), key, "slow"))
        return answers[-1].status_code != 409

    until(goes_on, "the first is not known to be gone")
    answer = answers[-1]
    assert (answer.status_code, answer.json()["committed"]) == (202, 20)
    assert stored(inbox, "slow") == list(range(1, 21))
    gap = push(door, LINES[30], key, "slow", "&line=31")
    assert (gap.status_code, gap.json()["committed"]) == (422, 20)
    assert gap.json()["detail"].startswith("lines are missing: the next one is 21")


def test_the_same_stream_from_many_connections_is_stored_once(
    door: Gateway, inbox: Inbox, key: dict[str, str]
) -> None:
    codes: list[int] = []

    def send() -> None:
        codes.append(push(door, b"\n".join(LINES[:2_000]), key, "many").status_code)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {202, 200, 409} and codes.count(202) == 1
    assert stored(inbox, "many") == list(range(1, 2_001))


def test_csv_chunks_each_have_the_header(door: Gateway, inbox: Inbox, key: dict[str, str]) -> None:
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(["n", "text"])
    for n in range(1, 2_001):
        rows.writerow([f"{n:05}", 'a "quoted"\nbreak, and comma' if n % 7 == 0 else "x"])
    text = out.getvalue().encode()

    def parts() -> Iterator[bytes]:
        for start in range(0, len(text), 997):
            yield text[start : start + 997]

    headers = {**key, "x-batch-id": "csv", "content-type": "text/csv"}
    url = f"{door.url}{PUSH}/stream?source=till"
    half = text.index(b"\r\n", len(text) // 2) + 2
    first = httpx.post(url, content=text[:half] + b'"', headers=headers)
    assert (first.status_code, first.json()["committed"]) == (400, 1_143)
    answer = httpx.post(
        url, content=parts(), headers=headers
    )  # 1,000 rows, 142 of them on two lines, and a header
    assert answer.status_code == 202
    assert stored(inbox, "csv") == list(range(1, 2_001))


def test_other_lines_under_a_stored_batch_id_are_refused(
    door: Gateway, inbox: Inbox, key: dict[str, str]
) -> None:
    whole = LINES[:2_500]
    assert push(door, b"\n".join(whole), key, "other").status_code == 202
    count = len(stored(inbox, "other"))

    def told(lines: list[bytes], query: str = "") -> tuple[int, int]:
        answer = push(door, b"\n".join(lines), key, "other", query)
        if answer.status_code == 422:
            expected = "this batch id was used for other lines or another stream. Use another batch id"
            assert answer.json()["detail"] == expected
        return answer.status_code, answer.json()["committed"]

    for at in (0, 999, 1_000, 1_700, 2_499):
        other = [*whole]
        other[at] = b'{"n": 0}'
        for lines in (other, [*other, b'{"n": 2501}'], other[: at + 1]):
            assert told(lines) == (422, 2_500), at
        first = max(1, at - 300)
        assert told(other[first - 1 :], f"&line={first}") == (422, 2_500)
    assert told([b"".join(whole[:2]), *whole[1:]]) == (422, 2_500)
    for again in (whole[:1], whole[:1_500], whole[:1_000], whole):
        assert told(again) == (200, 2_500)
    assert told(whole[1_499:], "&line=1500") == told(whole[1_499:1_600], "&line=1500") == (200, 2_500)
    headers = {**key, "x-batch-id": "other", "content-type": "text/csv"}
    csv_answer = httpx.post(f"{door.url}{PUSH}/stream?source=till", content=b"n\n1\n", headers=headers)
    assert csv_answer.status_code == 422
    assert len(stored(inbox, "other")) == count, "nothing of the other lines is taken"


def test_another_header_or_other_rows_of_csv_are_refused(
    door: Gateway, inbox: Inbox, key: dict[str, str]
) -> None:
    headers = {**key, "x-batch-id": "csv-other", "content-type": "text/csv"}

    def told(body: bytes) -> int:
        return httpx.post(f"{door.url}{PUSH}/stream?source=till", content=body, headers=headers).status_code

    assert told(b'n,t\n1,"a\nb"\n2,c\n') == 202
    for body in (b'n,u\n1,"a\nb"\n2,c\n', b'n,t\n1,"a\nB"\n', b'n,t\n1,"a\nb"\n2,"c\n\n"\n',
                 b'"n\n",t\n1,"a\nb"\n2,c\n', b"n,t\n1,a\n"):  # fmt: skip
        assert told(body) == 422, body
    for body in (b'n,t\n1,"a\nb"\n', b'n,t\n1,"a\nb"\n2,c', b"n,t\n"):
        assert told(body) == 200, body
    assert told(b'n,t\n1,"a\nb"\n2,c\n3,d\n') == 202
    assert stored(inbox, "csv-other") == [1, 2, 3]


def test_what_is_no_stream_is_refused(door: Gateway, key: dict[str, str]) -> None:
    for batch, query, status in (("a b", "", 400), ("x", "&line=0", 400), ("x", "&stream=no", 422)):
        assert push(door, b"{}", key, batch, query).status_code == status
    long = push(door, b'{"a": "' + b"x" * (1 << 20) + b'"}', key, "long")
    assert (long.status_code, long.json()["committed"]) == (413, 0)


@settings(max_examples=100)
@given(
    rows=st.lists(st.lists(st.text('ab",\n', max_size=5), min_size=2, max_size=2), max_size=20),
    size=st.integers(1, 30),
    quoted=st.booleans(),
)
def test_lines_come_out_as_they_went_in(rows: list[list[str]], size: int, quoted: bool) -> None:
    import asyncio

    if quoted:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
        text = out.getvalue().encode()
        expected = [",".join('"' + cell.replace('"', '""') + '"' for cell in row).encode() for row in rows]
    else:
        expected = [json.dumps(row).encode() for row in rows]
        text = b"".join(line + b"\n" for line in expected)
    parts = [text[n : n + size] for n in range(0, len(text), size)] or [b""]

    async def receive() -> dict[str, object]:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def gather() -> list[bytes]:
        reader = LineReader(receive, most_bytes=1_000, quoted=quoted)  # type: ignore[arg-type]
        found: list[bytes] = []
        while chunk := await reader.chunk():
            found.extend(chunk)
        return found

    assert asyncio.run(gather()) == expected


def test_a_stream_may_be_longer_than_a_delivery_of_its_source(served, near) -> None:  # type: ignore[no-untyped-def]
    url = served()
    key = near.api_keys.create("few", "pusher", tenant="acme").text
    for media, body in (
        ("application/x-ndjson", b"\n".join(LINES[:35])),
        ("text/csv", b"n\n" + b"\n".join(b"%d" % n for n in range(35))),
    ):
        answer = httpx.post(
            f"{url}{PUSH}/stream?source=till",
            content=body,
            headers={"authorization": f"Bearer {key}", "content-type": media},
        )
        assert (answer.status_code, answer.json()["records"]) == (202, 35), answer.text


def test_a_gateway_that_stops_answers_what_it_took_of_a_stream(tmp_path: Path) -> None:
    own = gateway(tmp_path)
    own.start()
    settings = load_settings(own.environment)
    with closing(open_state(settings.database_url)) as state:
        key = {"authorization": f"Bearer {state.api_keys.create('stop', 'pusher', tenant='acme').text}"}
        inbox = Inbox(state.database, settings.landing_dir)
        gone = threading.Event()
        answers: dict[str, httpx.Response] = {}

        def slowly(pause_s: float) -> Iterator[bytes]:
            for line in LINES:
                yield line + b"\n" + b'{"n": 0'
                if gone.wait(pause_s):
                    return
                yield b"}\n"

        def send(batch: str, pause_s: float) -> None:
            answers[batch] = push(own, slowly(pause_s), key, batch)

        senders = [threading.Thread(target=send, args=a) for a in (("steady", 0.01), ("silent", 600))]
        for sender in senders:
            sender.start()
        until(lambda: stored(inbox, "steady") and stored(inbox, "silent"), "nothing is stored")
        assert own.end() == 0, "it ends while a sender is silent"
        gone.set()
        for sender in senders:
            sender.join(300)
        for batch, answer in answers.items():
            told = answer.json()
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert answer.headers["retry-after"] == "2"
            assert told["detail"] == "the gateway is stopping. Send the rest again, with the same batch id"
            assert told["request_id"] == answer.headers["x-request-id"]
            assert told["committed"] == len(stored(inbox, batch)) > 0
        assert set(answers) == {"steady", "silent"}
        log = (own.folder / "gateway.log").read_text()
        assert "Traceback" not in log and "failed" not in log


CELLS = st.sampled_from(["a", "", '5" pipe', '"quoted, ""twice"""', '"two\nlines"', '"two\rlines"', "007"])


@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r", "\r\n"]),
    step=st.integers(1, 40),
)
@settings(max_examples=100, deadline=None)
def test_csv_gives_the_same_records_on_every_way_in(
    door: Gateway, inbox: Inbox, key: dict[str, str], rows: list[tuple[str, str]], end: str, step: int
) -> None:
    body = end.join(["x,y", *(",".join(row) for row in rows), ""]).encode()
    name = uuid.uuid4().hex
    whole = parse(body, "csv").records
    parts = (body[n : n + step] for n in range(0, len(body), step))
    headers = {**key, "content-type": "text/csv", "x-batch-id": name, "idempotency-key": name}
    with httpx.Client(base_url=door.url + PUSH, headers=headers, params={"source": "till"}) as client:
        streamed = client.post("/stream", content=parts)
        batch = client.post("/batch", content=body)
        del client.headers["content-type"]
        file = client.post("/file", files={"file": ("a.csv", body, "text/csv")})
    assert (streamed.status_code, batch.status_code, file.status_code) == (202, 202, 202)
    assert streamed.json()["records"] == batch.json()["records"] == len(whole)
    chunks = [c.id for c in inbox.chunks("acme", "till", name)]
    for found in (chunks, [batch.json()["id"]], [file.json()["files"][0]["id"]]):
        records = [r for one in found for r in parse(inbox.body(one) or b"", "csv").records]
        assert records == whole
