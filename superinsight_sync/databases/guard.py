"""The gate for queries that people write: one statement that only reads, or nothing.

An allow-list: syntax and functions that nobody has judged harmless are refused, so what a later version
of a server or of the parser adds stays out until somebody reads it. What passes is written anew from its
syntax tree without comments, so that nothing hides in them. It is the second wall: the connection itself
is read-only.
"""

from typing import TYPE_CHECKING

from superinsight_sync.core.errors import ConfigError

if TYPE_CHECKING:
    from sqlglot import exp

MAX_CHARS = 50_000
MAX_NESTING = 30
MAX_PAD = 1_000
"""Padding to more characters is refused: it makes memory out of nothing."""

_SYNTAX = """
    Select From Where Group Having Order Ordered Limit Offset Fetch LimitOptions Distinct Qualify
    Star Union Except Intersect Subquery With CTE Table TableAlias Alias Aliases Join Lateral Values
    Tuple TableSample Rollup Cube GroupingSets Filter Window WindowSpec WithinGroup Explode
    IgnoreNulls RespectNulls Version Unnest Column Identifier Literal Boolean Null Paren Var Dot
    National HexString BitString ByteString Introducer CharacterSet And Or Xor Not EQ NEQ GT GTE LT
    LTE NullSafeEQ NullSafeNEQ Between In Is Like ILike Escape Glob SimilarTo RegexpLike RegexpILike
    Any All Exists Overlaps Add Sub Mul Div IntDiv Mod Pow Neg DPipe Collate BitwiseAnd BitwiseOr
    BitwiseXor BitwiseNot BitwiseLeftShift BitwiseRightShift Case If Coalesce Nullif Greatest Least
    Cast TryCast DataType DataTypeParam Interval IntervalSpan AtTimeZone Bracket Slice Array
    JSONPath JSONPathRoot JSONPathKey JSONPathSubscript JSONPathWildcard JSONPathSlice JSONKeyValue
    JSONExtractQuote FormatJson
"""
_FUNCTIONS = """
    Abs Acos Acosh Asin Asinh Atan Atan2 Atanh Cbrt Ceil Cos Cosh Cot Degrees Exp Floor Ln Log Pi
    Radians Rint Round Sign Sin Sinh Sqrt Tan Tanh Trunc WidthBucket Factorial Ascii BitLength
    ByteLength Chr Concat ConcatWs Contains Elt EndsWith Format Hex LowerHex Initcap Left Length
    Lower Overlay Pad Replace Reverse Right RegexpCount RegexpExtract RegexpExtractAll RegexpInstr
    RegexpReplace RegexpSplit RegexpSubstr Soundex Split SplitPart StartsWith StrPosition
    StringToArray Substring SubstringIndex Translate Trim Unhex Unicode Upper MD5 MD5Digest SHA
    SHA1Digest SHA2 SHA2Digest ToBase64 FromBase64 Encode Decode ToChar ToNumber NumberToStr Typeof
    Convert ConvertToCharset CurrentDate CurrentDatetime CurrentTime CurrentTimestamp Localtime
    Localtimestamp UtcDate UtcTime UtcTimestamp ConvertTimezone Date DateAdd DateBin DateDiff
    DateFromParts DateStrToDate DateSub DateTrunc Datetime DatetimeAdd DatetimeDiff DatetimeSub
    DatetimeTrunc Day DayOfMonth DayOfWeek DayOfWeekIso DayOfYear Dayname Extract Hour JustifyDays
    JustifyHours JustifyInterval LastDay MakeInterval Minute Month Monthname Quarter Second
    StrToDate StrToTime StrToUnix Time TimeAdd TimeDiff TimeFromParts TimeStrToDate TimeStrToTime
    TimeStrToUnix TimeSub TimeToStr TimeToUnix TimeTrunc Timestamp TimestampAdd TimestampDiff
    AddMonths MonthsBetween Systimestamp TimestampFromParts TimestampSub TimestampTrunc ToDays TsOrDsAdd TsOrDsDiff TsOrDsToDate
    TsOrDsToDatetime TsOrDsToTime TsOrDsToTimestamp UnixSeconds UnixMillis UnixMicros UnixToStr
    UnixToTime Week WeekOfYear Year YearOfWeek YearOfWeekIso ArrayAgg ArrayAppend ArrayConcat
    ArrayContains ArrayContainedBy ArrayContainsAll ArrayOverlaps ArrayPosition ArrayPrepend
    ArrayRemove ArraySize ArrayToString JSONArray JSONArrayAgg JSONArrayContains JSONBContains
    JSONBExists JSONBExtract JSONBExtractScalar JSONBObjectAgg JSONExists JSONExtract
    JSONExtractArray JSONExtractScalar JSONFormat JSONKeys JSONObject JSONObjectAgg JSONType
    JSONValue JSONStripNulls JSONCast ParseJSON IsNullValue AnyValue Avg BitwiseAndAgg BitwiseOrAgg
    BitwiseXorAgg Corr Count CountIf CovarPop CovarSamp CumeDist DenseRank First FirstValue
    GroupConcat Grouping Lag Last LastValue Lead LogicalAnd LogicalOr Max Median Min Mode NthValue
    Ntile PercentRank PercentileCont PercentileDisc Rank RegrSlope RegrIntercept RegrCount RegrR2
    DecodeCase Nvl2 RowNumber Stddev StddevPop StddevSamp Sum Variance VariancePop
"""
_ALLOWED = frozenset((_SYNTAX + _FUNCTIONS).split())

