"""Files by forms and by tus, with the real tus client, against a real gateway process."""

import base64
import gzip
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from tusclient.client import TusClient

from superinsight_sync.state import State
from superinsight_sync.state.deliveries import StoredDelivery
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import PUSH, Gateway

TUS = {"tus-resumable": "1.0.0"}
CSV = b"id,name\n" + b"".join(b"%05d,name of %d\n" % (n, n) for n in range(5_000))


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def b64(digest: Any) -> str:
    return base64.b64encode(digest.digest()).decode()


def address(door: Gateway, query: str = "source=till") -> str:
    return f"{door.url}{PUSH}/file?{query}"


def tus(door: Gateway, key: dict[str, str], query: str = "source=till") -> TusClient:
    return TusClient(address(door, query), headers=key)


def of_upload(inbox: Inbox, url: str) -> list[StoredDelivery]:
    upload = url.partition("?")[0].rpartition("/")[2]
    return [d for d in inbox.list(limit=10_000) if d.metadata.get("upload") == upload]


def test_tuspy_uploads_a_file_in_parts(door: Gateway, inbox: Inbox, key: dict[str, str]) -> None:
    uploader = tus(door, key).uploader(
        file_stream=io.BytesIO(CSV),
        chunk_size=30_000,
        metadata={"filename": "../../etc/sales.csv", "shift": "3"},
        upload_checksum=True,
    )
    uploader.upload()
    (delivery,) = of_upload(inbox, uploader.url)
    assert inbox.body(delivery.id) == CSV
    assert (delivery.format, delivery.records, delivery.stream) == ("csv", 5_000, "sales")
    assert delivery.metadata["metadata"] == {"shift": "3"}
    assert delivery.metadata["file"] == "../../etc/sales.csv", "told, and never a path"
    told = httpx.get(uploader.url, headers=key).json()
    assert told["offset"] == told["length"] == len(CSV)
    assert (told["outcome"]["status"], told["outcome"]["id"]) == ("stored", delivery.id)


def test_a_form_brings_files(door: Gateway, inbox: Inbox, key: dict[str, str]) -> None:
    packed = gzip.compress(b'{"a": 1}\n{"a": 2}\nhunter2\n')
    answer = httpx.post(
        address(door),
        headers=key,
        data={"stream": "sales", "metadata": '{"shift": 4}'},
        files=[
            ("f", ("a.csv", b"x,y\n007,b\n", "application/octet-stream")),
            ("f", ("b.jsonl.gz", packed, "application/gzip")),
            ("f", ("../c", b"<r><i><a>1</a></i></r>", "application/xml")),
        ],
    )
    assert answer.status_code == 202, answer.text
    told = answer.json()["files"]
    assert [(f["file"], f["status"], f["records"], f["rejected_count"]) for f in told] == [
        (1, "stored", 1, 0), (2, "stored", 2, 1), (3, "stored", 1, 0),
    ]  # fmt: skip
    assert "hunter2" not in answer.text and told[1]["rejected"][0]["place"] == 3
    assert inbox.body(told[1]["id"]) == packed
    second = inbox.get(told[1]["id"])
    assert second is not None and second.encoding == "gzip" and second.metadata["metadata"] == {"shift": 4}


def create(
    door: Gateway, key: dict[str, str], length: int, query: str = "source=till", **more: str
) -> httpx.Response:
    headers = {
        **TUS,
        "upload-length": str(length),
        "upload-metadata": f"filename {base64_of('a.csv')}",
        **key,
    }
    return httpx.post(
        address(door, query), headers={**headers, **{k.replace("_", "-"): v for k, v in more.items()}}
    )


def made(door: Gateway, key: dict[str, str], length: int, **more: str) -> str:
    answer = create(door, key, length, **more)
    assert answer.status_code == 201, answer.text
    return str(httpx.URL(door.url).join(answer.headers["location"]))


def patch(url: str, key: dict[str, str], offset: int, part: bytes, **more: str) -> httpx.Response:
    headers = {**TUS, "upload-offset": str(offset), "content-type": "application/offset+octet-stream", **key}
    more = {k.replace("_", "-"): v for k, v in more.items()}
    return httpx.patch(url, content=part, headers={**headers, **more}, timeout=60)


def offset_of(url: str, key: dict[str, str]) -> int:
    answer = httpx.head(url, headers={**TUS, **key})
    assert answer.status_code == 200, answer.headers
    return int(answer.headers["upload-offset"])


def test_what_is_spoken_is_told(door: Gateway) -> None:
    answer = httpx.options(address(door))
    assert answer.status_code == 204 and answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-extension"] == "creation,creation-with-upload,checksum,termination,expiration"
    assert "sha1" in answer.headers["tus-checksum-algorithm"].split(",")


def test_a_wrong_offset_is_409_and_the_last_part_sent_twice_counts_once(
    door: Gateway, inbox: Inbox, key: dict[str, str]
) -> None:
    body = b"a\ntwice\n"
    url = made(door, key, len(body))
    assert patch(url, key, 3, body[3:]).status_code == 409
    first = patch(url, key, 0, body[:5])
    assert (first.status_code, first.headers["upload-offset"], first.content) == (204, "5", b"")
    assert first.headers["tus-resumable"] == "1.0.0" and first.headers["upload-expires"].endswith("GMT")
    assert patch(url, key, 0, body[:5]).status_code == 409
    assert patch(url, key, 5, body[5:] + b"more").status_code == 413
    last = [patch(url, key, 5, body[5:]) for _ in range(2)]
    assert [a.status_code for a in last] == [204, 409] and offset_of(url, key) == len(body)
    (delivery,) = of_upload(inbox, url)
    assert last[0].headers["x-delivery-id"] == delivery.id and inbox.body(delivery.id) == body


