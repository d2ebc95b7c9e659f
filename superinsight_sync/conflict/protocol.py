"""What every strategy implements; one file in `strategies/` is one way to end a conflict.

A strategy sees the claims that contend for one field of one entity. It compiles to SQL over them:

| column | meaning |
|---|---|
| `value` | what is claimed, in the field's type |
| `stream`, `place` | whose claim it is, and the number of that stream in the declaration, from 0 |
| `as_of` | when the record began to say so |
| `version` | the record's version number; NULL if its stream declares none |
| `weight` | the learned weight of the stream for this field; NULL if nothing was learned |
| the entity's fields | what the same record says of them |
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from superinsight_sync.core.plugins import Registry

CLAIM_COLUMNS = ("value", "stream", "place", "as_of", "version", "weight")


@dataclass(frozen=True)
class Scored:
    """The value with the greatest score wins; equal scores decide nothing.

    Attributes:
        score: SQL expression over one claim, a number; a claim with NULL cannot win.
        gather: how the scores of claims with the same value become one.
        everyone: whether nothing is decided unless every claim has a score.
        margin: the winner's score must be greater than the next by more than this.
    """

    score: str
    gather: Literal["max", "sum"] = "max"
    everyone: bool = False
    margin: float = 0


@dataclass(frozen=True)
class Combined:
    """A new value is made of all claims: an SQL aggregate expression over them, in the field's type."""

    value: str


@dataclass(frozen=True)
class Stopped:
    """Nobody decides but a person."""


@dataclass(frozen=True)
class StrategyContext:
    """What a strategy may know.

    Attributes:
        field: the field's name; `type` is its DuckDB type.
        fields: the entity's fields.
        streams: its streams, in the order of the declaration.
        threshold: `trust`: the weight's sum from which a value was right often enough in reviewed cases; None if it
            has not been calibrated.
    """

    field: str
    type: str
    fields: tuple[str, ...]
    streams: tuple[str, ...]
    threshold: float | None = None


class Strategy(Protocol):
    """One way to end a conflict. Made from its validated `Config`."""

    def __init__(self, config: Any) -> None: ...

    def compile(self, context: StrategyContext) -> Scored | Combined | Stopped:
        """Raises ConfigError for a stream or column that is not there, an unsafe expression or an unfit type."""
        ...


STRATEGIES: Registry[Strategy] = Registry("superinsight_sync.conflict.strategies", "conflict strategy")
