"""What the concurrency tests run in processes of their own. Each prints what it saw."""

import os
import sys
import time
from pathlib import Path

from superinsight_sync.state import open_state
from superinsight_sync.state.semantic_cache import Answer


def write(url: str, count: str) -> None:
    """Opens (and maybe migrates) the database, then writes `count` executions and an answer all write."""
    state = open_state(url)
    for n in range(int(count)):
        key = state.executions.start(run_id=str(os.getpid()), verb="pull", source="crm", stream=f"s{n}")
        state.logs.add(key, "info", "🛬")
        state.semantic_cache.put("shared", Answer(n, "m"))
        state.executions.finish(key, "succeeded", rows=1)


def hold(url: str, seconds: str, ttl_s: str) -> None:
    """Holds the lease for a while; says when it has it."""
    with open_state(url).leases.hold("work", float(ttl_s)):
        say("held")
        time.sleep(float(seconds))


def compete(url: str, path: str, turns: str) -> None:
    """Under the lease adds one to a number in a file, by reading and, a little later, writing it."""
    leases = open_state(url).leases
    for _ in range(int(turns)):
        with leases.hold("counter", 10.0, wait_s=60.0) as lease:
            number = int(Path(path).read_text())
            time.sleep(0.005)
            Path(path).write_text(str(number + 1))
            assert not lease.lost


def claim(url: str, letter_id: str) -> None:
    """Tries to close a dead letter."""
    say(str(open_state(url).dead_letters.mark(int(letter_id), "replayed")))


def say(line: str) -> None:
    """One line to whoever started this process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    {"write": write, "hold": hold, "compete": compete, "claim": claim}[sys.argv[1]](*sys.argv[2:])
