"""Which inbox this is: order numbers of one mean nothing in another."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    made = op.create_table(
        "sis_inbox_identity",
        sa.Column("id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sis_inbox_identity")),
    )
    op.bulk_insert(made, [{"id": uuid.uuid4().hex}])


def downgrade() -> None:
    op.drop_table("sis_inbox_identity")