_POSTGRES = """
    to_char to_date to_timestamp to_number age date_part date_bin make_date make_timestamp
    make_timestamptz jsonb_extract_path jsonb_extract_path_text json_extract_path
    json_extract_path_text jsonb_array_length json_array_length to_jsonb to_json jsonb_build_object
    json_build_object jsonb_typeof json_typeof row_to_json array_length array_to_string cardinality
    string_to_array split_part regexp_replace regexp_match regexp_matches btrim ltrim rtrim initcap
    md5 encode decode octet_length char_length character_length bit_length format translate
    width_bucket trunc ceil floor mod sign isfinite statement_timestamp hashtext bool_and bool_or
    every string_agg array_agg json_agg jsonb_agg json_object_agg jsonb_object_agg num_nulls
    percentile_cont percentile_disc mode st_astext st_asgeojson st_x st_y st_srid array_ndims lower
    upper
"""
_MYSQL = """
    date_format str_to_date unix_timestamp from_unixtime convert_tz json_unquote json_length
    json_value find_in_set field elt inet_ntoa inet_aton inet6_ntoa inet6_aton uuid_to_bin
    bin_to_uuid truncate now curdate curtime adddate subdate st_astext st_asgeojson st_x st_y
    st_srid st_asbinary timestampdiff timestampadd ltrim rtrim instr char_length character_length
    octet_length bit_length bit_count crc32 strcmp quote ord insert mid makedate maketime
    sec_to_time time_to_sec period_diff period_add to_seconds yearweek weekday microsecond addtime
    subtime bit_and bit_or bit_xor json_depth json_valid json_quote hex conv oct bin
"""
_SQLITE = """
    strftime julianday unixepoch datetime time date json_extract json_type json_valid
    json_array_length typeof printf format instr hex total unhex ifnull iif likelihood likely
    unlikely quote ltrim rtrim trim char unicode timediff octet_length concat concat_ws group_concat
    string_agg sign max min nullif round
"""
_ORACLE = """
    nvl nvl2 decode instr substr length sys_extract_utc from_tz ora_hash standard_hash to_timestamp
    to_timestamp_tz rowidtochar rawtohex hextoraw to_clob to_dsinterval to_yminterval next_day nanvl
    months_between add_months bitand remainder regexp_like ltrim rtrim lnnvl numtodsinterval
    numtoyminterval tz_offset unistr asciistr
"""
_TSQL = """
    choose square patindex datalength isnumeric quotename str datename datepart eomonth isjson
    json_value json_query switchoffset todatetimeoffset datediff_big datetrunc charindex reverse ltrim
    rtrim len isdate sysutcdatetime sysdatetimeoffset rowcount_big checksum binary_checksum count_big
    stdev stdevp varp string_agg datefromparts datetime2fromparts try_parse parse
"""
_DUCKDB = """
    strftime strptime epoch epoch_ms to_timestamp make_date make_timestamp date_part date_trunc datediff
    list_value list_aggregate list_contains list_extract list_sort array_length len json_extract
    json_extract_string json_array_length regexp_matches regexp_full_match string_split concat_ws instr
    ltrim rtrim trim lpad rpad hex unhex printf format hash isinf isnan isfinite median mode
    approx_count_distinct string_agg list bool_and bool_or arg_min arg_max min_by max_by quantile_cont
    quantile_disc struct_extract map_extract octet_length bit_length char_length
"""
_NAMED: dict[str, frozenset[str]] = {
    "duckdb": frozenset(_DUCKDB.split()),
    "oracle": frozenset(_ORACLE.split()),
    "tsql": frozenset(_TSQL.split()),
    "postgres": frozenset(_POSTGRES.split()),
    "mysql": frozenset(_MYSQL.split()),
    "sqlite": frozenset(_SQLITE.split()),
}


