"""The frame around every verb: a lease, an execution row, retries by error class, a dead letter at the end."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar

from superinsight_sync.core.errors import SisError, StopRequested, TransientError
from superinsight_sync.core.retry import OWN_STORES, RetryPolicy, with_retry
from superinsight_sync.core.stopping import StopSignal
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.alert import alert_stalled
from superinsight_sync.pipeline.attended import Motion, Watch, attended
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.state.dead_letters import DeadLetter
from superinsight_sync.state.leases import Lease

T = TypeVar("T")
_log = logging.getLogger(__name__)

Verb = Literal["pull", "refine", "describe", "resolve", "export", "verify"]

RETRIES = RetryPolicy(retries=3)
_LEAVE_NO_LETTER = ("verify",)
"""Verbs that change nothing: if one fails, nothing is left undone."""


@dataclass(frozen=True)
class Task:
    """What is being done, to what: the key of executions, leases and dead letters."""

    verb: Verb
    tenant: str
    source: str
    stream: str
    partitions: tuple[str, ...] = ()
    force: bool = False

    @classmethod
    def on(
        cls, verb: Verb, table: TableRef, partitions: tuple[str, ...] = (), *, force: bool = False
    ) -> "Task":
        return cls(verb, table.tenant, table.source, table.stream, partitions, force)

    @property
    def span(self) -> str:
        if not self.partitions:
            return ""
        first, last = self.partitions[0], self.partitions[-1]
        return first if first == last else f"{first}…{last}"

    @property
    def where(self) -> str:
        """For messages: ``pull crm/orders [2026-01-01…2026-01-07]``."""
        return f"{self.verb} {self.source}/{self.stream} {self.span}".rstrip()

    @property
    def target(self) -> str:
        return f"{self.source}/{self.stream}"

    def covers(self, letter: DeadLetter, *, unchanged: bool = False) -> bool:
        """Whether this task does what the letter's work was to do: its partitions, anew where that was asked for."""
        wanted = letter.payload["partitions"]
        same = set(wanted) <= set(self.partitions) if wanted else not self.partitions
        return same and (self.force or not (unchanged and letter.payload.get("force")))

    @property
    def lease(self) -> str:
        """Who holds it is alone at this work. Different partitions are different work."""
        return f"{self.verb} {self.tenant}/{self.source}/{self.stream} {self.span}".rstrip()


@dataclass
class Tally:
    """What the verb tells its execution row."""

    rows: int = 0
    size_bytes: int = 0
    load_id: str | None = None
    version: int | str | None = None
    unchanged: bool = False
    retries: int = 0
    motion: Motion = field(default_factory=Motion)


def execute(engine: Engine, task: Task, work: Callable[[Tally, Lease], T]) -> T:
    """Runs `work` under its lease, retrying TransientError at most three times, and records how it ended.

    The last error is raised, told where it happened. Work that failed after its retries leaves a dead letter, one
    however often it fails; success closes the open letters of the same work. Work that is told to stop raises
    StopRequested within seconds, whatever it waits for. What has landed is not taken back because our state cannot
    be told.
    """
    tally, signal = Tally(), engine.stop.child()
    with ExitStack() as alive:
        with signal.obeyed():
            execution = with_retry(lambda: _start(engine, task), OWN_STORES)
            alive.enter_context(engine.alive(execution))
            try:
                result = _tried(engine, task, execution, tally, partial(work, tally), signal)
            except SisError as error:
                located = error.at(task.where)
                _finish(engine, execution, tally, located)
                if isinstance(error, TransientError) and task.verb not in _LEAVE_NO_LETTER:
                    _bury(engine, task, located)
                raise located from error
            except BaseException as error:
                _finish(engine, execution, tally, error)
                raise
        with if_possible(f"{task.where} is done, but our state was not told"):
            _finish(engine, execution, tally, None)
            for letter in _open_letters(engine, task):
                if task.covers(letter, unchanged=tally.unchanged):
                    engine.state.dead_letters.mark(letter.id, "replayed")
    return result


def _start(engine: Engine, task: Task) -> int:
    return engine.state.executions.start(
        run_id=engine.run_id,
        verb=task.verb,
        source=task.source,
        stream=task.stream,
        tenant=task.tenant,
        partition=task.span or None,
    )


