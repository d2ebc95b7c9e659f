"""What waits is counted by an index alone: the gateway looks every two seconds, also where very much waits."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NAME = "ix_sis_inbox_waiting"
_WAITS = sa.text("state IN ('received', 'landing')")


def upgrade() -> None:
    _make_again(["tenant", "source", "stream", "seq", "state"])


def downgrade() -> None:
    _make_again(["tenant", "source", "stream", "seq"])


def _make_again(columns: list[str]) -> None:
    op.drop_index(_NAME, "sis_inbox")
    op.create_index(_NAME, "sis_inbox", columns, sqlite_where=_WAITS, postgresql_where=_WAITS)
