"""The audit log, and what of it has begun and not ended."""

import sqlalchemy as sa
from alembic import op

from superinsight_sync.state.audit_guard import GUARDS

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sis_audit",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "seq", name=op.f("pk_sis_audit")),
    )
    op.create_table(
        "sis_audit_open",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "seq", name=op.f("pk_sis_audit_open")),
    )
    connection = op.get_bind()
    for statement in GUARDS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    op.drop_table("sis_audit_open")
    op.drop_table("sis_audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION sis_audit_refuse()")
