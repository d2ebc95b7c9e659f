"""One gateway for a test module, its inbox, and keys to come in with."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.gateway.app import build_app
from superinsight_sync.gateway.receivers import Receivers
from superinsight_sync.gateway.serving import server_config
from superinsight_sync.pipeline.project import load_project
from superinsight_sync.security.access import Access
from superinsight_sync.state import State, open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import DECLARED, SECRET, Gateway, gateway, project
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.waiting import until


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = gateway(tmp_path_factory.mktemp("shop"))
    made.start()
    yield made
    made.end()


@pytest.fixture(scope="module")
def state(door: Gateway) -> Iterator[State]:
    opened = open_state(load_settings(door.environment).database_url)
    yield opened
    opened.close()


@pytest.fixture
def inbox(door: Gateway, state: State) -> Inbox:
    return Inbox(state.database, load_settings(door.environment).landing_dir)


@pytest.fixture(scope="module")
def key(state: State) -> dict[str, str]:
    """Headers of who may push for `acme`."""
    return {"authorization": f"Bearer {state.api_keys.create('till', 'pusher', tenant='acme').text}"}


@pytest.fixture
def near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """The state of applications that `served` starts in this process; its source `shop` lets two wait, and
    of `till` a delivery has ten records at most."""
    monkeypatch.setenv("SHOP_SECRET", SECRET)
    declared = DECLARED.replace("  event_type: type\n", "  event_type: type\n  limits: {waiting: 2}\n", 1)
    declared = declared.replace("name: till\n", "name: till\n  limits: {records: 10}\n")
    settings = load_settings({"SIS_PROJECT_DIR": str(project(tmp_path, declared))})
    opened = open_state(settings.database_url)
    yield opened
    opened.close()


@pytest.fixture
def served(tmp_path: Path, near: State) -> Iterator[Callable[..., str]]:
    """Starts an application made by hand, in this process, on a real port."""
    import uvicorn

    settings = load_settings({"SIS_PROJECT_DIR": str(tmp_path)})
    inbox = Inbox(near.database, settings.landing_dir)
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(configure: Callable[[uvicorn.Config], None] = lambda config: None, **how: object) -> str:
        receivers = Receivers(load_project(settings).push_sources.values())
        app = build_app(inbox, receivers, **{"access": Access(near.api_keys), **how})  # type: ignore[arg-type]
        port = free_port()
        config = server_config(app, host="127.0.0.1", port=port)
        configure(config)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        until(lambda: server.started or not thread.is_alive(), "it does not start")
        assert thread.is_alive()
        gate = app.state.gate
        until(lambda: gate.is_ready or gate.trouble != "the gateway is starting", "it has not looked yet")
        return f"http://127.0.0.1:{port}"

    def stop() -> None:
        for server, _ in running:
            server.should_exit = True

    start.stop = stop  # type: ignore[attr-defined]
    yield start
    stop()
    for _, thread in running:
        thread.join()
