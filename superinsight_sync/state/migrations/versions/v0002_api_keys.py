"""API keys, and the refresh tokens given out for them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sis_api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("sources", sa.Text(), nullable=False),
        sa.Column("networks", sa.Text(), nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.Column("not_after", _AT, nullable=True),
        sa.Column("revoked_at", _AT, nullable=True),
        sa.Column("last_used_at", _AT, nullable=True),
        sa.CheckConstraint(
            "role IN ('admin', 'operator', 'viewer', 'pusher')", name=op.f("ck_sis_api_keys_role")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sis_api_keys")),
    )
    op.create_index(op.f("ix_sis_api_keys_tenant_created_at"), "sis_api_keys", ["tenant", "created_at"])
    op.create_table(
        "sis_refresh_tokens",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("issued_at", _AT, nullable=False),
        sa.Column("not_after", _AT, nullable=False),
        sa.Column("used_at", _AT, nullable=True),
        sa.Column("revoked_at", _AT, nullable=True),
        sa.ForeignKeyConstraint(
            ["key_id"], ["sis_api_keys.id"], name=op.f("fk_sis_refresh_tokens_key_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_sis_refresh_tokens")),
    )
    for column in ("family", "key_id", "not_after"):
        op.create_index(op.f(f"ix_sis_refresh_tokens_{column}"), "sis_refresh_tokens", [column])
