"""What waits for a person's decision, and what people decided."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_AT = sa.DateTime(timezone=True)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "sis_reviews",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("conflict_id", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("priority", sa.Float(), nullable=False),
        sa.Column("since", _AT, nullable=False),
        sa.Column("due_at", _AT, nullable=False),
        sa.Column("assigned_to", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "entity", "conflict_id", name=op.f("pk_sis_reviews")),
    )
    op.create_index(
        op.f("ix_sis_reviews_tenant_entity_priority"), "sis_reviews", ["tenant", "entity", "priority"]
    )
    op.create_table(
        "sis_decisions",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Text(), nullable=True),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.Column("undone_by", sa.Text(), nullable=True),
        sa.Column("undone_at", _AT, nullable=True),
        sa.CheckConstraint(
            "kind IN ('resolve', 'split', 'undo_load', 'trust')", name=op.f("ck_sis_decisions_kind")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sis_decisions")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sis_decisions_tenant_entity"), "sis_decisions", ["tenant", "entity"])


def downgrade() -> None:
    op.drop_table("sis_decisions")
    op.drop_table("sis_reviews")
