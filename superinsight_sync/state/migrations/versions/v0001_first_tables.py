"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sis_checkpoints",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("load_id", sa.Text(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant", "source", "stream", "stage", "partition", name=op.f("pk_sis_checkpoints")
        ),
    )
    op.create_table(
        "sis_dead_letters",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=False),
        sa.Column("error_text", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.Column("marked_at", _AT, nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'replayed', 'discarded')", name=op.f("ck_sis_dead_letters_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sis_dead_letters")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sis_dead_letters_state_at"), "sis_dead_letters", ["state", "at"])
    op.create_table(
        "sis_executions",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("started_at", _AT, nullable=False),
        sa.Column("ended_at", _AT, nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("load_id", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_text", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('running', 'succeeded', 'failed', 'stopped', 'unchanged')",
            name=op.f("ck_sis_executions_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sis_executions")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sis_executions_run_id"), "sis_executions", ["run_id"])
    op.create_index(op.f("ix_sis_executions_started_at"), "sis_executions", ["started_at"])
    op.create_index(op.f("ix_sis_executions_status"), "sis_executions", ["status"])
    op.create_index(
        op.f("ix_sis_executions_tenant_source_stream_started_at"),
        "sis_executions",
        ["tenant", "source", "stream", "started_at"],
    )
    op.create_table(
        "sis_exports",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("manifest_fingerprint", sa.Text(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "dataset", "version", name=op.f("pk_sis_exports")),
    )
    op.create_index(op.f("ix_sis_exports_at"), "sis_exports", ["at"])
    op.create_table(
        "sis_leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sis_leases")),
    )
    op.create_table(
        "sis_quarantine_counts",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("load_id", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant",
            "source",
            "stream",
            "load_id",
            "partition",
            "rule",
            name=op.f("pk_sis_quarantine_counts"),
        ),
    )
    op.create_index(op.f("ix_sis_quarantine_counts_at"), "sis_quarantine_counts", ["at"])
    op.create_table(
        "sis_semantic_cache",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Float(), nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.Column("used_at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sis_semantic_cache")),
    )
    op.create_index(op.f("ix_sis_semantic_cache_used_at"), "sis_semantic_cache", ["used_at"])
    op.create_table(
        "sis_sources",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("changed_at", _AT, nullable=False),
        sa.Column("seen_at", _AT, nullable=False),
        sa.Column("probed_at", _AT, nullable=True),
        sa.Column("probe_ok", sa.Boolean(), nullable=True),
        sa.Column("probe", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_sis_sources")),
    )
    op.create_table(
        "sis_logs",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("execution_id", _ID, nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["sis_executions.id"], name=op.f("fk_sis_logs_execution_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sis_logs")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sis_logs_at"), "sis_logs", ["at"])
    op.create_index(op.f("ix_sis_logs_execution_id"), "sis_logs", ["execution_id"])
