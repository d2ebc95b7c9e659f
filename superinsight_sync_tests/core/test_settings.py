"""Settings from the environment."""

import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings


@pytest.mark.parametrize("name", ["SIS_MEMORY_LIMIT_MB", "SIS_LEASE_TTL_S", "SIS_LEASE_WAIT_S"])
@pytest.mark.parametrize("text", ["abc", "-1", "nan", "inf"])
def test_a_setting_that_is_no_positive_number_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is '{text}'. Set it to a positive number"):
        load_settings({name: text})


def test_settings_that_are_empty_keep_the_default() -> None:
    assert load_settings({"SIS_MEMORY_LIMIT_MB": ""}).memory_limit_bytes == 1 << 30
