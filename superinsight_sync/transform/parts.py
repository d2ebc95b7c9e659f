"""Parts of the rows: as many as are computed, or handed out, at once, by what they weigh.

DuckDB holds a vector of rows whole for each thread, whatever it weighs. So where a vector would be heavy, a query
is asked for a range of rows at a time.
"""

from dataclasses import dataclass, replace

BATCH_ROWS = 65_536
PART_BYTES = 16 << 20
"""About what is held at once of rows that are on their way."""
_VECTOR_ROWS = 2_048


@dataclass(frozen=True)
class Part:
    """Rows from number `start` to before `end`, handed out in batches of `batch_rows`."""

    start: int
    end: int
    batch_rows: int = BATCH_ROWS

    @property
    def is_light(self) -> bool:
        """Whether a vector of its rows may be held."""
        return self.batch_rows >= _VECTOR_ROWS

    @property
    def condition(self) -> str:
        return f"_sis_row >= {self.start} AND _sis_row < {self.end}"


class Scales:
    """Weighs batches as they go by, and says how their rows are parted. Neighbouring light parts are one."""

    def __init__(self) -> None:
        self._closed: list[Part] = []
        self._open = Part(0, 0)
        self._size_bytes = 0

    @property
    def rows(self) -> int:
        return self._open.end

    @property
    def parts(self) -> list[Part]:
        return _joined(self._closed, self._open) if self._open.end > self._open.start else self._closed

    def weigh(self, rows: int, size_bytes: int) -> None:
        """Adds a batch; one that is too heavy is cut evenly."""
        for number in range(count := min(rows, 1 + size_bytes // PART_BYTES)):
            end = self._open.end + rows * (number + 1) // count - rows * number // count
            self._size_bytes += size_bytes // count
            fit = PART_BYTES * (end - self._open.start) // max(self._size_bytes, 1)
            self._open = replace(self._open, end=end, batch_rows=max(1, min(BATCH_ROWS, fit)))
            if fit <= end - self._open.start:
                self._closed = _joined(self._closed, self._open)
                self._open, self._size_bytes = Part(end, end), 0


def _joined(parts: list[Part], last: Part) -> list[Part]:
    if not parts or not parts[-1].is_light or not last.is_light:
        return [*parts, last]
    before = parts[-1]
    return [*parts[:-1], Part(before.start, last.end, min(before.batch_rows, last.batch_rows))]


def shared_out(rows: int, parts: int) -> list[Part]:
    """Rows that were not weighed, in so many parts."""
    step = max(1, -(-rows // max(parts, 1)))
    return [Part(start, start + step, min(step, BATCH_ROWS)) for start in range(0, rows, step)]
