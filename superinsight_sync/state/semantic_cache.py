"""What language models answered, so that the same question is paid for once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update

from superinsight_sync.core.clock import utc_now
from superinsight_sync.state.database import Database, upsert
from superinsight_sync.state.tables import semantic_cache

_USE_IS_NOTED_EVERY = timedelta(hours=1)


@dataclass(frozen=True)
class Answer:
    """A cached answer. `value` is anything with a canonical form; `cost_usd` what it cost once."""

    value: Any
    model: str
    tokens: int = 0
    cost_usd: float = 0.0


class SemanticCache:
    """Answers by fingerprint. Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> Answer | None:
        """The answer, if there is one. Its time of use is noted at most once an hour."""
        c = semantic_cache.c
        with self._database.read() as connection:
            row = connection.execute(select(semantic_cache).where(c.key == key)).mappings().one_or_none()
        if row is None:
            return None
        at = utc_now()
        if row["used_at"] < at - _USE_IS_NOTED_EVERY:
            with self._database.write() as connection:
                connection.execute(update(semantic_cache).where(c.key == key).values(used_at=at))
        return Answer(row["value"], row["model"], row["tokens"], row["cost_usd"])

    def put(self, key: str, answer: Answer) -> None:
        """Keeps the answer, in the place of an earlier one."""
        self.put_all({key: answer})

    def put_all(self, answers: Mapping[str, Answer]) -> None:
        """Keeps all of them in one transaction."""
        at = utc_now()
        rows = [
            {
                "key": key,
                "value": a.value,
                "model": a.model,
                "tokens": a.tokens,
                "cost_usd": a.cost_usd,
                "created_at": at,
                "used_at": at,
            }
            for key, a in sorted(answers.items())
        ]
        with self._database.write() as connection:
            upsert(connection, semantic_cache, rows)

    def purge(self, unused_since: datetime) -> int:
        """Forgets answers nobody asked for since then; how many."""
        with self._database.write() as connection:
            return connection.execute(
                delete(semantic_cache).where(semantic_cache.c.used_at < unused_since)
            ).rowcount
