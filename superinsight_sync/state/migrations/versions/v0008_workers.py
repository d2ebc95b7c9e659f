"""What is wanted of those who work all the time, and how they are."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sis_workers",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("wanted", sa.Text(), nullable=False),
        sa.Column("anew", sa.BigInteger(), nullable=False),
        sa.Column("anew_done", sa.BigInteger(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=True),
        sa.Column("asked_at", _AT, nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("position", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_text", sa.Text(), nullable=True),
        sa.Column("seen_at", _AT, nullable=True),
        sa.CheckConstraint("wanted IN ('run', 'pause')", name=op.f("ck_sis_workers_wanted")),
        sa.PrimaryKeyConstraint("kind", "tenant", "target", name=op.f("pk_sis_workers")),
    )


def downgrade() -> None:
    op.drop_table("sis_workers")
