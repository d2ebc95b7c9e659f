"""A stream's newest delivery, and how many records came after one, are told by an index alone."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NAME = "ix_sis_inbox_stream"


def upgrade() -> None:
    op.create_index(_NAME, "sis_inbox", ["tenant", "source", "stream", "seq", "records"])


def downgrade() -> None:
    op.drop_index(_NAME, "sis_inbox")
