"""Alembic's entry: runs the migrations on the connection that `migrate` hands over."""

from alembic import context

from superinsight_sync.state.migrate import VERSION_TABLE
from superinsight_sync.state.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
