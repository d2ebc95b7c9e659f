"""How much an API is asked at once: one measure for all reads of it in this process."""

import threading
from dataclasses import dataclass, field


@dataclass
class Limits:
    """Places for requests under way, and when the next one may start."""

    slots: threading.BoundedSemaphore
    rate: threading.Lock = field(default_factory=threading.Lock)
    next_start_s: float = 0.0


_known: dict[tuple[str, int, float | None], Limits] = {}
_knowing = threading.Lock()


def limits_of(base_url: str, max_concurrency: int, max_requests_per_s: float | None) -> Limits:
    """Those that all who read the same API with the same declaration share: the streams of a source are read
    side by side."""
    key = (base_url, max_concurrency, max_requests_per_s)
    with _knowing:
        if key not in _known:
            _known[key] = Limits(threading.BoundedSemaphore(max_concurrency))
        return _known[key]
