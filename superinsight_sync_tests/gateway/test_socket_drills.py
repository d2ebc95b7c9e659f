"""A gateway that is stopped while numbered messages stream in acknowledges what it took."""

import json
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from superinsight_sync.core.settings import load_settings
from superinsight_sync.state import open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import PUSH, gateway
from superinsight_sync_tests.gateway.drills import held
from superinsight_sync_tests.waiting import stays


@pytest.mark.slow
def test_a_gateway_that_stops_acknowledges_what_it_took(tmp_path: Path) -> None:
    door = gateway(tmp_path)
    door.start()
    settings = load_settings(door.environment)
    state = open_state(settings.database_url)
    key = state.api_keys.create("stop", "pusher", tenant="acme").text
    url = f"{door.url.replace('http', 'ws', 1)}{PUSH}/ws?source=till&session=stop"
    with connect(url, additional_headers={"authorization": f"Bearer {key}"}) as connection:
        connection.recv(10)
        with held(state):
            for number in range(1, 301):
                connection.send(json.dumps({"n": number, "data": {"n": number}}))
            door.answers_others(100)
            assert door.process is not None
            door.process.send_signal(signal.SIGTERM)
            stays(
                lambda: door.process and door.process.poll() is None, "it ends without what it took", looks=30
            )
        last = 0
        with pytest.raises(ConnectionClosed) as ended, suppress(TimeoutError):
            while True:
                last = json.loads(connection.recv(20))["n"]
    assert ended.value.rcvd is not None
    assert (last, ended.value.rcvd.code) == (300, 1012)
    assert ended.value.rcvd.reason == "the gateway is stopping. Connect again"
    assert door.end() == 0
    (found,) = Inbox(state.database, settings.landing_dir).pending()
    assert found.records == 300
    state.close()
