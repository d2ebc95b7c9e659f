"""Steps as a chain of views over one table of raw rows.

Rows are stored once, as they came. A step is a view on the step before it; what fails or is a duplicate is
written down by row number in a narrow table, and the first view leaves those rows out, so all later ones do.
Only a step that makes new rows (sql) stores rows again, as the next base of the chain.
"""

# ruff: noqa: S608 - every name in this SQL is quoted or made here, every expression comes compiled by a step

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from superinsight_sync.core.duckdb_lookups import look_up
from superinsight_sync.core.duckdb_secrets import add_secrets
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import literal, quote
from superinsight_sync.model.tables import EXTRACTED_AT, HASH, LOAD_ID, PARTITION, SYSTEM_COLUMNS, is_system
from superinsight_sync.transform.columns import unchanged
from superinsight_sync.transform.parts import Part, shared_out
from superinsight_sync.transform.protocol import Compiled, Reject


def _nothing(column: str) -> str:
    """NULL of a column's type."""
    return f"(SELECT max({quote(column)}) FROM input WHERE false)"


_NULL_TYPES = {LOAD_ID: "VARCHAR", EXTRACTED_AT: "TIMESTAMPTZ", HASH: "VARCHAR", PARTITION: "VARCHAR"}


@dataclass(frozen=True)
class Verdict:
    """Why rows of a base are gone. `reject` is None for rows that are not wrong (duplicates)."""

    code: int
    base: int
    step: str
    reject: Reject | None


@dataclass(frozen=True)
class Base:
    """A table of stored rows: `_sis_base_<n>` with `_sis_row`, system and data columns.

    `lineage`: its data column → the raw columns its values come from.
    """

    number: int
    data: pa.Schema
    lineage: Mapping[str, tuple[str, ...]]

    @property
    def table(self) -> str:
        return f"_sis_base_{self.number}"

    @property
    def gone(self) -> str:
        return f"_sis_gone_{self.number}"


