"""One gateway for a test module, its inbox, and keys to come in with."""

from collections.abc import Iterator

import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.state import State, open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import Gateway, gateway


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
