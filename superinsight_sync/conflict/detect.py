"""Which fields of which entities are in conflict: a three-way comparison with the last state that all sources shared.

Everything is computed from the set of the records' versions, so the order in which they came means nothing. Works on
a DuckDB in which `versions` holds every version of the records of some entities:

| column | meaning |
|---|---|
| `eid`, `rid` | the entity and the record |
| `stream`, `place`, `key` | whose record it is, that stream's number in the declaration, and its key |
| `seq` | the version's number among those of its record, from 1 |
| `as_of`, `version`, `load` | when the source had it, its version number, the load that brought it |
| `gone` | whether the record was deleted |
| `unfit` | JSON: field → the text of a value that does not fit the field's type |
| `f_<field>` | the fields, in their types |
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from superinsight_sync.core.sql import literal, quote
from superinsight_sync.model.entity import FIELD_PREFIX

if TYPE_CHECKING:
    import duckdb

CLAIMS = "claims"
"""Table of the claims that contend for a field: eid, rid, stream, place, value, text (if it does not fit), as_of,
version, load."""
CASES = "cases"
"""Table of the fields in question: eid, type (NULL: an update that the others have not followed yet), base (a struct
`v`; NULL: there is none), base_at."""


def make_current(duck: "duckdb.DuckDBPyConnection", fields: Sequence[str]) -> None:
    """Makes `current`: the newest version of each record, whether it `counts`, and which values were `cleared`.

    The records of a thing that are not gone count; of one whose records are all gone, all do.
    """
    cleared = [
        f"{column_of(f)} IS NULL AND bool_or({column_of(f)} IS NOT NULL) OVER w AS cleared_{i}"
        for i, f in enumerate(fields)
    ]
    listed = ", ".join([*map(column_of, fields), *cleared])
    duck.execute(
        f"""CREATE OR REPLACE TABLE current AS
        SELECT *, NOT gone OR bool_and(gone) OVER (PARTITION BY eid) AS counts FROM (
            SELECT eid, rid, stream, place, key, seq, as_of, version, load, gone, unfit, {listed},
                   min(as_of) OVER w AS first_at
            FROM versions WINDOW w AS (PARTITION BY rid)
            QUALIFY seq = max(seq) OVER w)"""  # noqa: S608 - quoted names
    )


def make_agreed(duck: "duckdb.DuckDBPyConnection", fields: Sequence[str]) -> list[str]:
    """Makes `agreed`: eid, and for each field a value and whether it is `disputed_<number>`. The fields that are."""
    parts = []
    for i, name in enumerate(fields):
        column = column_of(name)
        unfit = f"json_extract_string(unfit, {literal(_path(name))}) IS NOT NULL"
        parts.append(f"min({column}) FILTER (counts) AS {column}")
        parts.append(
            f"(min({column}) FILTER (counts) IS DISTINCT FROM max({column}) FILTER (counts)"
            f" OR (count({column}) FILTER (counts) > 0 AND bool_or(cleared_{i}) FILTER (counts))"
            f" OR bool_or(unfit IS NOT NULL AND {unfit}) FILTER (counts)) AS disputed_{i}"
        )
    duck.execute(
        f"CREATE OR REPLACE TABLE agreed AS SELECT eid, {', '.join(parts)} FROM current GROUP BY eid"  # noqa: S608 - quoted names
    )
    flags = ", ".join(f"coalesce(bool_or(disputed_{i}), false)" for i in range(len(fields)))
    (found,) = duck.execute(f"SELECT {flags} FROM agreed").fetchall()  # noqa: S608 - numbers
    return [name for name, is_disputed in zip(fields, found, strict=True) if is_disputed]


def column_of(field: str) -> str:
    """The column that a field has while entities are resolved."""
    return quote(FIELD_PREFIX + field)


def _path(name: str) -> str:
    return f'$."{name}"'


def find_in_field(duck: "duckdb.DuckDBPyConnection", number: int, name: str) -> None:
    """Makes `claims` and `cases` of one field."""
    column = column_of(name)
    duck.execute(
        f"""CREATE OR REPLACE TABLE told AS
        SELECT *, max(said_at) OVER (PARTITION BY rid ORDER BY seq) AS as_of FROM (
            SELECT v.eid, v.rid, v.stream, v.place, v.seq, v.as_of AS said_at, v.version, v.load, v.gone,
                   v.{column} AS value, json_extract_string(v.unfit, {literal(_path(name))}) AS text,
                   bool_or(v.{column} IS NOT NULL OR text IS NOT NULL) OVER w AS claims,
                   lag(v.{column}) OVER w IS DISTINCT FROM v.{column} OR v.seq = 1 AS changed
            FROM versions v JOIN agreed a ON a.eid = v.eid AND a.disputed_{number}
            WINDOW w AS (PARTITION BY v.rid ORDER BY v.seq))"""  # noqa: S608 - quoted names
    )
    _find_bases(duck)
    duck.execute(
        """CREATE OR REPLACE TABLE stands AS
        SELECT t.eid, t.rid, t.stream, t.place, arg_max(struct_pack(v := t.value), t.seq).v AS value,
               arg_max(struct_pack(v := t.text), t.seq).v AS text,
               max(t.said_at) FILTER (t.changed) AS as_of, max(t.version) AS version,
               arg_max(t.load, t.seq) FILTER (t.changed) AS load, max(t.seq) AS versions,
               any_value(b.base) AS base, any_value(b.as_of) AS base_at,
               coalesce(min(t.as_of) FILTER (t.claims) <= any_value(b.as_of), false) AS knew
        FROM told t SEMI JOIN (SELECT rid FROM current WHERE counts) c ON c.rid = t.rid
        LEFT JOIN bases b ON b.eid = t.eid
        GROUP BY t.eid, t.rid, t.stream, t.place HAVING bool_or(t.claims)"""
    )
    _compare(duck)


def _find_bases(duck: "duckdb.DuckDBPyConnection") -> None:
    """Makes `bases` (eid, base, as_of): what all records said when they last said the same, and since when."""
    duck.execute(
        """CREATE OR REPLACE TABLE bases AS
        WITH moments AS (SELECT DISTINCT eid, as_of FROM told),
             points AS (SELECT * FROM told QUALIFY seq = max(seq) OVER (PARTITION BY rid, as_of)),
             asked AS (SELECT eid, rid, m.as_of FROM (SELECT DISTINCT eid, rid FROM told) r JOIN moments m USING (eid)),
             states AS (SELECT asked.eid, asked.as_of, p.value, p.text FROM asked ASOF JOIN points p
                        ON p.rid = asked.rid AND p.as_of <= asked.as_of WHERE p.claims AND NOT p.gone)
        SELECT eid, arg_max(struct_pack(v := value), as_of) AS base, max(as_of) AS as_of FROM (
            SELECT eid, as_of, max(value) AS value FROM states GROUP BY eid, as_of
            HAVING count(*) > 1 AND count(text) = 0
               AND (count(value) = 0 OR (count(value) = count(*) AND min(value) = max(value))))
        GROUP BY eid"""
    )


def _compare(duck: "duckdb.DuckDBPyConnection") -> None:
    """Makes `cases` and `claims` of what each record says now (`stands`) and of what it was when all agreed."""
    differs = "(s.text IS NOT NULL OR s.base IS NULL OR s.value IS DISTINCT FROM s.base.v)"
    duck.execute(
        f"""CREATE OR REPLACE TABLE {CASES} AS
        SELECT eid, any_value(base) AS base, any_value(base_at) AS base_at,
               coalesce(bool_or(knew) FILTER ({differs}), false) AS followed,
               CASE WHEN count(DISTINCT coalesce(text, CAST(value AS VARCHAR), '')) FILTER ({differs}) = 1
                         AND count(DISTINCT (value IS NULL)) FILTER ({differs}) = 1
                         AND bool_or(knew) FILTER ({differs}) AND count(text) = 0 THEN NULL
                    WHEN count(text) > 0 THEN 'type'
                    WHEN any_value(base) IS NOT NULL AND bool_and(knew) FILTER ({differs}) THEN 'update/update'
                    WHEN max(versions) = 1 THEN 'insert/insert'
                    ELSE 'value' END AS type
        FROM stands s GROUP BY eid"""  # noqa: S608 - our own names
    )
    duck.execute(
        f"""CREATE OR REPLACE TABLE {CLAIMS} AS
        SELECT s.eid, s.rid, s.stream, s.place, s.value, s.text, s.as_of, s.version, s.load
        FROM stands s JOIN {CASES} c ON c.eid = s.eid WHERE {differs} OR NOT c.followed"""  # noqa: S608
    )


def find_deletes(duck: "duckdb.DuckDBPyConnection", fields: Sequence[str]) -> None:
    """Makes `claims` and `cases` of things that one stream deleted and another did not; `value` is: is it gone?

    A record that is not gone contends if it changed, after the deleting stream had last seen the thing, into something
    else than that stream knew. Where none did, the delete is an update that the others have not followed.
    """
    same = " AND ".join(
        f"(l.{column_of(f)} IS NULL OR g.{column_of(f)} IS NULL OR l.{column_of(f)} = g.{column_of(f)})"
        for f in fields
    )
    duck.execute(
        f"""CREATE OR REPLACE TABLE {CLAIMS} AS
        WITH half AS (SELECT eid FROM current GROUP BY eid HAVING bool_or(gone) AND NOT bool_and(gone)),
             mine AS (SELECT c.* FROM current c SEMI JOIN half h ON h.eid = c.eid),
             deleted AS (SELECT m.*, v.as_of AS seen_at FROM mine m LEFT JOIN (
                         SELECT rid, max(as_of) AS as_of FROM versions WHERE NOT gone GROUP BY rid) v ON v.rid = m.rid
                         WHERE m.gone),
             kept AS (SELECT DISTINCT l.* FROM mine l JOIN deleted g ON g.eid = l.eid
                      WHERE NOT l.gone AND l.as_of > coalesce(g.seen_at, g.as_of) AND NOT ({same}))
        SELECT eid, rid, stream, place, gone AS value, CAST(NULL AS VARCHAR) AS text, as_of, version, load
        FROM (SELECT eid, rid, stream, place, gone, as_of, version, load FROM deleted
              UNION ALL SELECT eid, rid, stream, place, gone, as_of, version, load FROM kept)"""  # noqa: S608 - quoted names
    )
    duck.execute(
        f"""CREATE OR REPLACE TABLE {CASES} AS
        SELECT eid, struct_pack(v := false) AS base, CAST(NULL AS TIMESTAMPTZ) AS base_at, true AS followed,
               CASE WHEN bool_or(NOT value) THEN 'update/delete' END AS type FROM {CLAIMS} GROUP BY eid"""  # noqa: S608
    )
