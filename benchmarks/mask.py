"""What masking costs: MB of text a CPU second and core, each mask on a million distinct values and on a thousand.

python -m benchmarks.mask
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from superinsight_sync.model.declaration import StepSpec
from superinsight_sync.transform.engine import refine
from superinsight_sync.transform.protocol import StepContext

ROWS = 1_000_000
LIMIT_BYTES = 2 << 30
MASKS: tuple[tuple[str, Any], ...] = (
    ("mail", "redact"),
    ("mail", {"how": "partial", "keep_last": 4}),
    ("mail", "hmac"),
    ("mail", {"how": "hmac", "match": "email"}),
    ("number", {"how": "generalise", "prefix": 3}),
    ("note", "text"),
    ("number", "format"),
)


def rows_of(different: int) -> pa.Table:
    """Mail addresses, card numbers and notes."""
    numbers = [i % different for i in range(ROWS)]
    return pa.table(
        {
            "mail": [f"person.{n:07}@customer.example.org" for n in numbers],
            "number": [f"6222{n:012}" for n in numbers],
            "note": [
                f"please write to p{n}@example.org or call +49 151 {n:08} about the order" for n in numbers
            ],
        }
    )


def cpu_s(table: pa.Table, column: str, mask: Any, folder: Path) -> float:
    """CPU seconds of a refine of one column, read to its end."""
    steps = [StepSpec.model_validate({"step": "mask", "columns": {column: mask}})] if mask else []
    started = time.process_time()
    with refine(
        lambda: table.to_reader(65_536),
        steps,
        StepContext(),
        scratch_dir=folder,
        memory_limit_bytes=LIMIT_BYTES,
    ) as refined:
        for _ in refined.open():
            pass
    return time.process_time() - started


def main() -> None:
    """Prints a line for each mask; what moving the same rows costs without one is taken away."""
    os.environ.setdefault("SIS_MASK_KEY", "k" * 32)
    with tempfile.TemporaryDirectory() as name:
        for different in (ROWS, 1_000):
            table = rows_of(different)
            for column, mask in MASKS:
                one = table.select([column])
                moved = min(cpu_s(one, column, None, Path(name)) for _ in range(2))
                spent = min(cpu_s(one, column, mask, Path(name)) for _ in range(2))
                size_mb = one.nbytes / 1e6
                alone = max(spent - moved, 1e-3)
                print(
                    f"{different:>9,} values, {column} {mask}: {size_mb:.0f} MB, refine {spent:.2f} CPU s "
                    f"({size_mb / spent:.0f} MB/s), the mask alone {alone:.2f} s ({size_mb / alone:.0f} MB/s)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