class Chain:
    """The chain so far. The first base must exist in `connection` when it is made.

    Args:
        data: the data columns of the first base.
        carried: its system columns, which go along unchanged.
        parts: of the first base's rows, which are computed a part at a time; without any, all at once.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        data: pa.Schema,
        carried: pa.Schema,
        parts: Sequence[Part] = (),
    ) -> None:
        self._con = connection
        self._first_parts = list(parts) or [Part(0, 0)]
        self.carried = carried
        self.system = tuple(dict.fromkeys((*carried.names, *SYSTEM_COLUMNS)))
        self.schema = data
        self.lineage: Mapping[str, tuple[str, ...]] = {n: (n,) for n in data.names}
        self.bases: list[Base] = []
        self.verdicts: list[Verdict] = []
        self.dropped: dict[str, int] = {}
        self._warnings: list[tuple[str, Reject]] = []
        self._flushed = 0
        self._views = 0
        self._joins = False
        self._computes = False
        self.hidden: dict[str, Callable[[str], str]] = {}
        self._start_base(Base(0, data, self.lineage), carried.names)

    @property
    def view(self) -> str:
        """Name of the view on the rows as they are now."""
        return f"_sis_view_{self._views}"

    def add(self, step: str, compiled: Compiled) -> None:
        """Appends a step. `step` names it in messages and in quarantine."""
        add_secrets(self._con, compiled.secrets)
        for column, shown in compiled.hidden.items():
            self.hidden.update(dict.fromkeys(self.lineage.get(column, ()), shown))
        if compiled.relation is not None:
            if compiled.rejects:
                self._project(step, unchanged(self.schema, rejects=compiled.rejects))
            self.flush()
            self._relate(compiled)
        elif compiled.drops is not None:
            self._project(step, compiled)
            self.flush()
            self._drop(step, compiled)
        else:
            self._project(step, compiled)
        self.lineage = {name: self._raw_columns(name, compiled) for name in self.schema.names}
        if compiled.then is not None:
            self.add(step, compiled.then(self.schema))

    def _raw_columns(self, column: str, compiled: Compiled) -> tuple[str, ...]:
        """Where the values of a column that a step gives come from."""
        inputs = compiled.lineage.get(column, ())
        return tuple(dict.fromkeys(raw for c in inputs for raw in self.lineage.get(c, (c,))))

    def flush(self) -> None:
        """Writes down which rows failed the steps added since the last time."""
        if self._flushed == len(self.verdicts):
            return
        base, rows = self.bases[-1], self.view
        if self._computes:
            rows = f"_sis_made_{self._views}"
            for number, (some, _) in enumerate(self.parts(base)):
                into = f"INSERT INTO {rows}" if number else f"CREATE TABLE {rows} AS"
                self._con.execute(f"{into} FROM {self.view} WHERE {some}")
        failed = (
            f"SELECT _sis_row, _sis_reject FROM {rows} OFFSET 0"  # else the condition moves into each CASE
        )
        self._con.execute(f"INSERT INTO {base.gone} FROM ({failed}) WHERE _sis_reject IS NOT NULL")
        self._flushed = len(self.verdicts)
        passed = f"SELECT * REPLACE (NULL::INTEGER AS _sis_reject) FROM {rows}"
        if self._computes:
            self._start_rows(f"{passed} WHERE _sis_reject IS NULL")
        else:
            self._next_view(passed)

    def parts(self, base: Base | None = None) -> list[tuple[str, int]]:
        """Conditions on `_sis_row` that part the rows of a base, in their order, and how many rows a batch of each has.

        The rows of a later base are shared out in as many parts as the first one's.
        """
        first, base = self._first_parts, base or self.bases[-1]
        if len(first) == 1:
            return [("true", first[0].batch_rows)]
        if base.number:
            first = shared_out(self.count(base.table) + 1, len(first))
        return [(part.condition, part.batch_rows) for part in first]

    def settle(self) -> bool:
        """To be called after the last step. Whether the last view gives its rows in the order they came.

        A join loses that order; the one that leaves rows out is taken away if there are none to leave out.
        """
        if self._joins or self.count(self.bases[-1].gone) > self._gone_before:
            return False
        self._con.execute(self._all_rows)
        return True

    def count(self, table: str) -> int:
        """The rows of a table or view."""
        return int(self._one(f"SELECT count(*) FROM {table}"))

    def counts_by_code(self) -> dict[int, int]:
        """How many rows are gone for each verdict."""
        counts: dict[int, int] = {}
        for base in self.bases:
            rows = self._con.execute(f"SELECT code, count(*) FROM {base.gone} GROUP BY code").fetchall()
            counts.update({int(code): int(n) for code, n in rows})
        return counts

    def warned(self) -> dict[str, int]:
        """How many of the rows that stayed a warning holds for, by its rule."""
        counts: dict[str, int] = {}
        for view, warning in self._warnings:
            n = int(self._one(f"SELECT count(*) FROM {view} WHERE ({warning.condition}) IS TRUE"))
            counts[warning.rule] = counts.get(warning.rule, 0) + n
        return counts

    def _one(self, sql: str) -> int:
        return int(self._con.execute(sql).fetchall()[0][0])

    def _next_view(self, select: str) -> None:
        self._views += 1
        self._con.execute(f"CREATE VIEW {self.view} AS {select}")

    def _start_base(self, base: Base, present: Sequence[str]) -> None:
        self.bases.append(base)
        self._con.execute(f"CREATE TABLE {base.gone} (_sis_row BIGINT, code INTEGER)")
        system = [quote(c) if c in present else f"NULL::{_NULL_TYPES[c]} AS {quote(c)}" for c in self.system]
        listed = ", ".join(
            ("_sis_row", *system, *map(quote, base.data.names), "NULL::INTEGER AS _sis_reject")
        )
        self._joins = False
        self._start_rows(f"SELECT {listed} FROM {base.table}")

    def _start_rows(self, stored: str) -> None:
        """Lets the next view be the rows of a SELECT on a table that are not gone."""
        gone = self.bases[-1].gone
        self._computes = False
        self._gone_before = self.count(gone)
        self._next_view(f"FROM ({stored}) ANTI JOIN {gone} USING (_sis_row)")
        self._all_rows = f"CREATE OR REPLACE VIEW {self.view} AS {stored}"

    def _verdict(self, step: str, reject: Reject | None) -> Verdict:
        verdict = Verdict(len(self.verdicts), self.bases[-1].number, step, reject)
        self.verdicts.append(verdict)
        return verdict

    def _project(self, step: str, compiled: Compiled) -> None:
        joins = [
            look_up(self._con, self.view, name, lookup, f"_sis_lookup_{self._views}{name}")
            for name, lookup in compiled.lookups.items()
        ]
        self._joins = self._joins or bool(joins)
        self._computes = self._computes or bool(compiled.computed)
        self._warnings += [(self.view, w) for w in compiled.warnings]
        cases = [f"WHEN ({r.condition}) IS TRUE THEN {self._verdict(step, r).code}" for r in compiled.rejects]
        reject = "_sis_reject"
        if cases:
            reject = (
                f"CASE WHEN _sis_reject IS NOT NULL THEN _sis_reject {' '.join(cases)} END AS _sis_reject"
            )
        columns = [f"{sql} AS {quote(name)}" for name, sql in compiled.columns.items()]
        listed = ", ".join(("_sis_row", *map(quote, self.system), *columns, reject))
        rows = f"{self.view} {' '.join(joins)}"
        for layer in compiled.computed:
            computed = ", ".join(f"{sql} AS {quote(name)}" for name, sql in layer.items())
            rows = f"(SELECT *, {computed} FROM {rows})"
        self._next_view(f"SELECT {listed} FROM {rows}")
        found = self._describe(self.view)
        self.schema = pa.schema([(n, compiled.types.get(n, found.field(n).type)) for n in compiled.columns])

    def _drop(self, step: str, compiled: Compiled) -> None:
        verdict = self._verdict(step, None)
        self._flushed = len(self.verdicts)
        self._con.execute(f"CREATE OR REPLACE VIEW _sis_input AS FROM {self.view}")
        gone = self.bases[-1].gone
        before = self.count(gone)
        self._con.execute(f"INSERT INTO {gone} SELECT _sis_row, {verdict.code} FROM ({compiled.drops})")
        self._count_dropped(compiled, self.count(gone) - before)

    def _relate(self, compiled: Compiled) -> None:
        before = self.count(self.view)
        data = self._open_input("false", compiled)
        lineage = {name: self._raw_columns(name, compiled) for name in data.names}
        base = Base(len(self.bases), data, lineage)
        listed = ", ".join((*map(quote, base.data.names), *self._system_values(compiled)))
        made = f"row_number() OVER () AS _sis_row, {listed} FROM ({compiled.relation})"
        self._con.execute(f"CREATE TABLE {base.table} AS SELECT {made} LIMIT 0")
        for part in self._parts():
            self._open_input(part, compiled)
            rows = self.count(base.table)
            self._con.execute(f"INSERT INTO {base.table} SELECT {rows} + {made}")
        self.schema = base.data
        self._count_dropped(compiled, before - self.count(base.table))
        self._start_base(base, self.system)

    def _parts(self) -> list[str]:
        """Which rows a SELECT sees together: those of a partition, which is replayed by itself."""
        if PARTITION not in self.carried.names:
            return ["true"]
        keys = self._con.execute(f"SELECT DISTINCT {PARTITION} FROM {self.view} ORDER BY 1").fetchall()
        return [f"{PARTITION} IS NOT DISTINCT FROM {'NULL' if k is None else literal(k)}" for (k,) in keys]

    def _open_input(self, condition: str, compiled: Compiled) -> pa.Schema:
        """Makes the table `input`, and returns the data columns that the SELECT makes of it."""
        visible = ", ".join(map(quote, (*self.schema.names, *self.system)))
        self._con.execute(
            f"CREATE OR REPLACE VIEW input AS SELECT {visible} FROM {self.view} WHERE {condition}"
        )
        found = self._describe(f"({compiled.relation})")
        data = pa.schema([f for f in found if not is_system(f.name)])
        strangers = {n for n in found.names if is_system(n)} - set(self.system)
        if strangers:
            raise ConfigError(f"column '{min(strangers)}' has a reserved name")
        if not data.names:
            raise ConfigError("the SELECT gives no data column")
        return data

    def _system_values(self, compiled: Compiled) -> list[str]:
        """The system columns of rows made by a SELECT: as it gives them, or by rule."""
        found, there = self._describe(f"({compiled.relation})"), self._describe("input")
        for name in self.system:
            if name in found.names and found.field(name).type != there.field(name).type:
                raise ConfigError(
                    f"'{name}' is no longer what it was", hint="Select it as it is, or leave it out"
                )
        names = ", ".join(quote(n) for n in found.names if not is_system(n))
        content = f"sha256(CAST(to_json(row({names})) AS VARCHAR))"
        kind = there.field(HASH).type
        if pa.types.is_integer(kind):
            content = f"CAST('0x' || left({content}, 15) AS BIGINT)"
        elif pa.types.is_binary(kind):
            content = f"from_hex({content})"
        by_rule = {c: f"(SELECT max({quote(c)}) FROM input)" for c in (LOAD_ID, EXTRACTED_AT, PARTITION)}
        by_rule[HASH] = content
        return [
            quote(c) if c in found.names else f"{by_rule.get(c, _nothing(c))} AS {quote(c)}"
            for c in self.system
        ]

    def _count_dropped(self, compiled: Compiled, rows: int) -> None:
        name = compiled.counts_dropped_as or "dropped"
        self.dropped[name] = self.dropped.get(name, 0) + rows

    def _describe(self, table: str) -> pa.Schema:
        return self._con.sql(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema
