"""Dagster's PostgreSQL storage, mended where several processes are the first on a new database at once.

- Opened one after the other: Dagster makes its tables in three steps, and fails where it meets a half-made set.
- A pool's limit is made known by an upsert. Dagster inserts, and updates where the row is there; on PostgreSQL the
  failed insert ends the transaction, and the run that came second fails
  (https://github.com/dagster-io/dagster/issues/33552).
"""

from dagster._core.storage.event_log.schema import ConcurrencyLimitsTable as Limits
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.utils import retry_pg_connection_fn
from sqlalchemy import create_engine, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.pool import NullPool

_OPENING_LOCK = 7_305_113_483  # any fixed number will do


class PostgresStorage(DagsterPostgresStorage):
    """Dagster's storage of runs, events and schedules in the PostgreSQL at `url`."""

    def __init__(self, url: str, inst_data: ConfigurableClassData | None) -> None:
        opened = retry_pg_connection_fn(create_engine(url, poolclass=NullPool).connect)
        with opened as connection, connection.begin():
            connection.execute(select(func.pg_advisory_xact_lock(_OPENING_LOCK)))
            super().__init__(url, inst_data=inst_data)
        self._event_log_storage = PostgresEvents(url)


class PostgresEvents(PostgresEventLogStorage):
    """The events, where whoever comes second in making a pool known changes nothing."""

    def initialize_concurrency_limit_to_default(self, concurrency_key: str) -> bool:
        default = self._instance.global_op_concurrency_default_limit
        if default is None:
            return super().initialize_concurrency_limit_to_default(concurrency_key)
        known = insert(Limits).values(
            concurrency_key=concurrency_key, limit=default, using_default_limit=True
        )
        with self.index_transaction() as conn:
            conn.execute(
                known.on_conflict_do_update(
                    index_elements=[Limits.c.concurrency_key],
                    set_={"limit": default},
                    where=Limits.c.using_default_limit,
                )
            )
            limit = conn.execute(
                select(Limits.c.limit).where(Limits.c.concurrency_key == concurrency_key)
            ).scalar_one()
            self._allocate_concurrency_slots(conn, concurrency_key, limit)
        return True