def check_select(sql: str, dialect: str) -> str:
    """The query, written anew, if it is exactly one SELECT that reads and does nothing else.

    Args:
        dialect: sqlglot's name of it: postgres, mysql, sqlite, duckdb, oracle, tsql.

    Raises:
        ConfigError: it is no such query; the message names what was found.
    """
    tree = _parsed(sql, dialect)
    try:
        _admit(tree, dialect)
        if dialect == "oracle":
            _admit_oracle_names(tree)
        # T-SQL ends a statement at the next verb without a semicolon: bracketed, no name is a verb.
        return tree.sql(dialect=dialect, comments=False, identify=dialect == "tsql")
    except RecursionError:
        raise ConfigError("the query is nested too deeply") from None


def _parsed(sql: str, dialect: str) -> "exp.Query":
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if len(sql) > MAX_CHARS:
        raise ConfigError(f"the query has more than {MAX_CHARS} characters")
    if "\x00" in sql:
        raise ConfigError("the query holds a NUL character")
    try:
        _check_nesting([t.text.upper() for t in sqlglot.tokenize(sql, read=dialect)])
        found = [s for s in sqlglot.parse(sql, read=dialect) if s is not None]
    except (SqlglotError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "too deep"
        raise ConfigError(f"the query cannot be read: {reason[:200]}") from None
    if len(found) != 1:
        raise ConfigError(f"the query must be one statement, found {len(found)}")
    if not isinstance(found[0], exp.Query):
        raise ConfigError(f"the query must be a SELECT, found {type(found[0]).__name__.upper()}")
    return found[0]


def _check_nesting(tokens: list[str]) -> None:
    """Refuses what would make the parser run out of stack, before it is parsed."""
    depth = run = 0
    for text in tokens:
        depth += (text in {"(", "[", "{", "CASE"}) - (text in {")", "]", "}", "END"})
        run = run + 1 if text in {"NOT", "-", "+", "~"} else 0
        if max(depth, run) > MAX_NESTING:
            raise ConfigError(f"the query is nested too deeply; at most {MAX_NESTING} levels are allowed")


def _admit(tree: "exp.Expr", dialect: str) -> None:
    from sqlglot import exp

    for node in tree.walk():
        if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
            if node.name.lower() not in _NAMED[dialect]:
                raise ConfigError(
                    f"function '{node.name[:60]}' is not known to be harmless",
                    hint="Compute it in a refine step instead",
                )
        elif type(node).__name__ not in _ALLOWED:
            what = (
                f"function {node.sql_name()}" if isinstance(node, exp.Func) else type(node).__name__.upper()
            )
            raise ConfigError(f"the query may only read, found {what}")
        _admit_details(node)


def _admit_oracle_names(tree: "exp.Expr") -> None:
    """Oracle calls a function without brackets: a qualified name must be that of a relation in the query."""
    from sqlglot import exp

    tables = list(tree.find_all(exp.Table))
    known = {name.upper() for node in (*tables, *tree.find_all(exp.Subquery, exp.CTE))
             for name in (node.alias, node.name) if name}  # fmt: skip
    for column in tree.find_all(exp.Column):
        if column.name.upper() in ("NEXTVAL", "CURRVAL"):
            raise ConfigError("the query may only read, found a sequence")
        if column.table and column.table.upper() not in known:
            raise ConfigError(f"'{column.table[:60]}' is no table of the query")
    if any("@" in part.name for table in tables for part in table.parts):
        raise ConfigError("the query may not read through a database link")


def _admit_details(node: "exp.Expr") -> None:
    from sqlglot import exp

    if isinstance(node, exp.Select) and any(
        node.args.get(k) for k in ("into", "locks", "hint", "operation_modifiers")
    ):
        raise ConfigError("the query may only read, found INTO, a lock or a hint")
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Func):
        raise ConfigError("the query may not call a function by its schema")
    if isinstance(node, exp.Table) and not isinstance(node.this, exp.Identifier):
        raise ConfigError("the query may not call a table function")
    if isinstance(node, exp.Lateral) and not isinstance(node.this, exp.Subquery):
        raise ConfigError("the query may not call a table function")
    if isinstance(node, exp.Pad) and not (
        isinstance(node.expression, exp.Literal)
        and node.expression.is_int
        and int(node.expression.this) <= MAX_PAD
    ):
        raise ConfigError(f"padding needs a number up to {MAX_PAD} as its length")
    if isinstance(node, exp.DataType) and node.this in (exp.DType.USERDEFINED, exp.DType.UNKNOWN):
        raise ConfigError("the query may not cast to a type of the user's own")
