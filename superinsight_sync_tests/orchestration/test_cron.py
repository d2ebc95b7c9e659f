"""A cron expression is taken exactly if Dagster can run a schedule by it."""

import warnings
from itertools import islice

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator
from hypothesis import example, given
from hypothesis import strategies as st

from superinsight_sync.model.written import check_cron

NEW_YEAR = 1767225600.0


def taken(cron: str) -> bool:
    try:
        check_cron(cron)
    except ValueError:
        return False
    return True


def runs_in_dagster(cron: str) -> bool:
    """Whether Dagster takes the schedule and finds its next two ticks."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dg.ScheduleDefinition(name="s", cron_schedule=cron, target="*", execution_timezone="UTC")
        ticks = list(islice(schedule_execution_time_iterator(NEW_YEAR, cron, "UTC"), 2))
    except (dg.DagsterError, ValueError):
        return False
    return len(ticks) == 2


def field(least: int, most: int, *words: str) -> st.SearchStrategy[str]:
    number = st.integers(least - 1, most + 1).map(str)
    part = st.one_of(
        st.just("*"),
        number,
        st.tuples(number, number).map("-".join),
        st.tuples(st.sampled_from(["*", "1-5", "3"]), st.integers(0, most + 2).map(str)).map("/".join),
        st.sampled_from(words or ("?",)),
    )
    return st.lists(part, min_size=1, max_size=2).map(",".join)


CRONS = st.tuples(
    field(0, 59),
    field(0, 23),
    field(1, 31, "L", "l", "30", "31", "?", "W", "15W"),
    field(1, 12, "feb", "2", "apr", "APR", "13"),
    field(0, 7, "sun", "mon#1", "L5", "5#5", "1#6", "?", "7"),
).map(" ".join)


@given(CRONS)
@example("0 0 31 2 *")
@example("0 0 30,31 feb *")
@example("0 0 31 4 *")
@example("0 0 31 4 1")
@example("0 0 31 2,4 *")
@example("0 0 31 2,3 *")
@example("0 0 29 2 *")
@example("0 0 L * *")
@example("0 0 L 2 5")
@example("0 0 * * L5")
@example("0 0 8 * mon#1")
@example("0 0 7 * mon#1")
@example("0 0 15W * *")
def test_a_cron_expression_is_taken_exactly_if_dagster_runs_it(cron: str) -> None:
    assert taken(cron) == runs_in_dagster(cron), cron


@pytest.mark.parametrize("cron", ["0 0 31 2 *", "0 0 30,31 2 *", "0 0 31 4,6 *"])
def test_a_day_that_never_comes_is_refused_with_the_reason(cron: str) -> None:
    with pytest.raises(ValueError, match="names a day that no month of it has"):
        check_cron(cron)
