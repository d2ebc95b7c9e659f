"""SQL that people write in declarations, admitted by an allow-list of syntax and written anew.

The dialect is DuckDB's. What is not known to be harmless is refused: the list names what may be, so a
function that a later version adds stays out until somebody reads it. Whoever runs the result does so in a
database that is locked down as well; this is the first of the two locks. Nothing that differs from run to
run (`now`, `random`) is admitted, since a repeated run must give the same rows.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql_names import folded, folded_tables, plain_lineage, respelled
from superinsight_sync.core.sql_rows import JSON_TABLES, carry, with_plain_tables

if TYPE_CHECKING:
    from sqlglot import exp

MAX_CHARS = 20_000
MAX_TOKENS = 5_000
MAX_NESTING = 50
MAX_TABLES = 24
"""References to tables in one SELECT: CTEs that each read the one before twice grow by powers of two."""
MAX_EXPANSION = 5_000
"""Columns an expression may come to, written out, when it builds on the aliases before it."""
MAX_PAD = 1_000
"""`lpad`/`rpad` to more characters than this are refused: they make memory out of nothing."""

_SCALAR_SYNTAX = """
    Column Identifier Literal Boolean Null Paren Tuple Var
    And Or Not EQ NEQ GT GTE LT LTE NullSafeEQ NullSafeNEQ Between In Is Like ILike Escape Glob SimilarTo
    Add Sub Mul Div IntDiv Mod Pow Neg DPipe BitwiseAnd BitwiseOr
    Case If Coalesce Nullif Greatest Least Cast TryCast Try DataType DataTypeParam Interval AtTimeZone
    Bracket Slice Array Struct PropertyEQ StructExtract Dot
"""
_SCALAR_FUNCTIONS = """
    Abs Ceil Floor Round Trunc Sign Sqrt Exp Ln Log IsNan Sin Cos Tan Asin Acos Atan Radians Degrees Pi
    Length Lower Upper Trim Substring Replace Concat ConcatWs Left Right Pad Reverse Ascii Unicode Chr
    StrPosition StartsWith EndsWith Contains RegexpLike RegexpFullMatch RegexpReplace RegexpExtract
    Split SplitPart Levenshtein MD5 SHA2
    Extract Year Quarter Month Week Day DayOfMonth DayOfYear DayOfWeek DayOfWeekIso Dayname Monthname
    Hour Minute Second DateTrunc TimestampTrunc DateDiff DateAdd DateSub LastDay DateFromParts
    TimeToStr StrToTime TimeToUnix UnixToTime Date
    JSONExtract JSONExtractScalar JSONPath JSONPathRoot JSONPathKey JSONPathSubscript JSONPathWildcard
    FromJson JSONKeys JSONType JSONObject JSONKeyValue JSONArray
    ArrayContains ArraySize ArraySort ArrayDistinct ArrayConcat ArrayToString ArrayMax ArrayMin Flatten MapKeys
"""
_AGGREGATES = """
    Count CountIf Sum Avg Min Max Median Mode Stddev StddevPop StddevSamp Variance VariancePop Corr
    ArgMax ArgMin First Last AnyValue IgnoreNulls GroupConcat ArrayAgg ApproxDistinct
    PercentileCont PercentileDisc LogicalAnd LogicalOr Filter Distinct Where Order Ordered
    Window WindowSpec RowNumber Rank DenseRank PercentRank CumeDist Ntile
    Lag Lead FirstValue LastValue NthValue Star
"""
_QUERY_SYNTAX = """
    Select From Table TableAlias Alias Aliases Join Group Having Qualify Limit Offset Fetch
    Subquery With CTE Union Intersect Except Exists All Any Values Explode Unnest Transform ArrayFilter Lambda
