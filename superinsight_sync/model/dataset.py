"""The YAML vocabulary of datasets: which refined rows, how they are split and written."""

import re
from typing import Literal

from pydantic import Field, field_validator

from superinsight_sync.model.declaration import Declared
from superinsight_sync.model.masking import Mask
from superinsight_sync.model.written import NAME_PATTERN, Cron, Name


class SplitSpec(Declared):
    """How a dataset is split. A group never spans two splits, and stays in its split as data grows."""

    ratios: dict[str, float] = Field(default={"train": 0.8, "validation": 0.1, "test": 0.1})
    """Split → its share. The shares sum to 1."""
    group_by: tuple[str, ...] = ()
    """Columns whose values belong together. Default: the whole row."""
    null_groups: Literal["each_row", "one_group", "refuse"] = "each_row"
    """What rows are whose group has a NULL: each a group of its own, one group (NULL is a value like others), or
    a reason to stop the export."""
    seed: int = 0
    """Another seed gives another split."""

    @field_validator("ratios")
    @classmethod
    def _sum_to_one(cls, value: dict[str, float]) -> dict[str, float]:
        if not value or any(r <= 0 for r in value.values()) or abs(sum(value.values()) - 1) > 1e-9:
            raise ValueError("ratios must be positive and sum to 1")
        bad = [n for n in value if not re.match(NAME_PATTERN, n)]
        if bad:
            raise ValueError(f"'{bad[0]}' is no split name; use lower-case letters, digits and _")
        if "all" in value:
            raise ValueError(
                "'all' is no split name: to Hugging Face it means all splits; say 'train' for instance"
            )
        return value


class AnonymitySpec(Declared):
    """Nobody stands alone in what others may know of them. Checked on the masked rows."""

    quasi_identifiers: tuple[str, ...] = Field(min_length=1)
    """Columns by which somebody could know a person, such as age band, postcode and sex. Rows that are equal in all of
    them are a class."""
    k: int = Field(default=5, ge=2)
    """A class has at least so many rows."""
    sensitive: tuple[str, ...] = ()
    """Columns that nobody shall learn, such as a diagnosis."""
    l: int = Field(default=2, ge=2)  # noqa: E741 - its name everywhere
    """A class has at least so many different values in each sensitive column."""
    otherwise: Literal["suppress", "fail"] = "suppress"
    """What becomes of the rows of other classes: left out and counted, or a reason to stop the export."""


class DatasetSpec(Declared):
    """An AI-ready export over refined streams and tables of your own assets."""

    name: Name
    """The dataset's name: its asset is `datasets/<name>`."""
    tenant: Name = "default"
    """Whose data it is. Its inputs must be of the same tenant."""
    owners: tuple[str, ...] = ()
    """`team:name` or e-mail addresses, shown in the UI."""
    description: str | None = None
    """What the dataset is for."""
    inputs: dict[Name, str]
    """Table names of the SELECT and what they stand for: refined streams, `{flights: airline/flights}`, or the
    tables of your own assets, by their keys."""
    select: str
    """One SELECT (DuckDB dialect) over the inputs."""
    order_by: tuple[str, ...] = ()
    """Columns that order the rows of every file. Rows that are equal in them, or all rows by default, are in an order
    that depends on their content alone."""
    mask: dict[str, Mask] = Field(default={})
    """Masks of columns that the SELECT gives, as in the refine step `mask`. The split is made before, so it does not
    change with a mask; the order is made after, so it tells nothing of what was masked."""
    anonymity: AnonymitySpec | None = None
    """k-anonymity and l-diversity of the rows."""
    split: SplitSpec = SplitSpec()
    """How rows are shared out."""
    formats: tuple[Literal["json", "jsonl", "csv", "parquet"], ...] = ("jsonl",)
    """In which formats every split is written."""
    schedule: Cron | None = None
    """When it is built, in UTC, besides when its inputs change."""

    @field_validator("inputs")
    @classmethod
    def _inputs_are_keys(cls, value: dict[str, str]) -> dict[str, str]:
        if not value:
            raise ValueError("a dataset needs at least one input")
        for alias, key in value.items():
            if not re.fullmatch(r"([a-z][a-z0-9_]*/)?[a-z][a-z0-9_]*", key):
                raise ValueError(f"input '{alias}': '{key}' is neither <source>/<stream> nor an asset's key")
        return value
