"""How long and how often is waited, and that retries within retries do not multiply."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError, TransientError
from superinsight_sync.core.retry import RetryPolicy, with_retry

POLICIES = st.builds(
    RetryPolicy,
    retries=st.integers(0, 5),
    base_s=st.floats(0.001, 10),
    max_s=st.floats(0.001, 100),
)


@given(policy=POLICIES, attempt=st.integers(0, 40))
def test_a_wait_lies_between_nothing_and_a_bound_that_doubles_up_to_its_maximum(
    policy: RetryPolicy, attempt: int
) -> None:
    bound = min(policy.max_s, policy.base_s * 2**attempt)
    assert all(0 <= policy.delay_s(attempt) <= bound for _ in range(20))


def test_waits_are_spread_over_the_whole_range() -> None:
    policy = RetryPolicy(base_s=0.5, max_s=30)
    for attempt, bound in enumerate([0.5, 1, 2, 4, 8, 16, 30, 30]):
        waits = [policy.delay_s(attempt) for _ in range(2_000)]
        assert min(waits) < 0.05 * bound
        assert max(waits) > 0.95 * bound
        assert sum(waits) / len(waits) == pytest.approx(bound / 2, rel=0.1)


@given(policy=POLICIES, asked_s=st.lists(st.none() | st.floats(0, 200), max_size=8))
def test_work_is_repeated_as_often_as_allowed_and_not_before_the_time_that_is_asked_for(
    policy: RetryPolicy, asked_s: list[float | None]
) -> None:
    left, waited, told = list(asked_s), list[float](), list[int]()

    def work() -> str:
        if not left:
            return "done"
        error = TransientError("busy")
        error.wait_s = left.pop(0)
        raise error

    def repeat() -> str:
        return with_retry(work, policy, on_retry=lambda n, _: told.append(n), sleep=waited.append)

    if len(asked_s) <= policy.retries:
        assert repeat() == "done"
    else:
        with pytest.raises(TransientError) as caught:
            repeat()
        assert caught.value.retried
    repeats = min(len(asked_s), policy.retries)
    assert told == list(range(1, repeats + 1))
    for attempt, (wait_s, least_s) in enumerate(zip(waited, asked_s, strict=False)):
        least_s = least_s or 0.0
        assert least_s <= wait_s <= max(least_s, min(policy.max_s, policy.base_s * 2**attempt))


@given(inner=st.integers(0, 4), outer=st.integers(0, 4))
def test_retries_within_retries_do_not_multiply(inner: int, outer: int) -> None:
    tries = 0

    def work() -> None:
        nonlocal tries
        tries += 1
        raise TransientError("gone")

    def page() -> None:
        with_retry(work, RetryPolicy(inner), sleep=lambda _: None)

    with pytest.raises(TransientError):
        with_retry(page, RetryPolicy(outer), sleep=lambda _: None)
    assert tries == inner + 1


def test_what_cannot_succeed_is_tried_once() -> None:
    tries = 0

    def work() -> None:
        nonlocal tries
        tries += 1
        raise ConfigError("wrong")

    with pytest.raises(ConfigError):
        with_retry(work, RetryPolicy(), sleep=lambda _: None)
    assert tries == 1


def test_an_error_keeps_what_it_knows_when_it_is_located_copied_or_sent() -> None:
    error = TransientError("busy", hint="Wait")
    error.wait_s, error.retried = 2.0, True
    located = error.at("pull crm/orders")
    assert (error.where, str(located)) == ("", "pull crm/orders: busy. Wait")
    for same in (located, copy.copy(located), pickle.loads(pickle.dumps(located))):
        assert isinstance(same, TransientError)
        assert (str(same), same.wait_s, same.retried) == ("pull crm/orders: busy. Wait", 2.0, True)
        assert same.args == ("busy", "pull crm/orders", "Wait")


def test_what_asks_for_patience_is_tried_again_for_so_long_however_often() -> None:
    tries = 0

    def work() -> str:
        nonlocal tries
        tries += 1
        if tries > 50:
            return "done"
        error = TransientError("away")
        error.patience_s = 3_600.0
        raise error

    assert with_retry(work, RetryPolicy(retries=0), sleep=lambda _: None) == "done"
