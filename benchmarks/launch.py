"""Runs a command and notes what it used. Small, since the kernel counts a parent's memory as its child's peak.

python -I -S benchmarks/launch.py report.json command …
"""

import json
import os
import sys
import time


def main() -> None:
    started = time.perf_counter()
    child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
    _, status, usage = os.wait4(child, 0)
    used = {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.perf_counter() - started,
        "peak_mb": usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
    }
    with open(sys.argv[1], "w") as report:  # noqa: PTH123 (pathlib would double the memory)
        json.dump(used, report)
    sys.exit(1 if status else 0)


if __name__ == "__main__":
    main()
