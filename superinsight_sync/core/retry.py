"""Retries by error class: only what may succeed the next time is tried again."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from superinsight_sync.core.errors import TransientError
from superinsight_sync.core.stopping import pause

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """At most `retries` repeats, or as many as fit into `patience_s`, its own or the error's.

    The n-th waits a random time in (0, base_s * 2**n], at most `max_s`.

    Full jitter after Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    retries: int = 3
    base_s: float = 0.5
    max_s: float = 30.0
    patience_s: float = 0.0

    def delay_s(self, attempt: int) -> float:
        """Seconds to wait before repeat number `attempt`, counted from 0."""
        return random.uniform(0.0, min(self.max_s, self.base_s * 2**attempt))

    def wait_s(self, attempt: int, error: TransientError) -> float:
        """The same, but as long as the error asks for."""
        return max(self.delay_s(attempt), error.wait_s or 0.0)


OWN_STORES = RetryPolicy(retries=3, base_s=0.2, max_s=5.0, patience_s=60.0)
"""For what is ours, the lake and the state database: what is away for a minute fails nothing."""


def with_retry(
    work: Callable[[], T],
    policy: RetryPolicy,
    *,
    on_retry: Callable[[int, TransientError], None] | None = None,
    sleep: Callable[[float], None] = pause,
) -> T:
    """Calls `work` until it returns, repeating on TransientError, not before the time that the error asks for.

    The last error is raised as `retried`, and such an error of `work` at once: retries within retries do not multiply.
    """
    attempt, began_s = 0, time.monotonic()
    while True:
        try:
            return work()
        except TransientError as error:
            patience_s = max(policy.patience_s, error.patience_s)
            is_over = attempt >= policy.retries and time.monotonic() - began_s >= patience_s
            error.retried = error.retried or is_over
            if error.retried:
                raise
            if on_retry:
                on_retry(attempt + 1, error)
            sleep(policy.wait_s(attempt, error))
            attempt += 1
