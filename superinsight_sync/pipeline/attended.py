"""Work done in a thread of its own, while the thread that asked for it stays free to stop it and to look after it.

A stop ends what the work waits for. Work that does not end in spite of it is left alone: it has lost its lease, so
that it can commit nothing any more, and its thread dies with the process.
"""

import contextvars
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from superinsight_sync.core.errors import StopRequested, TransientError
from superinsight_sync.core.stopping import HEED_S, StopSignal, ends_by
from superinsight_sync.state.leases import Lease

T = TypeVar("T")

_GRACE_S = 3.0
_OFTEN = 4
_IDLE_SHARE = 0.02


@dataclass
class Motion:
    """How work moves on. Whoever does it tells, in any thread."""

    waits_for_source: bool = False
    """Whether the next step is the source's and not ours."""
    on_rows: Callable[[int], None] = lambda rows: None
    """Told of the rows of each step that read some."""
    steps: int = 0
    moved_s: float = field(default_factory=time.monotonic)
    cpu_s: float = field(default_factory=time.process_time)

    def moved(self, *, waits_for_source: bool = False, rows: int = 0) -> None:
        """It took a step."""
        if rows:
            self.on_rows(rows)
        self.waits_for_source = waits_for_source
        self.steps += 1
        self.moved_s, self.cpu_s = time.monotonic(), time.process_time()

    @property
    def still_s(self) -> float:
        """Seconds since the last step."""
        return time.monotonic() - self.moved_s

    @property
    def is_dead(self) -> bool:
        """Whether nothing at all was computed in this process since the last step, and no answer is awaited."""
        used_s = time.process_time() - self.cpu_s
        return not self.waits_for_source and used_s < _IDLE_SHARE * self.still_s


@dataclass
class Watch:
    """Looks after work that may stand still.

    Args:
        stall_s: after so long without a step `tell` is called, once until the next step, with whether the source
            is waited for; work of ours that then computes nothing is ended.
        silence_s: after so long without anything from the source the work is ended; None: never.
    """

    motion: Motion
    stall_s: float
    silence_s: float | None
    tell: Callable[[bool], None]
    _told_at: int = -1

    @property
    def look_s(self) -> float:
        """How often to look."""
        return min(self.stall_s, self.silence_s or self.stall_s) / _OFTEN

    def look(self) -> None:
        """Raises TransientError for work that is to be ended."""
        motion = self.motion
        if motion.still_s >= self.stall_s and self._told_at != motion.steps:
            self._told_at = motion.steps
            self.tell(motion.waits_for_source)
        if motion.still_s >= self.stall_s and motion.is_dead:
            raise self._ended(
                f"it has not moved for {self.stall_s:g} s, waits for nobody and computes nothing"
            )
        if self.silence_s is not None and motion.waits_for_source and motion.still_s >= self.silence_s:
            raise self._ended(f"the source has given nothing for {self.silence_s:g} s (SIS_SOURCE_SILENCE_S)")

    def _ended(self, what: str) -> TransientError:
        return TransientError(f"{what}, so it was ended", hint="What had landed before is kept")


class _Work(Generic[T]):
    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._found: list[T] = []
        self._error: BaseException | None = None
        self.ended = threading.Event()
        self.woken = threading.Event()

    def start(self, signal: StopSignal, name: str) -> None:
        with signal.obeyed():
            context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._run,), daemon=True, name=name).start()

    def _run(self) -> None:
        try:
            self._found.append(self._work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._error = error
        finally:
            self.ended.set()
            self.woken.set()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._found[0]


def attended(work: Callable[[], T], lease: Lease, signal: StopSignal, watch: Watch | None, name: str) -> T:
    """What `work` gives, done in another thread.

    Raises StopRequested if the signal is set and the work did not end of itself; TransientError as `Watch.look`.
    Whatever interrupts this thread stops the work too.
    """
    doing = _Work(work)
    doing.start(signal, name)
    try:
        with signal.obeyed(), ends_by(doing.woken.set):
            while not doing.woken.wait(min(watch.look_s, HEED_S) if watch else HEED_S):
                if watch:
                    watch.look()
    except BaseException:
        _end(doing, lease, signal)
        raise
    if not doing.ended.is_set():
        _end(doing, lease, signal)
    if not doing.ended.is_set():
        raise StopRequested(
            "it was told to stop and did not", hint="It can land nothing any more; run it again"
        )
    return doing.result()


def _end(doing: "_Work[T]", lease: Lease, signal: StopSignal) -> None:
    signal.set()
    if not doing.ended.wait(_GRACE_S):
        lease.lose()
