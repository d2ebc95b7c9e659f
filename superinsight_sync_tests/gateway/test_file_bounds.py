"""What uploads may take of the gateway: disk, time, places; and several gateways that share them."""

import functools
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.gateway.app import Bounds
from superinsight_sync.state import State, open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.uploads import Uploads
from superinsight_sync_tests.gateway.doors import PUSH, Gateway, gateway
from superinsight_sync_tests.gateway.test_files import TUS, made, offset_of, patch
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.waiting import until

Started = Callable[..., str]
GB = 1 << 30


def begin(url: str, key: dict[str, str], length: int) -> httpx.Response:
    headers = {**TUS, **key, "upload-length": str(length), "upload-metadata": "filename YS5jc3Y="}
    return httpx.post(f"{url}{PUSH}/file?source=till", headers=headers)


@pytest.fixture
def near_key(near: State) -> dict[str, str]:
    return {"authorization": f"Bearer {near.api_keys.create('near', 'pusher', tenant='acme').text}"}


def test_before_the_disk_is_full_uploads_are_told_to_come_later(
    served: Started, near: State, near_key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = functools.partial(Uploads, disk=lambda _: (GB, 0, (50 << 20) + GB // 20))
    monkeypatch.setattr("superinsight_sync.gateway.app.Uploads", tight)
    url = served()
    assert begin(url, near_key, 10 << 20).status_code == 201
    refused = begin(url, near_key, 10 << 20)
    assert (refused.status_code, refused.headers["retry-after"]) == (507, "60")
    assert refused.json()["detail"] == "there is no room for it now. Send it again later"
    form = httpx.post(
        f"{url}{PUSH}/file?source=till", headers=near_key, files={"f": ("a.csv", b"a\n" + b"1\n" * (4 << 20))}
    )
    assert form.status_code == 507 and form.headers["content-type"] == "application/problem+json"


def test_an_upload_that_is_given_up_is_not_there_any_more(
    served: Started, near: State, near_key: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superinsight_sync.gateway.uploads._SWEEP_S", 0.2)
    url = served(bounds=Bounds(uploads_kept_s=3.0))
    place = f"{url}{begin(url, near_key, 9).headers['location']}"
    for at in range(3):
        time.sleep(1.2)
        assert patch(place, near_key, at, b"x").status_code == 204, "as long as something comes it is kept"
    until(
        lambda: httpx.head(place, headers={**TUS, **near_key}).status_code == 404,
        "what was given up stays",
        10,
    )
    assert patch(place, near_key, 3, b"x").status_code == 404
    until(lambda: not list((tmp_path / ".sis" / "uploads").iterdir()), "its files stay", 10)


def test_while_the_gateway_takes_nothing_uploads_can_be_ended(
    served: Started, near: State, near_key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superinsight_sync.gateway.context._LOOK_S", 0.1)
    url = served()
    place = f"{url}{begin(url, near_key, 9).headers['location']}"
    monkeypatch.setattr("superinsight_sync.gateway.context._LEAST_FREE", 2.0)
    until(lambda: begin(url, near_key, 9).status_code == 503, "it takes more")
    assert "retry-after" in begin(url, near_key, 9).headers
    assert patch(place, near_key, 0, b"x").status_code == 503
    assert httpx.delete(place, headers={**TUS, **near_key}).status_code == 204


@pytest.mark.slow
def test_an_upload_begun_at_one_gateway_goes_on_at_another(tmp_path: Path) -> None:
    first = gateway(tmp_path)
    first.start()
    second = Gateway(first.folder, free_port(), dict(first.environment))
    second.start()
    settings = load_settings(first.environment)
    state = open_state(settings.database_url)
    key = {"authorization": f"Bearer {state.api_keys.create('two', 'pusher', tenant='acme').text}"}
    body = b"a\n" + b"wander\n" * 50
    here = made(first, key, len(body))
    there = here.replace(str(first.port), str(second.port))
    at = 0
    while at < len(body):
        url = (here, there)[at // 50 % 2]
        assert patch(url, key, at, body[at : at + 50]).status_code == 204
        at += 50
        assert offset_of(there, key) == offset_of(here, key) == min(at, len(body))
    first.end()
    second.end()
    inbox = Inbox(state.database, settings.landing_dir)
    assert [inbox.body(d.id) for d in inbox.list()] == [body]
    state.close()