def _tried(
    engine: Engine, task: Task, execution: int, tally: Tally, work: Callable[[Lease], T], signal: StopSignal
) -> T:
    """What the work gives, after as many tries as it may have."""
    settings, state = engine.settings, engine.state

    def attempt() -> T:
        signal.check()
        with state.leases.hold(task.lease, settings.lease_ttl_s, wait_s=settings.lease_wait_s) as lease:
            with if_possible("what ended without a word is not told"):
                engine.end_orphans()
            tally.motion.moved(waits_for_source=True)
            return attended(lambda: work(lease), lease, signal.child(), watch, task.where)

    def tell(waits_for_source: bool) -> None:
        what = "it waits for the source" if waits_for_source else "our own part of it stands still"
        text = f"it has not moved for {settings.stall_s:g} s: {what}"
        _log.warning("%s: %s", task.where, text)
        with if_possible("a stalled pull is not told"):
            state.logs.add(execution, "warning", text)
        alert_stalled(engine, task.source, task.stream, text)

    def count(attempts: int, error: TransientError) -> None:
        tally.retries = attempts
        with if_possible("a repeated try is not told"):
            state.logs.add(execution, "warning", f"try {attempts} failed and is repeated: {error}")

    watch = None
    if task.verb == "pull":
        watch = Watch(tally.motion, settings.stall_s, settings.source_silence_s, tell)
    try:
        return with_retry(attempt, RETRIES, on_retry=count)
    except Exception as error:
        if signal.is_set and not isinstance(error, StopRequested):  # whatever was ended says so in its words
            raise StopRequested("it was told to stop", hint="What had landed before is kept") from error
        raise


@contextmanager
def if_possible(otherwise: str) -> Iterator[None]:
    """What our state is told in the block after work has landed: if it cannot be reached, a log line says so."""
    try:
        yield
    except SisError as error:
        _log.warning("%s: %s", otherwise, error)


def told(otherwise: str, tell: Callable[[], object]) -> None:
    """Tells our state of what has landed, again and again for as long as it may be away (`OWN_STORES`).

    If it stays away, or the work is told to stop meanwhile, a log line says so: what has landed has landed.
    """
    with if_possible(otherwise):
        with_retry(tell, OWN_STORES)


def _finish(engine: Engine, execution: int, tally: Tally, error: BaseException | None) -> None:
    status: Literal["succeeded", "failed", "stopped", "unchanged"]
    if error is None:
        status = "unchanged" if tally.unchanged else "succeeded"
    else:
        is_stop = isinstance(error, StopRequested) or not isinstance(error, Exception)
        status = "stopped" if is_stop else "failed"

    def finish() -> None:
        engine.state.executions.finish(
            execution,
            status=status,
            rows=tally.rows,
            size_bytes=tally.size_bytes,
            load_id=tally.load_id,
            version=tally.version,
            retries=tally.retries,
            error=error,
        )

    with_retry(finish, OWN_STORES)


def _bury(engine: Engine, task: Task, error: SisError) -> None:
    """Keeps what is needed to do the work again; once, also if it fails again."""
    letters = engine.state.dead_letters
    payload = {
        "source": task.source,
        "stream": task.stream,
        "partitions": list(task.partitions),
        "force": task.force,
    }
    for letter in _open_letters(engine, task):
        if letter.payload["partitions"] == payload["partitions"]:
            payload["force"] = task.force or letter.payload.get("force", False)
            letters.failed_again(letter.id, payload, error, letter.attempts + RETRIES.retries + 1)
            return
    letters.add(
        verb=task.verb,
        target=task.target,
        payload=payload,
        error=error,
        attempts=RETRIES.retries + 1,
        tenant=task.tenant,
    )


def _open_letters(engine: Engine, task: Task) -> tuple[DeadLetter, ...]:
    """The open letters of the task's verb and stream, whatever their partitions."""
    return engine.state.dead_letters.list(
        10_000, verb=task.verb, tenant=task.tenant, target=task.target, state="open"
    )


def still_ours(lease: Lease) -> None:
    """Raises TransientError if another process may have taken the work over; called right before a commit."""
    if lease.lost:
        raise TransientError(
            "another process may have taken this work over", hint="It is tried again when that one has ended"
        )
