"""The frame around every verb: an execution row, retries by error class, a dead letter at the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from superinsight_sync.core.errors import SisError, StopRequested, TransientError
from superinsight_sync.core.retry import RetryPolicy, with_retry
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine

T = TypeVar("T")

RETRIES = RetryPolicy(retries=3)


@dataclass(frozen=True)
class Task:
    """What is being done, to what: the key of executions, leases and dead letters."""

    verb: str
    tenant: str
    source: str
    stream: str
    partitions: tuple[str, ...] = ()

    @classmethod
    def on(cls, verb: str, table: TableRef, partitions: tuple[str, ...] = ()) -> "Task":
        return cls(verb, table.tenant, table.source, table.stream, partitions)

    @property
    def where(self) -> str:
        """For messages: ``pull crm/orders [2026-01-01…2026-01-07]``."""
        span = ""
        if self.partitions:
            first, last = self.partitions[0], self.partitions[-1]
            span = f" [{first}]" if first == last else f" [{first}…{last}]"
        return f"{self.verb} {self.source}/{self.stream}{span}"


@dataclass
class Outcome:
    """What the verb tells its execution row."""

    rows: int = 0
    size_bytes: int = 0
    load_id: str | None = None
    version: int | None = None
    unchanged: bool = False
    retries: int = 0


def execute(engine: Engine, task: Task, work: Callable[[Outcome], T]) -> T:
    """Runs `work`, retrying TransientError at most three times, and records how it ended.

    The last error is raised as it is, told where it happened. Work that failed after its retries leaves a dead letter.
    """
    outcome = Outcome()
    execution_id = engine.state.executions.start(
        run_id=engine.run_id,
        verb=task.verb,
        tenant=task.tenant,
        source=task.source,
        stream=task.stream,
        partition=",".join(task.partitions) or None,
    )
    with _recorded(engine, task, execution_id, outcome):
        return with_retry(lambda: work(outcome), RETRIES, on_retry=lambda n, _: setattr(outcome, "retries", n))


@contextmanager
def _recorded(engine: Engine, task: Task, execution_id: str, outcome: Outcome) -> Iterator[None]:
    finish = engine.state.executions.finish
    try:
        yield
    except StopRequested as error:
        finish(execution_id, status="stopped", error=error, **vars(outcome_fields(outcome)))
        raise
    except SisError as error:
        located = error.at(task.where)
        finish(execution_id, status="failed", error=located, **vars(outcome_fields(outcome)))
        if isinstance(error, TransientError):
            _bury(engine, task, located, outcome)
        raise located from error
    except BaseException as error:
        finish(execution_id, status="failed", error=error, **vars(outcome_fields(outcome)))
        raise
    finish(
        execution_id,
        status="unchanged" if outcome.unchanged else "succeeded",
        error=None,
        **vars(outcome_fields(outcome)),
    )
