"""Schedules have names that a person reads; two crons share one exactly if they come at the same moments."""

import re
from itertools import islice

import pytest
from dagster._utils.schedules import schedule_execution_time_iterator
from hypothesis import assume, example, given
from hypothesis import strategies as st

from superinsight_sync.orchestration.cron_names import cron_name
from superinsight_sync_tests.orchestration.test_cron import CRONS, NEW_YEAR, taken


@pytest.mark.parametrize(
    ("cron", "name"),
    [
        ("15 2 * * *", "daily_02_15"),
        ("05 02 ? * *", "daily_02_05"),
        ("0 * * * *", "hourly_00"),
        ("*/15 * * * *", "every_15_minutes"),
        ("* * * * *", "every_minute"),
        ("*/1 * * * *", "every_minute"),
        ("30 */6 * * *", "every_6_hours_30"),
        ("0 9 * * MON", "weekly_mon_09_00"),
        ("0 9 * * 7", "weekly_sun_09_00"),
        ("0 9 * * 0", "weekly_sun_09_00"),
        ("30 18 * * 1-5", "weekdays_18_30"),
        ("0 3 1 * *", "monthly_01_03_00"),
        ("0 3 24 dec *", "yearly_dec_24_03_00"),
        ("0 3 L * *", "cron_0__3__l__any__any"),
        ("0,30 8-18/2 * * mon,fri", "cron_0_and_30__8_to_18_by_2__any__any__mon_and_fri"),
        ("0 0 * * mon#1", "cron_0__0__any__any__mon_nth_1"),
        ("0 3 1 * 1", "cron_0__3__1__any__mon"),
    ],
)
def test_a_name_says_when(cron: str, name: str) -> None:
    assert cron_name(cron) == name


def moments(cron: str) -> list[float]:
    return [t.timestamp() for t in islice(schedule_execution_time_iterator(NEW_YEAR, cron, "UTC"), 5)]


@given(CRONS, CRONS | st.none(), st.sampled_from(["upper", "zeros", "same"]))
@example("* * * * */1", None, "zeros")
def test_every_cron_has_one_name_and_one_name_comes_at_one_set_of_moments(
    cron: str, other: str | None, change: str
) -> None:
    assume(taken(cron))
    name = cron_name(cron)
    assert re.fullmatch(r"(every|hourly|daily|weekdays|weekly|monthly|yearly|cron)_[a-z0-9_]+", name)
    written = {"upper": cron.upper(), "zeros": re.sub(r"(?<![\d#lL])(\d)(?!\d)", r"0\1", cron), "same": cron}[
        change
    ]
    if taken(written) and moments(written) == moments(cron):
        assert cron_name(written) == name
    if other and taken(other) and cron_name(other) == name:
        assert moments(other) == moments(cron)
