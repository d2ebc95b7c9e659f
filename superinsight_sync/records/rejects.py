"""Records that cannot be read, counted or set aside."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from superinsight_sync.core.errors import DataError, ThresholdError
from superinsight_sync.core.rejects import Reject, rejects_table

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Rejects:
    """The records of one read that cannot be read.

    Attributes:
        limit: how many may be set aside; None says that the first file with any of them fails.
        count: how many there were.
    """

    limit: int | None = None
    count: int = 0
    _rows: list[Reject] = field(default_factory=list)

    def add(self, file: str, line: int | None, reason: str, record: str) -> None:
        """Keeps one. Raises ThresholdError when there are more than the limit."""
        self.count += 1
        if self.limit is not None or not self._rows:
            self._rows.append((file, line, reason, record))
        if self.limit is not None and self.count > self.limit:
            raise ThresholdError(
                f"more than {self.limit} records cannot be read; line {line}: {reason}",
                where=f"file '{file}'",
                hint="Correct the file or its declared format",
            )

    def finish(self, place: str) -> None:
        """The file, page or stream has been read. Raises DataError if it has records to reject and none are set
        aside."""
        if self.limit is None and self._rows:
            _, line, reason, _ = self._rows[0]
            raise DataError(
                f"line {line}: {reason}; records that cannot be read: {self.count}",
                where=place,
                hint="Correct them or their declared format, or set such records aside",
            )

    def table(self) -> "pa.Table":
        """What was kept, as `rejects_table` has it."""
        return rejects_table(self._rows)
