"""Triggers that refuse to change or take out what the audit log has. Who owns the database can drop them: the chain
and its checkpoints show what was done then."""

from collections.abc import Mapping
from types import MappingProxyType

GUARDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sqlite": (
            "CREATE TRIGGER sis_audit_no_update BEFORE UPDATE ON sis_audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is only appended to'); END",
            "CREATE TRIGGER sis_audit_no_delete BEFORE DELETE ON sis_audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is only appended to'); END",
        ),
        "postgresql": (
            "CREATE FUNCTION sis_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'the audit log is only appended to'; END $$",
            "CREATE TRIGGER sis_audit_no_change BEFORE UPDATE OR DELETE ON sis_audit "
            "FOR EACH ROW EXECUTE FUNCTION sis_audit_refuse()",
            "CREATE TRIGGER sis_audit_no_truncate BEFORE TRUNCATE ON sis_audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION sis_audit_refuse()",
        ),
    }
)
"""Statements by dialect, run when the table is made."""
