"""Which records are looked at again, and which of them are one thing.

After a change that is: the changed records, whatever shares a key or a block with one of their versions, and all
records of the entities that these are in. What matches between other records is what it was.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from superinsight_sync.conflict.detect import column_of
from superinsight_sync.conflict.resolve import Fields, resolve_entities
from superinsight_sync.core.errors import DataError
from superinsight_sync.core.sql import literal, quote
from superinsight_sync.matching.clusters import cluster
from superinsight_sync.matching.edges import MAX_BLOCK, group_keys, make_edges, make_groups
from superinsight_sync.model.entity import FIELD_PREFIX, EntitySpec, MatchSpec
from superinsight_sync.state.reviews import Decision

if TYPE_CHECKING:
    import duckdb

_KEPT = ("rid", "stream", "key", "as_of", "version", "gone", "unfit", "load")


class Scope:
    """The records that are looked at.

    Args:
        duck: where `all_records` is what `entity_records` keeps, and `old` the entities as they are published.
        fields: the entity's fields.
        standing: the decisions that stand.
    """

    def __init__(
        self,
        duck: "duckdb.DuckDBPyConnection",
        spec: EntitySpec,
        fields: Sequence[str],
        standing: Sequence[Decision],
    ) -> None:
        self._duck, self._spec, self._fields, self._standing = duck, spec, tuple(fields), standing
        undone = ", ".join(literal(str(d.detail["load"])) for d in standing if d.kind == "undo_load")
        counts = f"WHERE load NOT IN ({undone})" if undone else ""
        duck.execute(f"CREATE OR REPLACE VIEW records AS SELECT * FROM all_records {counts}")  # noqa: S608 - quoted
        splits = [(rid, d.id) for d in standing if d.kind == "split" for rid in d.detail["records"]]
        self._register("splits", {"rid": [s[0] for s in splits], "id": [str(s[1]) for s in splits]})
        self.warnings: list[str] = []

    def _register(self, name: str, columns: dict[str, list[str]]) -> None:
        self._duck.register("_given", pa.table({n: pa.array(v, pa.string()) for n, v in columns.items()}))
        self._duck.execute(f"CREATE OR REPLACE TABLE {name} AS FROM _given")
        self._duck.unregister("_given")

    def everything(self) -> None:
        """Looks at all records."""
        self._make_versions("")

    def changed(self, loads: Sequence[str], decided: Sequence[Decision]) -> int:
        """Looks at what new loads of records and changed decisions touch; how many records these name.

        Makes `replaced`, the published entities that are made anew.
        """
        duck = self._duck
        new = ", ".join(map(literal, loads)) or "NULL"
        undone = ", ".join(literal(str(d.detail["load"])) for d in decided if d.kind == "undo_load") or "NULL"
        named = [d.entity_id for d in decided if d.entity_id is not None]
        named += [rid for d in decided if d.kind == "split" for rid in d.detail["records"]]
        self._register("named", {"rid": named})
        duck.execute(
            f"""CREATE OR REPLACE TABLE seeds AS SELECT rid FROM named UNION
            SELECT rid FROM all_records WHERE _sis_load_id IN ({new}) OR load IN ({undone})"""  # noqa: S608 - quoted
        )
        ((count,),) = duck.execute("SELECT count(*) FROM seeds").fetchall()
        if count:
            self._spread()
            self._make_versions("SEMI JOIN scope s ON s.rid = r.rid")
        return int(count)

    def _spread(self) -> None:
        duck = self._duck
        duck.execute(
            "CREATE OR REPLACE TABLE seed_rows AS SELECT r.* FROM all_records r SEMI JOIN seeds s ON s.rid = r.rid"
        )
        duck.execute("CREATE OR REPLACE TABLE near AS FROM seeds")
        for match in self._spec.match:
            for parts in group_keys(match, self._fields):
                listed = ", ".join(f"{p} AS k{n}" for n, p in enumerate(parts))
                names = [f"k{n}" for n in range(len(parts))]
                meet = " AND ".join(f"x.{n} = y.{n}" for n in names)
                duck.execute(
                    f"""INSERT INTO near SELECT DISTINCT x._rid FROM (
                        SELECT _node AS _rid, {listed} FROM ({self._plain("records")})) x
                    SEMI JOIN (SELECT DISTINCT {listed} FROM ({self._plain("seed_rows")})) y ON {meet}"""  # noqa: S608 - checked by group_keys
                )
        duck.execute(
            """CREATE OR REPLACE TABLE replaced AS
            SELECT DISTINCT entity_id FROM (
                SELECT entity_id, entity_id AS rid FROM old UNION ALL SELECT entity_id, unnest(aliases) FROM old) m
            SEMI JOIN near n ON n.rid = m.rid"""
        )
        duck.execute(
            """CREATE OR REPLACE TABLE scope AS SELECT rid FROM near UNION SELECT entity_id FROM replaced
            UNION SELECT unnest(aliases) FROM old SEMI JOIN replaced r ON r.entity_id = old.entity_id"""
        )

    def _make_versions(self, where: str) -> None:
        """Makes `seen`: the versions that count of the records looked at, numbered within their record."""
        listed = ", ".join(f"r.{quote(n)}" for n in (*_KEPT, *(FIELD_PREFIX + f for f in self._fields)))
        place = " ".join(f"WHEN {literal(s.stream)} THEN {n}" for n, s in enumerate(self._spec.streams))
        self._duck.execute(
            f"""CREATE OR REPLACE TABLE seen AS SELECT {listed}, CASE r.stream {place} END AS place,
            row_number() OVER (PARTITION BY r.rid ORDER BY r.version NULLS FIRST, r.as_of, r._sis_hash) AS seq
            FROM records r {where}"""  # noqa: S608 - quoted names
        )

    def _plain(self, rows: str) -> str:
        """Rows with `_node`, the record, and the fields under their own names, as users' expressions name them."""
        named = ", ".join(f"{column_of(f)} AS {quote(f)}" for f in self._fields)
        return f"SELECT rid AS _node, {named} FROM {rows}"  # noqa: S608 - quoted names

    # matching

    def match(self) -> None:
        """Makes `versions`, the versions with their entity: what `conflict.detect` works on.

        The id of an entity is that of the record among its own that is the oldest; where several entities join, one of
        their ids is it, and the others stay as aliases.
        """
        duck = self._duck
        duck.execute(
            f"""CREATE OR REPLACE TABLE nodes AS SELECT p.*, coalesce(t.tag, '') AS _tag
            FROM ({self._plain("(FROM seen QUALIFY seq = max(seq) OVER (PARTITION BY rid))")}) p
            LEFT JOIN (SELECT rid, string_agg(id, ' ' ORDER BY id) AS tag FROM splits GROUP BY rid) t
            ON t.rid = p._node"""  # noqa: S608
        )
        make_groups(duck, self._spec.match, self._fields, "nodes", "grouped")
        self._make_sizes()
        limits = {n: self._most(m) for n, m in enumerate(self._spec.match)}
        make_edges(duck, self._spec.match, "nodes", "sized", limits, "edges")
        cluster(duck, "(SELECT _node AS node FROM nodes)", "edges", "labels")
        duck.execute(
            """CREATE OR REPLACE TABLE members AS
            SELECT l.node AS rid,
                   min(struct_pack(as_of := f.as_of, rid := f.rid)) OVER (PARTITION BY l.label).rid AS eid
            FROM labels l JOIN (SELECT rid, min(as_of) AS as_of FROM seen GROUP BY rid) f ON f.rid = l.node"""
        )
        duck.execute(
            "CREATE OR REPLACE TABLE versions AS SELECT s.*, m.eid FROM seen s JOIN members m ON m.rid = s.rid"
        )

    def _most(self, match: MatchSpec) -> int:
        return self._spec.max_group if match.equal else MAX_BLOCK

    def _make_sizes(self) -> None:
        """Makes `sized`: the groups with the number of all records in them, also of those that are not looked at."""
        duck = self._duck
        duck.execute("CREATE OR REPLACE TABLE sizes (match INTEGER, part INTEGER, grp VARCHAR, size BIGINT)")
        for number, match in enumerate(self._spec.match):
            for part, parts in enumerate(group_keys(match, self._fields)):
                listed = ", ".join(f"{p} AS k{n}" for n, p in enumerate(parts))
                names = [f"k{n}" for n in range(len(parts))]
                key = f"CAST(to_json([{', '.join(f'CAST({n} AS VARCHAR)' for n in names)}]) AS VARCHAR)"
                meet = " AND ".join(f"x.{n} = y.{n}" for n in names)
                duck.execute(
                    f"""INSERT INTO sizes SELECT {number}, {part}, {key}, count(DISTINCT _rid)
                    FROM (SELECT _node AS _rid, {listed} FROM ({self._plain("records")})) x
                    SEMI JOIN (SELECT DISTINCT {listed} FROM nodes) y ON {meet}
                    GROUP BY {", ".join(names)}"""  # noqa: S608 - checked by group_keys
                )
        duck.execute(
            """INSERT INTO sizes SELECT match, part, grp, count(*) FROM grouped g
            ANTI JOIN (SELECT DISTINCT match, part FROM sizes) s USING (match, part) GROUP BY match, part, grp"""
        )
        duck.execute(
            "CREATE OR REPLACE TABLE sized AS SELECT g.*, s.size FROM grouped g JOIN sizes s USING (match, part, grp)"
        )
        for number, match in enumerate(self._spec.match):
            ((large,),) = duck.execute(
                f"SELECT count(*) FROM sizes WHERE match = {number} AND size > {self._most(match)}"  # noqa: S608
            ).fetchall()
            if large:
                self.warnings.append(
                    f"match {number + 1}: {large} values are shared by more than {self._most(match)} records each and "
                    "join none of them"
                )

    # entities

    def resolve(self, fields: Fields) -> None:
        """Makes `made`, the entities of the records looked at, and `found_conflicts`.

        Raises DataError if the merge check fails.
        """
        self.match()
        self._give_decisions()
        made = resolve_entities(self._duck, self._spec, fields)
        self._duck.execute(f"CREATE OR REPLACE TABLE made AS {made}")
        self.check()

    def _give_decisions(self) -> None:
        """Makes `decisions`, each with the entity that the record it names is in now, and `weights`."""
        duck = self._duck
        rows = [d for d in self._standing if d.kind == "resolve"]
        given: dict[str, Any] = {
            "id": pa.array([d.id for d in rows], pa.int64()),
            "field": pa.array([d.field for d in rows], pa.string()),
            "rid": pa.array([d.entity_id for d in rows], pa.string()),
            "decided_at": pa.array([d.at for d in rows], pa.timestamp("us", "UTC")),
        }
        for name in ("signature", "choice", "text"):
            given[name] = pa.array([d.detail.get(name) for d in rows], pa.string())
        given["hashes"] = pa.array([d.detail["hashes"] for d in rows], pa.list_(pa.string()))
        duck.register("_decisions", pa.table(given))
        duck.execute(
            "CREATE OR REPLACE TABLE decisions AS SELECT d.*, m.eid FROM _decisions d JOIN members m ON m.rid = d.rid"
        )
        duck.unregister("_decisions")
        learned = [d.detail["weights"] for d in self._standing if d.kind == "trust"][-1:]
        weights = [(f, s, w) for of in learned for f, streams in of.items() for s, w in streams.items()]
        columns = [("field", pa.string()), ("stream", pa.string()), ("weight", pa.float64())]
        table = pa.table({n: pa.array([w[i] for w in weights], kind) for i, (n, kind) in enumerate(columns)})
        duck.register("_weights", table)
        duck.execute("CREATE OR REPLACE TABLE weights AS FROM _weights")
        duck.unregister("_weights")

    def check(self) -> None:
        """Raises DataError if a record is in no entity or in two: nothing is published then."""
        ((records, members, entities, ids, taken),) = self._duck.execute(
            """SELECT (SELECT count(DISTINCT rid) FROM seen), (SELECT coalesce(sum(len(aliases) + 1), 0) FROM made),
                      (SELECT count(*) FROM made), (SELECT count(DISTINCT entity_id) FROM made),
                      (SELECT count(*) FROM made m SEMI JOIN (
                          SELECT entity_id FROM old ANTI JOIN replaced r ON r.entity_id = old.entity_id) k
                       ON k.entity_id = m.entity_id)"""
        ).fetchall()
        if records != members or entities != ids or taken:
            raise DataError(
                f"the merge check failed: {records} records are in {members} places, {entities} entities have {ids}"
                f" ids, {taken} ids are taken",
                hint="Nothing was published. Run it with --force, and report this",
            )


def needs_everything(spec: EntitySpec) -> bool:
    """Whether a change of one record may touch any other: the bands of `minhash` are not kept."""
    return any(m.minhash is not None for m in spec.match)
