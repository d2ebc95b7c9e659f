"""Forgetting by age."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from sqlalchemy import ColumnElement, Table, and_, delete

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.state import tables as t
from superinsight_sync.state.database import Database

Noun = Literal[
    "executions",
    "logs",
    "semantic_cache",
    "exports",
    "quarantine",
    "dead_letters",
    "leases",
    "refresh_tokens",
    "checkpoints",
    "sources",
]

HISTORY: tuple[Noun, ...] = (
    "executions",
    "logs",
    "semantic_cache",
    "exports",
    "quarantine",
    "dead_letters",
    "leases",
    "refresh_tokens",
)
"""What is purged unless told otherwise. Checkpoints and sources say what is, not what was."""


def purge(database: Database, before: datetime, nouns: tuple[Noun, ...] = HISTORY) -> Mapping[str, int]:
    """Deletes rows older than `before`; how many of each noun.

    What runs, and letters that are still open, stay at any age. Logs go with their execution.

    Raises:
        ConfigError: an unknown noun. TransientError, AccessError as every use of the database.
    """
    rules = _rules(before)
    unknown = [n for n in nouns if n not in rules]
    if unknown:
        raise ConfigError(f"'{unknown[0]}' cannot be purged", hint=f"Valid: {', '.join(rules)}")
    counts: dict[str, int] = {}
    for noun in nouns:
        table, is_old = rules[noun]
        with database.write() as connection:
            counts[noun] = connection.execute(delete(table).where(is_old)).rowcount
    return MappingProxyType(counts)


def _rules(before: datetime) -> dict[str, tuple[Table, ColumnElement[bool]]]:
    return {
        "executions": (
            t.executions,
            and_(t.executions.c.started_at < before, t.executions.c.status != "running"),
        ),
        "logs": (t.logs, t.logs.c.at < before),
        "semantic_cache": (t.semantic_cache, t.semantic_cache.c.used_at < before),
        "exports": (t.exports, t.exports.c.at < before),
        "quarantine": (t.quarantine_counts, t.quarantine_counts.c.at < before),
        "dead_letters": (
            t.dead_letters,
            and_(t.dead_letters.c.at < before, t.dead_letters.c.state != "open"),
        ),
        "leases": (t.leases, t.leases.c.expires_at < before),
        "refresh_tokens": (t.refresh_tokens, t.refresh_tokens.c.not_after < before),
        "checkpoints": (t.checkpoints, t.checkpoints.c.at < before),
        "sources": (t.sources, t.sources.c.seen_at < before),
    }