"""
_NAMED_FUNCTIONS = """
    try_strptime strlen suffix isfinite isinf date_part age timezone nfc_normalize strip_accents
    jaccard ends_with era decade
    json_array_length json_valid json_contains json_value json_structure json_transform json_transform_strict
    from_json_strict to_json
    list_aggregate list_zip list_slice list_position list_extract array_extract element_at list_unique list_sum
    list_avg list_has_any list_has_all list_reverse_sort generate_subscripts map_values cardinality row
    """
_NAMED = frozenset(_NAMED_FUNCTIONS.split())
_EXPRESSION = frozenset((_SCALAR_SYNTAX + _SCALAR_FUNCTIONS).split())
_SELECT = _EXPRESSION | frozenset((_AGGREGATES + _QUERY_SYNTAX).split())


@dataclass(frozen=True)
class SafeSelect:
    """A SELECT that may be run.

    Attributes:
        sql: the SELECT, written anew in DuckDB's dialect, without comments.
        lineage: output column → the (table, column) pairs its values are computed from, in output order.
            Columns that only filter, join or order are not part of it.
    """

    sql: str
    lineage: Mapping[str, tuple[tuple[str, str], ...]]


def safe_expression(sql: str, columns: Collection[str]) -> str:
    """One row-by-row expression over `columns`, written anew with quoted names.

    Raises ConfigError for anything that is not on the list: other statements, subqueries, aggregates, unknown
    functions, columns that are not there (naming close ones), or an expression that is too long or deep.
    """
    try:
        return _expression(sql, columns)
    except RecursionError:
        raise ConfigError("the SQL is nested too deeply") from None


def safe_select(
    sql: str, tables: Mapping[str, Collection[str]], *, carried: Sequence[str] = ()
) -> SafeSelect:
    """One SELECT over the named tables (table → its columns) and the CTEs it defines itself.

    Args:
        carried: columns that a SELECT gives besides, if it does not name them and each of its rows is made of one
            row of one table: it only computes, filters, sorts and unnests.

    Raises ConfigError for anything that is not on the list: other statements, table functions, files,
    recursive CTEs, unknown functions, tables or columns that are not there, a computed column without a
    name, or a statement that is too long or deep.
    """
    try:
        return _select(sql, tables, carried)
    except RecursionError:
        raise ConfigError("the SQL is nested too deeply") from None


def close_to(name: str, valid: Collection[str]) -> str:
    """A hint for a name that is not there: the closest one, and the valid ones (at most 20)."""
    close = get_close_matches(name.casefold(), [v.casefold() for v in valid], n=1)
    original = {v.casefold(): v for v in valid}
    listed = ", ".join(list(valid)[:20]) + (", …" if len(valid) > 20 else "")
    return (f"Did you mean '{original[close[0]]}'? " if close else "") + f"Valid: {listed or 'none'}"


def quote(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _expression(sql: str, columns: Collection[str]) -> str:
    from sqlglot import exp

    tree = _parse_one(sql)
    _admit(tree, _EXPRESSION)
    known = {c.casefold(): c for c in columns}
    for column in list(tree.find_all(exp.Column)):
        _resolve(column, known)
    return tree.sql(dialect="duckdb", comments=False)


def _select(sql: str, tables: Mapping[str, Collection[str]], carried: Sequence[str]) -> SafeSelect:
    from sqlglot import exp

    tree = _parse_one(sql)
    if not isinstance(tree, exp.Query):
        raise ConfigError("the statement is no SELECT", hint="Write one SELECT over the named tables")
    _admit(tree, _SELECT)
    _admit_tables(tree, tables)
    _limit_growth(tree)
    lineage = respelled(_lineage(folded(tree), folded_tables(tables)), tree, tables)
    carry(tree, [c for c in carried if c not in lineage])
    return SafeSelect(tree.sql(dialect="duckdb", comments=False), lineage)


def _parse_one(sql: str) -> "exp.Expr":
    import sqlglot
    from sqlglot.errors import SqlglotError

    if len(sql) > MAX_CHARS:
        raise ConfigError(f"the SQL has {len(sql)} characters; at most {MAX_CHARS} are allowed")
    try:
        tokens = sqlglot.tokenize(sql, read="duckdb")
        _limit_nesting([t.text.upper() for t in tokens])
        parsed = sqlglot.parse(sql, read="duckdb")
    except SqlglotError as error:
        raise ConfigError(f"the SQL cannot be parsed: {_first_line(error)}") from None
    if len(parsed) != 1 or parsed[0] is None:
        raise ConfigError("exactly one SQL statement or expression is allowed")
    return parsed[0]


def _first_line(error: Exception) -> str:
    text = str(error).splitlines()
    return text[0].replace("\x1b[4m", "").replace("\x1b[0m", "") if text else "unknown error"


def _limit_nesting(tokens: list[str]) -> None:
    """Refuses what would make a recursive parser run out of stack, before it is parsed."""
    if len(tokens) > MAX_TOKENS:
        raise ConfigError(f"the SQL has {len(tokens)} words and signs; at most {MAX_TOKENS} are allowed")
    depth = run = 0
    for text in tokens:
        depth += (text in {"(", "[", "{", "CASE"}) - (text in {")", "]", "}", "END"})
        run = run + 1 if text in {"NOT", "-", "+", "~"} else 0
        if depth > MAX_NESTING or run > MAX_NESTING:
            raise ConfigError(f"the SQL is nested too deeply; at most {MAX_NESTING} levels are allowed")


def _admit(tree: "exp.Expr", allowed: frozenset[str]) -> None:
    from sqlglot import exp

    for node in tree.walk():
        kind = type(node).__name__
        if isinstance(node, exp.Anonymous):
            allowed_here = JSON_TABLES if isinstance(node.parent, exp.Table) else _NAMED
            if node.name.lower() not in allowed_here:
                raise ConfigError(f"function '{node.name.lower()}' is not allowed in this SQL")
        elif kind not in allowed:
            raise ConfigError(f"{_written_as(node)} is not allowed in this SQL")
        _admit_details(node)


def _written_as(node: "exp.Expr") -> str:
    """What a person wrote for it."""
    from sqlglot import exp

    if not isinstance(node, exp.Func):
        return f"'{type(node).__name__.lower()}'"
    written = node.meta.get("name") or node.sql(dialect="duckdb").partition("(")[0].strip()
    return f"function '{written.lower() if written.isidentifier() else node.sql_name().lower()}'"


def _admit_details(node: "exp.Expr") -> None:
    from sqlglot import exp

    if isinstance(node, exp.DataType) and node.this in (exp.DType.USERDEFINED, exp.DType.UNKNOWN):
        raise ConfigError("a cast to this type is not allowed in this SQL")
    if isinstance(node, exp.Pad):
        size = node.expression
        if not (isinstance(size, exp.Literal) and size.is_int and int(size.this) <= MAX_PAD):
            raise ConfigError(f"padding needs a number up to {MAX_PAD} as its length")
    if isinstance(node, exp.With) and node.args.get("recursive"):
        raise ConfigError("a recursive WITH is not allowed in this SQL")
    if isinstance(node, exp.Select) and any(
        node.args.get(k) for k in ("into", "locks", "sample", "hint", "laterals")
    ):
        raise ConfigError("INTO, LATERAL, FOR UPDATE, hints and samples are not allowed in this SQL")
    if isinstance(node, exp.Star) and node.args.get("replace"):
        raise ConfigError("'* REPLACE' is not allowed in this SQL", hint="Name the columns")


def _admit_tables(tree: "exp.Query", tables: Mapping[str, Collection[str]]) -> None:
    from sqlglot import exp

    ctes = {cte.alias.casefold() for cte in tree.find_all(exp.CTE)}
    known = {t.casefold(): t for t in tables}
    shadowed = ctes & known.keys()
    if shadowed:
        raise ConfigError(f"WITH '{min(shadowed)}' hides the table of that name", hint="Choose another name")
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Anonymous):  # of JSON_TABLES: `_admit` has seen it
            continue
        plain = isinstance(table.this, exp.Identifier) and not table.args.get("db")
        extras = any(
            table.args.get(k) for k in ("pivots", "version", "when", "ordinality", "sample", "changes")
        )
        if not plain or extras:
            raise ConfigError(
                "only plain table names may be read",
                hint=f"Table functions and files are refused. {close_to('', known)}",
            )
        name = table.name.casefold()
        if name not in known and name not in ctes:
            raise ConfigError(f"there is no table '{table.name}'", hint=close_to(table.name, tables))
        if name in known:
            table.set("this", exp.to_identifier(known[name], quoted=True))


def _limit_growth(tree: "exp.Query") -> None:
    """Refuses what is short as written and endless when names are replaced by what they stand for."""
    from sqlglot import exp

    references = sum(1 for _ in tree.find_all(exp.Table, exp.Unnest, exp.Explode))
    if references > MAX_TABLES:
        raise ConfigError(f"the SELECT reads {references} tables; at most {MAX_TABLES} are allowed")
    for select in tree.find_all(exp.Select):
        sizes: dict[str, int] = {}
        for projection in select.expressions:
            size = sum(
                sizes.get(c.name.casefold(), 1) for c in projection.find_all(exp.Column) if not c.table
            )
            if size > MAX_EXPANSION:
                raise ConfigError("the SELECT builds too much on its own aliases", hint="Split it with WITH")
            sizes[projection.alias.casefold()] = size
            if not isinstance(projection, exp.Alias | exp.Column | exp.Star) and select.parent_select is None:
                raise ConfigError(
                    "a computed column has no name", hint=f"Add AS after {projection.sql('duckdb')}"
                )


def _resolve(column: "exp.Column", known: Mapping[str, str]) -> None:
    from sqlglot import exp

    if column.table:
        raise ConfigError(
            f"'{column.sql(dialect='duckdb')}' is no column",
            hint="A field of a struct is written column['field']",
        )
    name = known.get(column.name.casefold())
    if name is None:
        raise ConfigError(
            f"there is no column '{column.name}'", hint=close_to(column.name, list(known.values()))
        )
    column.set("this", exp.to_identifier(name, quoted=True))


def _lineage(
    tree: "exp.Query", tables: Mapping[str, Collection[str]]
) -> Mapping[str, tuple[tuple[str, str], ...]]:
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    dialect = "duckdb, normalization_strategy=case_sensitive"
    schema: dict[str, object] = {t: dict.fromkeys(columns, "UNKNOWN") for t, columns in tables.items()}
    try:
        qualified = qualify(with_plain_tables(tree.copy()), dialect=dialect, schema=schema)
        scope = build_scope(qualified)
        names = [projection.alias_or_name for projection in qualified.selects]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ConfigError(f"the SELECT gives column '{twice[0]}' twice", hint="Rename one with AS")
        plain = plain_lineage(scope) if scope is not None else {}
        return {
            name: tuple(
                sorted(
                    plain[name]
                    if name in plain
                    else set(_leaves(lineage(name, qualified, schema=schema, scope=scope, dialect=dialect)))
                )
            )
            for name in names
        }
    except SqlglotError as error:
        columns = sorted({c for names in tables.values() for c in names})
        raise ConfigError(
            f"the SELECT does not fit its tables: {_first_line(error)}", hint=close_to("", columns)
        ) from None


def _leaves(root: object) -> Iterator[tuple[str, str]]:
    import sqlglot
    from sqlglot import exp
    from sqlglot.lineage import Node

    assert isinstance(root, Node)
    for node in root.walk():
        if isinstance(node.source, exp.Table) and node is not root and not node.downstream:
            column = sqlglot.parse_one(node.name, read="duckdb")
            yield node.source.name, column.name
