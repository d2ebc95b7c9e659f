"""One gateway with two tenants for a test module."""

from collections.abc import Iterator

import pytest

from superinsight_sync_tests.gateway.api.served import Served, serving, settings_for


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        with serving(settings_for(tmp_path_factory.mktemp("shop"), patch)) as made:
            yield made
