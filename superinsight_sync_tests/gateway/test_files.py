"""Files by forms and by tus, with the real tus client, against a real gateway process."""

import gzip
import io

import httpx
from tusclient.client import TusClient

from superinsight_sync.state.inbox import Inbox, StoredDelivery
from superinsight_sync_tests.gateway.doors import PUSH, Gateway

CSV = b"id,name\n" + b"".join(b"%05d,name of %d\n" % (n, n) for n in range(5_000))


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
