"""The inbox: deliveries that were accepted and wait to be landed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sis_inbox",
        sa.Column("seq", _ID, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("encoding", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("received_at", _AT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("load_id", sa.Text(), nullable=True),
        sa.Column("marked_at", _AT, nullable=True),
        sa.Column("error_text", sa.Text(), nullable=True),
        sa.Column("replay_of", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('received', 'landing', 'landed', 'failed')", name=op.f("ck_sis_inbox_state")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_sis_inbox")),
        sa.UniqueConstraint("tenant", "source", "key", name=op.f("uq_sis_inbox_tenant")),
        sqlite_autoincrement=True,
    )
    waiting = sa.text("state IN ('received', 'landing')")
    op.create_index(
        op.f("ix_sis_inbox_waiting"),
        "sis_inbox",
        ["tenant", "source", "stream", "seq"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
