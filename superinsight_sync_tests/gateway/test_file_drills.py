"""The gateway is killed and stopped in the middle of uploads: what it told is on the disk, and a file counts once."""

import hashlib
import io
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from superinsight_sync.core.settings import load_settings
from superinsight_sync.state import State, open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import PUSH, Gateway, gateway
from superinsight_sync_tests.gateway.drills import held
from superinsight_sync_tests.gateway.test_files import TUS, made, offset_of, patch
from superinsight_sync_tests.waiting import until

LINE = b'{"n": %d, "pad": "' + b"x" * 1_500 + b'"}\n'
BIG = b"".join(LINE % n for n in range(9_000))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Gateway, State, Inbox, dict[str, str]]]:
    """A gateway of the test's own, since it is going to be killed."""
    door = gateway(tmp_path)
    door.start()
    settings = load_settings(door.environment)
    state = open_state(settings.database_url)
    key = state.api_keys.create("files", "pusher", tenant="acme").text
    yield door, state, Inbox(state.database, settings.landing_dir), {"authorization": f"Bearer {key}"}
    door.end()
    state.close()


def came(door: Gateway) -> int:
    """How many bytes of the one upload are in its file."""
    return sum(p.stat().st_size for p in Path(door.environment["SIS_HOME"]).glob("uploads/*.data"))


class Slow(io.BytesIO):
    """A file that is read slowly, so that there is time to kill somebody."""

    moment = threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.moment.wait(0.03)
        return super().read(size)


@pytest.mark.slow
@pytest.mark.parametrize("with_checksum", [False, True])
def test_tuspy_goes_on_after_kill_9(
    own: tuple[Gateway, State, Inbox, dict[str, str]], with_checksum: bool
) -> None:
    door, _, inbox, key = own
    client = TusClient(f"{door.url}{PUSH}/file?source=till", headers=key)
    facts = {"filename": "big.ndjson"}
    uploader = client.uploader(
        file_stream=Slow(BIG), chunk_size=150_000, metadata=facts, upload_checksum=with_checksum
    )
    kills = 0

    def kill(there: int) -> None:
        until(lambda: came(door) > there, "nothing comes")
        door.end(signal.SIGKILL)

    while uploader.offset < len(BIG):
        killer = threading.Thread(target=kill, args=(came(door) + 300_000,)) if kills < 3 else None
        if killer is not None:
            killer.start()
        try:
            uploader.upload()
        except (TusUploadFailed, TusCommunicationError):
            assert killer is not None, "nobody killed it, and still it failed"
            killer.join()
            kills += 1
            door.start()
            told = uploader.offset
            uploader.offset = uploader.get_offset()
            assert told <= uploader.offset < len(BIG), "what was told is still there"
    assert kills == 3
    (delivery,) = inbox.list()
    assert (delivery.records, delivery.fingerprint) == (9_000, hashlib.sha256(BIG).hexdigest())
    assert inbox.body(delivery.id) == BIG


@pytest.mark.slow
@pytest.mark.parametrize("asks", [True, False])
def test_killed_between_the_last_byte_and_the_answer_it_counts_once(
    own: tuple[Gateway, State, Inbox, dict[str, str]], asks: bool
) -> None:
    door, state, inbox, key = own
    body = b"a\nlast\n"
    url = made(door, key, len(body))
    failed = threading.Event()

    def send() -> None:
        try:
            patch(url, key, 0, body)
        except httpx.TransportError:
            failed.set()

    with held(state):
        sender = threading.Thread(target=send)
        sender.start()
        until(lambda: came(door) == len(body), "nothing comes")
        door.answers_others()
        assert not failed.is_set() and sender.is_alive(), "it is not answered before it is stored"
        door.end(signal.SIGKILL)
    sender.join()
    assert failed.is_set() and inbox.list() == ()
    door.start()
    if asks:
        assert offset_of(url, key) == len(body)
    until(inbox.list, "what came whole is not taken")
    (delivery,) = inbox.list()
    assert inbox.body(delivery.id) == body
    assert patch(url, key, 0, body).status_code == 409
    assert offset_of(url, key) == len(body) and len(inbox.list()) == 1


@pytest.mark.slow
def test_killed_after_the_inbox_has_it_and_before_that_is_noted_it_counts_once(
    own: tuple[Gateway, State, Inbox, dict[str, str]],
) -> None:
    door, _, inbox, key = own
    body = b"a\nnoted\n"
    url = made(door, key, len(body))
    assert patch(url, key, 0, body).status_code == 204
    door.end(signal.SIGKILL)
    uploads = Path(door.environment["SIS_HOME"]) / "uploads"
    (note,) = uploads.glob("*.json")
    text = note.read_text()
    note.write_text(text[: text.index('"outcome"')] + '"outcome":null}')
    note.with_suffix(".data").write_bytes(body + b"not committed")
    door.start()
    assert offset_of(url, key) == len(body)
    assert len(inbox.list()) == 1
    assert httpx.get(url, headers=key).json()["outcome"]["id"] == inbox.list()[0].id
    assert [p.suffix for p in uploads.iterdir()] == [".json"]


@pytest.mark.slow
def test_a_sender_that_went_silent_does_not_hold_its_upload(
    own: tuple[Gateway, State, Inbox, dict[str, str]],
) -> None:
    door, _, inbox, key = own
    body = b"a\nsilent\n"
    url = made(door, key, len(body))
    target = httpx.URL(url)
    lines = [f"PATCH {target.raw_path.decode()} HTTP/1.1", "host: x", "tus-resumable: 1.0.0", "upload-offset: 0",
             "content-type: application/offset+octet-stream", f"content-length: {len(body)}",
             f"authorization: {key['authorization']}", "", ""]  # fmt: skip
    with socket.create_connection(("127.0.0.1", door.port)) as silent:
        silent.sendall("\r\n".join(lines).encode() + body[:4])
        door.answers_others(100)
        assert httpx.get(url, headers=key).json()["outcome"] is None
        silent.settimeout(0.2)
        with pytest.raises(TimeoutError):
            silent.recv(1)
        assert offset_of(url, key) == 4, "what came is not lost"
        silent.settimeout(300)
        assert silent.recv(100).startswith(b"HTTP/1.1 503")
    assert patch(url, key, 4, body[4:]).status_code == 204
    assert [inbox.body(d.id) for d in inbox.list()] == [body]


@pytest.mark.slow
def test_a_gateway_that_stops_keeps_what_came(own: tuple[Gateway, State, Inbox, dict[str, str]]) -> None:
    door, _, inbox, key = own
    url = made(door, key, len(BIG))
    codes: list[int] = []
    gone = threading.Event()

    def parts() -> Iterator[bytes]:
        for start in range(0, len(BIG), 200_000):
            yield BIG[start : start + 200_000]
            gone.wait(0.05)

    def send() -> None:
        headers = {**TUS, **key, "upload-offset": "0", "content-type": "application/offset+octet-stream"}
        codes.append(httpx.patch(url, content=parts(), headers=headers, timeout=60).status_code)

    sender = threading.Thread(target=send)
    sender.start()
    until(lambda: came(door) > 1_000_000, "nothing comes")
    door.end()
    sender.join()
    door.start()
    at = offset_of(url, key)
    assert 200_000 < at < len(BIG) and codes == [503]
    assert patch(url, key, at, BIG[at:]).status_code == 204
    (delivery,) = inbox.list()
    assert delivery.fingerprint == hashlib.sha256(BIG).hexdigest()
