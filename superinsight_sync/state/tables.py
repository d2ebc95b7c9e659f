"""The tables of our metadata database. Their names start with ``sis_``: Dagster's may live beside them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)

from superinsight_sync.state.audit_guard import GUARDS
from superinsight_sync.state.column_types import CanonicalJson, UtcDateTime

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)


def _id() -> Column[int]:
    # SQLite counts by itself only in an INTEGER primary key; AUTOINCREMENT keeps it from using an id again.
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


sources = Table(
    "sis_sources",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("probed_at", UtcDateTime),
    Column("probe_ok", Boolean),
    Column("probe", CanonicalJson),
    PrimaryKeyConstraint("tenant", "name"),
)

executions = Table(
    "sis_executions",
    metadata,
    _id(),
    Column("run_id", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("partition", Text),
    Column("status", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("rows", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("load_id", Text),
    Column("version", Text),
    Column("retries", Integer, nullable=False),
    Column("error_class", Text),
    Column("error_text", Text),
    CheckConstraint("status IN ('running', 'succeeded', 'failed', 'stopped', 'unchanged')", name="status"),
    Index(None, "started_at"),
    Index(None, "tenant", "source", "stream", "started_at"),
    Index(None, "status"),
    Index(None, "run_id"),
    sqlite_autoincrement=True,
)

logs = Table(
    "sis_logs",
    metadata,
    _id(),
    Column("execution_id", ForeignKey(executions.c.id, ondelete="CASCADE"), nullable=False),
    Column("level", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index(None, "execution_id"),
    Index(None, "at"),
    sqlite_autoincrement=True,
)

checkpoints = Table(
    "sis_checkpoints",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("cursor", CanonicalJson, nullable=False),
    Column("token", Text),
    Column("detail", CanonicalJson, nullable=False),
    Column("load_id", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("tenant", "source", "stream", "stage", "partition"),
)

semantic_cache = Table(
    "sis_semantic_cache",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", CanonicalJson, nullable=False),
    Column("model", Text, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cost_usd", Float, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime, nullable=False),
    Index(None, "used_at"),
)

exports = Table(
    "sis_exports",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("manifest_fingerprint", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("tenant", "dataset", "version"),
    Index(None, "at"),
)

quarantine_counts = Table(
    "sis_quarantine_counts",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("load_id", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("tenant", "source", "stream", "load_id", "partition", "rule"),
    Index(None, "at"),
)

dead_letters = Table(
    "sis_dead_letters",
    metadata,
    _id(),
    Column("tenant", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("payload", CanonicalJson, nullable=False),
    Column("error_class", Text, nullable=False),
    Column("error_text", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("marked_at", UtcDateTime),
    CheckConstraint("state IN ('open', 'replayed', 'discarded')", name="state"),
    Index(None, "state", "at"),
    sqlite_autoincrement=True,
)

leases = Table(
    "sis_leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

api_keys = Table(
    "sis_api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("sources", CanonicalJson, nullable=False),
    Column("networks", CanonicalJson, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("not_after", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    CheckConstraint("role IN ('admin', 'operator', 'viewer', 'pusher')", name="role"),
    Index(None, "tenant", "created_at"),
)

refresh_tokens = Table(
    "sis_refresh_tokens",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("family", Text, nullable=False),
    Column("key_id", ForeignKey(api_keys.c.id, ondelete="CASCADE"), nullable=False),
    Column("issued_at", UtcDateTime, nullable=False),
    Column("not_after", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Index(None, "family"),
    Index(None, "key_id"),
    Index(None, "not_after"),
)

_WAITS = text("state IN ('received', 'landing')")

inbox = Table(
    "sis_inbox",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("encoding", Text, nullable=False),
    Column("body", LargeBinary),
    Column("size_bytes", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("metadata", CanonicalJson, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("state", Text, nullable=False),
    Column("load_id", Text),
    Column("marked_at", UtcDateTime),
    Column("error_text", Text),
    Column("replay_of", BigInteger),
    CheckConstraint("state IN ('received', 'landing', 'landed', 'failed')", name="state"),
    UniqueConstraint("tenant", "source", "key"),
    Index("ix_sis_inbox_id", "id"),
    Index("ix_sis_inbox_tenant_seq", "tenant", "seq"),
    Index("ix_sis_inbox_stream", "tenant", "source", "stream", "seq", "records"),
    Index(
        "ix_sis_inbox_waiting",
        "tenant",
        "source",
        "stream",
        "seq",
        "state",  # for SQLite to count without looking at the rows
        sqlite_where=_WAITS,
        postgresql_where=_WAITS,
    ),
    sqlite_autoincrement=True,
)

inbox_identity = Table("sis_inbox_identity", metadata, Column("id", Text, primary_key=True))
"""One row: which inbox this is."""

mask_tokens = Table(
    "sis_mask_tokens",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("lookup", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("key_version", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("tenant", "token"),
    UniqueConstraint("tenant", "lookup"),
)
"""`lookup` is a keyed digest of the value, `sealed` the value, encrypted."""

workers = Table(
    "sis_workers",
    metadata,
    Column("kind", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("wanted", Text, nullable=False),
    Column("anew", BigInteger, nullable=False),
    Column("anew_done", BigInteger, nullable=False),
    Column("asked_by", Text),
    Column("asked_at", UtcDateTime),
    Column("state", Text, nullable=False),
    Column("position", Text),
    Column("detail", CanonicalJson, nullable=False),
    Column("error_class", Text),
    Column("error_text", Text),
    Column("seen_at", UtcDateTime),
    PrimaryKeyConstraint("kind", "tenant", "target"),
    CheckConstraint("wanted IN ('run', 'pause')", name="wanted"),
)
"""What is wanted of those who work all the time, and what they say of themselves; a row each."""

audit = Table(
    "sis_audit",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("hash", Text, nullable=False),
    PrimaryKeyConstraint("tenant", "seq"),
)
"""A chain for each tenant, only appended to. `body` is the record itself, `hash` its SHA-256."""

audit_open = Table(
    "sis_audit_open",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("tenant", "seq"),
)
"""Intents whose outcome is not written yet."""


def _guard(_: Table, connection: Connection, **__: object) -> None:
    for statement in GUARDS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


event.listen(audit, "after_create", _guard)

_IS_CURRENT = text("replaced_at IS NULL")

data_keys = Table(
    "sis_data_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("master", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("replaced_at", UtcDateTime),
    Index(None, "tenant", unique=True, sqlite_where=_IS_CURRENT, postgresql_where=_IS_CURRENT),
)
"""Keys that bodies are sealed with, wrapped by a master key that is not here. One of a tenant is not replaced."""

reviews = Table(
    "sis_reviews",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("conflict_id", Text, nullable=False),
    Column("entity_id", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("priority", Float, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("assigned_to", Text),
    PrimaryKeyConstraint("tenant", "entity", "conflict_id"),
    Index("ix_sis_reviews_tenant_entity_priority", "tenant", "entity", "priority"),
)
"""Conflicts that wait for a person. Their values are in the lake."""

decisions = Table(
    "sis_decisions",
    metadata,
    _id(),
    Column("tenant", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("entity_id", Text),
    Column("field", Text),
    Column("detail", CanonicalJson, nullable=False),
    Column("note", Text, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("undone_by", Text),
    Column("undone_at", UtcDateTime),
    CheckConstraint("kind IN ('resolve', 'split', 'undo_load', 'trust')", name="kind"),
    Index("ix_sis_decisions_tenant_entity", "tenant", "entity"),
    sqlite_autoincrement=True,
)
"""What people decided about entities. A decision that was undone stays, and says so."""
