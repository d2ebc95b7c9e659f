"""The frame around every verb: a lease, an execution row, retries by error class, a dead letter at the end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from superinsight_sync.core.errors import SisError, StopRequested, TransientError
from superinsight_sync.core.retry import RetryPolicy, with_retry
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.state.dead_letters import DeadLetter
from superinsight_sync.state.leases import Lease

T = TypeVar("T")

Verb = Literal["pull", "refine", "describe", "export"]

RETRIES = RetryPolicy(retries=3)


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


def execute(engine: Engine, task: Task, work: Callable[[Tally, Lease], T]) -> T:
    """Runs `work` under its lease, retrying TransientError at most three times, and records how it ended.

    The last error is raised, told where it happened. Work that failed after its retries leaves a dead letter, one
    however often it fails; success closes the open letters of the same work.
    """
    tally = Tally()
    settings, state = engine.settings, engine.state
    execution = state.executions.start(
        run_id=engine.run_id,
        verb=task.verb,
        source=task.source,
        stream=task.stream,
        tenant=task.tenant,
        partition=task.span or None,
    )

    def attempt() -> T:
        with state.leases.hold(task.lease, settings.lease_ttl_s, wait_s=settings.lease_wait_s) as lease:
            return work(tally, lease)

    def count(attempts: int, error: TransientError) -> None:
        tally.retries = attempts
        state.logs.add(execution, "warning", f"try {attempts} failed and is repeated: {error}")

    try:
        result = with_retry(attempt, RETRIES, on_retry=count)
    except SisError as error:
        located = error.at(task.where)
        _finish(engine, execution, tally, located)
        if isinstance(error, TransientError):
            _bury(engine, task, located)
        raise located from error
    except BaseException as error:
        _finish(engine, execution, tally, error)
        raise
    _finish(engine, execution, tally, None)
    for letter in _open_letters(engine, task):
        if task.covers(letter, unchanged=tally.unchanged):
            state.dead_letters.mark(letter.id, "replayed")
    return result


def _finish(engine: Engine, execution: int, tally: Tally, error: BaseException | None) -> None:
    status: Literal["succeeded", "failed", "stopped", "unchanged"]
    if error is None:
        status = "unchanged" if tally.unchanged else "succeeded"
    else:
        status = "stopped" if isinstance(error, StopRequested | KeyboardInterrupt) else "failed"
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
