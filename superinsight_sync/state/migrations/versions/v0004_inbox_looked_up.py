"""Deliveries are found by their id, and a tenant's newest without going through those of others."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_sis_inbox_id", "sis_inbox", ["id"])
    op.create_index("ix_sis_inbox_tenant_seq", "sis_inbox", ["tenant", "seq"])


def downgrade() -> None:
    op.drop_index("ix_sis_inbox_tenant_seq", "sis_inbox")
    op.drop_index("ix_sis_inbox_id", "sis_inbox")
