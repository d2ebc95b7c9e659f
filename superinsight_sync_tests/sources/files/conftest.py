"""A folder on a server of each protocol."""

from collections.abc import Iterator

import pytest

from superinsight_sync_tests.sources.files.places import PROTOCOLS, RemotePlace, place_in


@pytest.fixture(params=PROTOCOLS)
def place(request: pytest.FixtureRequest) -> Iterator[RemotePlace]:
    with place_in(request, request.param) as found:
        yield found
