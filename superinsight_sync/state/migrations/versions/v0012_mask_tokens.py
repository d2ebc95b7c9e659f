"""The vault of mask tokens: what stands for which value, the values encrypted."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sis_mask_tokens",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("lookup", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("key_version", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "token", name=op.f("pk_sis_mask_tokens")),
        sa.UniqueConstraint("tenant", "lookup", name=op.f("uq_sis_mask_tokens_tenant")),
    )


def downgrade() -> None:
    op.drop_table("sis_mask_tokens")
