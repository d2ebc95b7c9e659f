"""What a statement in the log does to captured tables. Statements that row events tell of do not stand there."""

import re
from typing import Literal

Does = Literal["nothing", "empties", "changes"]
_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*\n|#[^\n]*\n", re.DOTALL)
_MATTERS = re.compile(
    r"\s*(ALTER|RENAME|DROP\s+(TABLE|DATABASE|SCHEMA)|CREATE\s+(OR\s+REPLACE\s+)?(TABLE|DATABASE|SCHEMA)"
    r"|TRUNCATE|INSERT|UPDATE|DELETE|REPLACE|LOAD|IMPORT|EXECUTE|CALL)\b",
    re.IGNORECASE,
)
_EMPTIES = re.compile(r"\s*TRUNCATE\b", re.IGNORECASE)
_DATABASE = re.compile(r"\s*(DROP|CREATE\s+(OR\s+REPLACE\s+)?)\s*(DATABASE|SCHEMA)\b", re.IGNORECASE)
_HARMLESS_ALTER = re.compile(
    r"\s*ALTER\b(?!.*\b(DROP|CHANGE|MODIFY|PARTITION|RENAME|CONVERT)\b)", re.I | re.S
)


def does(statement: str, database: str, schema: str, table: str) -> Does:
    """What a statement does to a table, or may do.

    Args:
        database: the one that the statement was run in.
    """
    text = _COMMENT.sub(" ", statement)
    if not _MATTERS.match(text):
        return "nothing"
    if _DATABASE.match(text):
        return "changes" if _names(text, schema) else "nothing"
    if not _names(text, table) or not (database == schema or _names(text, schema)):
        return "nothing"
    return "empties" if _EMPTIES.match(text) else "changes"


def keeps_values(statement: str) -> bool:
    """Whether records keep their values if the columns are the same afterwards."""
    return _HARMLESS_ALTER.match(_COMMENT.sub(" ", statement)) is not None


def _names(text: str, name: str) -> bool:
    return (
        re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text.replace("``", "`"), re.IGNORECASE)
        is not None
    )