def test_many_send_the_last_part_at_once(door: Gateway, inbox: Inbox, key: dict[str, str]) -> None:
    url = made(door, key, 7)
    with ThreadPoolExecutor(8) as pool:
        codes = [
            f.result().status_code for f in [pool.submit(patch, url, key, 0, b"a\nmany\n") for _ in range(8)]
        ]
    assert codes.count(204) == 1 and set(codes) <= {204, 409, 423, 503}
    assert len(of_upload(inbox, url)) == 1 and offset_of(url, key) == 7


def test_bytes_that_do_not_match_their_checksum_are_dropped(
    door: Gateway, inbox: Inbox, key: dict[str, str]
) -> None:
    body = b"a\n" + b"checksum\n" * 200_000
    url = made(door, key, len(body))
    good = base64.b64encode(hashlib.sha1(body).digest()).decode()
    wrong = patch(url, key, 0, body[:-1] + b"x", upload_checksum=f"sha1 {good}")
    assert wrong.status_code == 460 and wrong.json()["title"] == "Checksum mismatch"
    assert offset_of(url, key) == 0
    for bad in ("crc32 AAAA", "sha1 !!", "sha1"):
        assert patch(url, key, 0, body, upload_checksum=bad).status_code in (400, 460)
    half = len(body) // 2
    assert patch(
        url, key, 0, body[:half], upload_checksum=f"sha256 {b64(hashlib.sha256(body[:half]))}"
    ).is_success
    last = patch(url, key, half, body[half:], upload_checksum=f"sha1 {b64(hashlib.sha1(body[half:]))}")
    assert last.status_code == 422, "it has more records than the source takes"
    assert httpx.head(url, headers={**TUS, **key}).status_code == 422
    assert patch(url, key, len(body), b"").json()["detail"].startswith("more than 10000 records")
    assert of_upload(inbox, url) == []


def test_nobody_reaches_the_upload_of_another(
    door: Gateway, state: State, inbox: Inbox, key: dict[str, str]
) -> None:
    keys = state.api_keys
    rival = {"authorization": f"Bearer {keys.create('r', 'pusher', tenant='rival').text}"}
    bound = {"authorization": f"Bearer {keys.create('b', 'pusher', tenant='acme', sources=('shop',)).text}"}
    viewer = {"authorization": f"Bearer {keys.create('v', 'viewer', tenant='acme').text}"}
    url = made(door, key, 9)
    assert patch(url, key, 0, b"a\n").is_success
    elsewhere = url.replace("source=till", "source=shop")
    missing = url.replace(url.partition("?")[0][-32:], "0" * 32)
    cases = [(rival, url, 404), (rival, missing, 404), (key, elsewhere, 404), (key, missing, 404), (bound, url, 403),
             (bound, elsewhere, 404), (viewer, url, 403), ({}, url, 401), (key, url.partition("?")[0], 404),
             (key, url.replace("/file/", "/file/..%2F"), 404)]  # fmt: skip
    for who, where, status in cases:
        assert httpx.head(where, headers={**TUS, **who}).status_code == status, (who, where)
        assert httpx.get(where, headers=who).status_code == status
        assert patch(where, who, 2, b"hostile").status_code == status
        assert httpx.delete(where, headers={**TUS, **who}).status_code == status
    assert create(door, rival, 5).status_code == 404 and create(door, {}, 5).status_code == 401
    assert patch(url, key, 2, b"friend\n").is_success
    (delivery,) = of_upload(inbox, url)
    assert inbox.body(delivery.id) == b"a\nfriend\n"


def test_an_upload_can_be_ended_begun_with_bytes_and_overridden(
    door: Gateway, inbox: Inbox, key: dict[str, str]
) -> None:
    url = made(door, key, 100)
    assert httpx.delete(url, headers={**TUS, **key}).status_code == 204
    assert httpx.head(url, headers={**TUS, **key}).status_code == 404
    part = {**TUS, **key, "content-type": "application/offset+octet-stream"}
    begun = httpx.post(
        address(door),
        content=b"a\nbe",
        headers={**part, "upload-length": "8", "upload-metadata": "filetype dGV4dC9jc3Y="},
    )
    assert (begun.status_code, begun.headers["upload-offset"]) == (201, "4")
    url = str(httpx.URL(door.url).join(begun.headers["location"]))
    override = {**part, "upload-offset": "4", "x-http-method-override": "PATCH"}
    assert httpx.post(url, content=b"gun\n", headers=override).status_code == 204
    assert httpx.post(url, headers={**TUS, **key}).status_code == 405
    (delivery,) = of_upload(inbox, url)
    assert inbox.body(delivery.id) == b"a\nbegun\n"


@pytest.mark.parametrize(
    ("length", "more", "status"),
    [
        (17 << 20, {}, 413),
        (5, {"tus_resumable": "0.2.2"}, 412),
        (5, {"upload_length": "x"}, 400),
        (5, {"upload_length": "-1"}, 400),
        (5, {"upload_metadata": "filename !!"}, 400),
        (5, {"upload_metadata": "a YQ==,a YQ=="}, 400),
        (5, {"upload_metadata": "filename YS54bHN4"}, 415),
        (5, {"upload_metadata": ""}, 415),
        (0, {}, 400),
    ],
)
def test_what_is_no_upload_is_refused(
    door: Gateway, key: dict[str, str], length: int, more: dict[str, str], status: int
) -> None:
    answer = create(door, key, length, **more)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert (status == 412) == ("tus-version" in answer.headers)
