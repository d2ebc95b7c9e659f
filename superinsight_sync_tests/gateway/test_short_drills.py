"""The short way of webhooks while the gateway is killed or stopped under load."""

import signal
import socket
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from superinsight_sync.core.settings import load_settings
from superinsight_sync.state import open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import Gateway, gateway, signed
from superinsight_sync_tests.gateway.test_short_way import answered, connected, written

SENDERS = 12


class Sender(threading.Thread):
    """Sends numbered events, each in one piece, until its end; what got no answer is sent again if `again`."""

    def __init__(self, door: Gateway, name: str, *, again: bool) -> None:
        super().__init__()
        self.door, self.tag, self.again = door, name, again
        self.acknowledged: dict[str, str] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.ended.is_set():
            try:
                with connected(self.door.url) as connection:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    reader = connection.makefile("rb")
                    while not self.ended.is_set():
                        body = f'{{"type": "order.n", "n": {number}}}'.encode()
                        delivery_id = f"{self.tag}_{number}"
                        connection.sendall(written(body, signed(body, delivery_id)))
                        answer = answered(reader)
                        if answer.status == 503 and self.again:  # it is starting still
                            continue
                        assert answer.status in (200, 202), answer
                        self.acknowledged[delivery_id] = answer.body["id"]
                        number += 1
            except (OSError, IndexError):  # the connection was cut, perhaps within an answer's head
                if not self.again:
                    return
                time.sleep(0.05)


def under_load(folder: Path, *, again: bool) -> tuple[Gateway, list[Sender]]:
    door = gateway(folder)
    door.start()
    senders = [Sender(door, f"s{n}", again=again) for n in range(SENDERS)]
    for sender in senders:
        sender.start()
    return door, senders


def kept(door: Gateway) -> list[str]:
    settings = load_settings(door.environment)
    with closing(open_state(settings.database_url)) as state:
        return [d.id for d in Inbox(state.database, settings.landing_dir).list(limit=1_000_000)]


def test_what_was_acknowledged_survives_kills(tmp_path: Path) -> None:
    door, senders = under_load(tmp_path, again=True)
    for _ in range(3):
        time.sleep(0.7)
        door.end(signal.SIGKILL)
        door.start()
    time.sleep(0.5)
    for sender in senders:
        sender.ended.set()
    for sender in senders:
        sender.join()
    door.end()
    told = [stored for sender in senders for stored in sender.acknowledged.values()]
    found = Counter(kept(door))
    assert len(told) > 500 and len(set(told)) == len(told)
    assert set(told) <= set(found) and set(found.values()) == {1}
    # Each sender had at most one on its way when the door was shut for good.
    assert len(found) - len(told) <= SENDERS


def test_a_gateway_stopped_under_load_answers_what_it_took(tmp_path: Path) -> None:
    door, senders = under_load(tmp_path, again=False)
    time.sleep(0.7)
    assert door.end() == 0
    for sender in senders:
        sender.join()
    told = {stored for sender in senders for stored in sender.acknowledged.values()}
    assert len(told) > 100
    assert set(kept(door)) == told
