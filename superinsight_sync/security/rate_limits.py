"""Token buckets in memory: a steady rate, and a burst for who was silent. A process counts for itself."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

_MOST_BUCKETS = 100_000


class RateLimit:
    """A bucket for each key. Threads may share it.

    Args:
        per_s: requests a second in the long run; not above 0 or not finite raises ValueError.
        burst: requests that may come at once.
        clock_s: seconds that never go back; the wall clock's jumps change nothing.
        most: buckets kept; beyond them the one that was not used for longest is forgotten.
    """

    def __init__(
        self,
        per_s: float,
        burst: int,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        most: int = _MOST_BUCKETS,
    ) -> None:
        if not (math.isfinite(per_s) and per_s > 0 and burst >= 1 and most >= 1):
            raise ValueError("a rate limit needs a rate above 0 and a burst of at least 1")
        self._per_s, self._burst, self._clock_s, self._most = per_s, float(burst), clock_s, most
        self._lock = threading.Lock()
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, tokens: float = 1.0) -> float:
        """Takes tokens if there are enough: 0.0, else after how many seconds there will be (nothing is taken)."""
        with self._lock:
            left, now = self._left(key)
            # A request larger than the bucket is let through when the bucket is full, and paid off afterwards.
            missing = min(tokens, self._burst) - left
            if missing > 0:
                return missing / self._per_s
            self._buckets[key] = (left - tokens, now)
            self._buckets.move_to_end(key)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
            return 0.0

    def wait_s(self, key: Hashable) -> float:
        """After how many seconds one token is there; 0.0 if there is one. Takes nothing."""
        with self._lock:
            left, _ = self._left(key)
            return max(0.0, 1.0 - left) / self._per_s

    def _left(self, key: Hashable) -> tuple[float, float]:
        now = self._clock_s()
        left, at = self._buckets.get(key, (self._burst, now))
        return min(self._burst, left + max(0.0, now - at) * self._per_s), now
