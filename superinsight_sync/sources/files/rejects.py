"""Records that cannot be read, counted or set aside."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from superinsight_sync.core.errors import DataError, ThresholdError

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
    _rows: list[tuple[str, int | None, str, str]] = field(default_factory=list)

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

    def finish(self, file: str) -> None:
        """The file has been read. Raises DataError if it has records to reject and none are set aside."""
        if self.limit is None and self._rows:
            _, line, reason, _ = self._rows[0]
            raise DataError(
                f"line {line}: {reason}; records of this file that cannot be read: {self.count}",
                where=f"file '{file}'",
                hint="Correct the file or its declared format, or set such records aside",
            )

    def table(self) -> "pa.Table":
        """file, line (int64, 1 is the first, NULL if unknown), reason, record (its text)."""
        import pyarrow as pa

        names = ("file", "line", "reason", "record")
        types = (pa.string(), pa.int64(), pa.string(), pa.string())
        columns = list(zip(*self._rows, strict=True)) or [(), (), (), ()]
        arrays = [pa.array(c, t) for c, t in zip(columns, types, strict=True)]
        return pa.Table.from_arrays(arrays, names=list(names))
