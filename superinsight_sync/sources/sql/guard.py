"""The gate for queries that people write: one statement that only reads, or nothing.

What passes is written anew from its syntax tree without comments, so that nothing hides in them. It is the second
wall: the connection itself is read-only.
"""

from typing import TYPE_CHECKING

from superinsight_sync.core.errors import ConfigError

if TYPE_CHECKING:
    from sqlglot import exp

MAX_CHARS = 50_000

_FORBIDDEN = """
    Insert Update Delete Merge Create Drop Alter AlterColumn TruncateTable Command Into Lock Set SetItem Use Pragma
    Attach Detach Copy LoadData Grant Revoke Transaction Commit Rollback Kill Cache Uncache Refresh Analyze Export
    Describe Show Comment Execute Declare Parameter Placeholder SessionParameter PropertyEQ Install
    Returning OnConflict Directory Heredoc
""".split()

_SAFE_FUNCTIONS = frozenset(
    """
    to_char to_date to_timestamp to_number age date_part date_bin make_date make_timestamp make_timestamptz
    jsonb_extract_path jsonb_extract_path_text json_extract_path json_extract_path_text jsonb_array_length
    json_array_length to_jsonb to_json jsonb_build_object json_build_object jsonb_typeof json_typeof row_to_json
    array_length array_to_string cardinality string_to_array split_part regexp_replace regexp_match regexp_matches
    btrim initcap lpad rpad md5 encode decode octet_length char_length bit_length quote_literal format translate
    width_bucket trunc ceil floor mod sign isfinite numeric_in nullif ifnull strftime julianday unixepoch
    datetime time date json_extract json_valid json_type typeof printf instr hex total unhex
    date_format str_to_date unix_timestamp from_unixtime convert_tz json_unquote json_length find_in_set field elt
    inet_ntoa inet_aton uuid_to_bin bin_to_uuid st_astext st_x st_y space truncate timestampdiff timestampadd
    bool_and bool_or every string_agg array_agg json_agg jsonb_agg percentile_cont percentile_disc mode
    row_number rank dense_rank ntile lag lead first_value last_value nth_value
    """.split()
)


def check_select(sql: str, dialect: str) -> str:
    """The query, written anew, if it is exactly one SELECT that reads and does nothing else.

    Args:
        dialect: sqlglot's name of it: postgres, mysql, sqlite.

    Raises:
        ConfigError: it is no such query; the message names what was found.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if len(sql) > MAX_CHARS:
        raise ConfigError(f"the query has more than {MAX_CHARS} characters")
    if "\x00" in sql:
        raise ConfigError("the query holds a NUL character")
    try:
        found = [s for s in sqlglot.parse(sql, read=dialect) if s is not None]
    except (SqlglotError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "too deep"
        raise ConfigError(f"the query cannot be read: {reason[:200]}") from None
    if len(found) != 1:
        raise ConfigError(f"the query must be one statement, found {len(found)}")
    tree = found[0]
    if not isinstance(tree, exp.Query):
        raise ConfigError(f"the query must be a SELECT, found {type(tree).__name__.upper()}")
    try:
        _admit(tree)
        return tree.sql(dialect=dialect, comments=False)
    except RecursionError:
        raise ConfigError("the query is nested too deeply") from None


def _admit(tree: "exp.Expr") -> None:
    from sqlglot import exp

    forbidden = tuple(getattr(exp, n) for n in _FORBIDDEN if hasattr(exp, n))
    for node in tree.walk():
        if isinstance(node, forbidden):
            raise ConfigError(f"the query may only read, found {type(node).__name__.upper()}")
        if (
            isinstance(node, exp.Anonymous | exp.AnonymousAggFunc)
            and node.name.lower() not in _SAFE_FUNCTIONS
        ):
            raise ConfigError(
                f"function '{node.name[:60]}' is not known to be harmless",
                hint="Compute it in a refine step instead",
            )
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Func):
            raise ConfigError("the query may not call a table function")
        if isinstance(node, exp.Select) and node.args.get("into"):
            raise ConfigError("the query may only read, found INTO")
