"""Names in a SELECT: DuckDB does not tell `Amount` from `amount`, and gives each output one spelling."""

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope

Lineage = Mapping[str, tuple[tuple[str, str], ...]]
_Spelled = dict[str, str]
"""Folded name → as it is spelled."""


def folded(tree: "exp.Query") -> "exp.Query":
    """A copy in which names that DuckDB takes for one are equal."""
    from sqlglot import exp

    copy = tree.copy()
    for identifier in copy.find_all(exp.Identifier):
        identifier.set("this", identifier.name.casefold())
    return copy


def folded_tables(tables: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """The same for tables and their columns."""
    return {table.casefold(): [c.casefold() for c in columns] for table, columns in tables.items()}


def respelled(lineage: Lineage, tree: "exp.Query", tables: Mapping[str, Collection[str]]) -> Lineage:
    """A lineage in folded names with those of the output and of the tables.

    An output is called as its AS says; without one as its column is in the table or query it comes from.
    """
    known = {t.casefold(): t for t in tables}
    columns = {t.casefold(): {c.casefold(): c for c in names} for t, names in tables.items()}
    outputs = _outputs(tree, columns)
    return {
        outputs.get(name, name): tuple(
            sorted((known.get(t, t), columns.get(t, {}).get(c, c)) for t, c in leaves)
        )
        for name, leaves in lineage.items()
    }


def plain_lineage(scope: "Scope") -> dict[str, set[tuple[str, str]]]:
    """Output → (table, column) pairs of a qualified query, in one walk; outputs with subqueries are left out.

    sqlglot's own lineage walks the whole query for each column: minutes for a thousand of them.
    """
    from sqlglot import exp

    if isinstance(scope.expression, exp.SetOperation):
        left, right = (list(plain_lineage(s).values()) for s in scope.set_operation_scopes)
        names = [projection.alias_or_name for projection in scope.expression.selects]
        whole = len(left) == len(right) == len(names)
        return (
            dict(zip(names, (a | b for a, b in zip(left, right, strict=True)), strict=True)) if whole else {}
        )
    if not isinstance(scope.expression, exp.Select):
        return {}
    known: dict[str, dict[str, set[tuple[str, str]]]] = {}
    found: dict[str, set[tuple[str, str]]] = {}
    for projection in scope.expression.selects:
        leaves: set[tuple[str, str]] | None = set()
        for column in projection.find_all(exp.Column):
            leaves = _plus(leaves, column, scope, known)
        if leaves is not None and not projection.is_star and not projection.find(exp.Query, exp.UDTF):
            found[projection.alias_or_name] = leaves
    return found


def _plus(
    leaves: set[tuple[str, str]] | None,
    column: "exp.Column",
    scope: "Scope",
    known: dict[str, dict[str, set[tuple[str, str]]]],
) -> set[tuple[str, str]] | None:
    """The leaves and those of one column more; None if they cannot be told."""
    from sqlglot import exp

    source = scope.sources.get(column.table)
    if leaves is None or source is None:
        return None
    if isinstance(source, exp.Table):
        return leaves | {(source.name, column.name)}
    if column.table not in known:
        known[column.table] = plain_lineage(source)
    inner = known[column.table]
    return leaves | inner[column.name] if column.name in inner else None


def _outputs(query: "exp.Expr", tables: Mapping[str, _Spelled]) -> _Spelled:
    """The names a query gives, as far as they can be told; a star's may be more than it has."""
    from sqlglot import exp

    tables = dict(tables)
    with_ = query.args.get("with_")
    for cte in with_.expressions if with_ else ():
        tables[cte.alias.casefold()] = _renamed(_outputs(cte.this, tables), cte)
    if isinstance(query, exp.SetOperation | exp.Subquery):
        return _outputs(query.this, tables)
    if not isinstance(query, exp.Select):
        return {}
    sources = dict(_sources(query, tables))
    found: _Spelled = {}
    for projection in query.expressions:
        if projection.is_star:
            for name, spelled in _starred(projection, sources).items():
                found.setdefault(name, spelled)
    for projection in query.expressions:
        if isinstance(projection, exp.Column) and not projection.is_star:
            found[projection.name.casefold()] = _spelling(projection, sources)
        elif not projection.is_star:
            found[projection.alias_or_name.casefold()] = projection.alias_or_name
    return found


def _sources(select: "exp.Select", tables: Mapping[str, _Spelled]) -> Iterator[tuple[str, _Spelled]]:
    """What the FROM reads, by folded alias, with its columns."""
    from sqlglot import exp

    first = select.args.get("from_")
    for source in [*([first.this] if first else []), *(join.this for join in select.args.get("joins") or ())]:
        columns: _Spelled = {}
        if isinstance(source, exp.Table):
            columns = tables.get(source.name.casefold(), {})
        elif isinstance(source, exp.Subquery):
            columns = _outputs(source.this, tables)
        yield source.alias_or_name.casefold(), _renamed(columns, source)


def _renamed(columns: _Spelled, source: "exp.Expr") -> _Spelled:
    """With the names in `AS t(a, b)`, which are those of the first columns."""
    names = source.alias_column_names
    given = {name.casefold(): name for name in names}
    return given | dict(list(columns.items())[len(names) :]) if names else columns


def _starred(projection: "exp.Expr", sources: Mapping[str, _Spelled]) -> _Spelled:
    from sqlglot import exp

    table = getattr(projection, "table", "").casefold()
    found: _Spelled = {}
    for alias, columns in sources.items():
        for name, spelled in columns.items() if table in ("", alias) else ():
            found.setdefault(name, spelled)
    star = projection.find(exp.Star)
    for rename in (star.args.get("rename") if star else None) or ():
        found[rename.alias.casefold()] = rename.alias
    return found


def _spelling(column: "exp.Column", sources: Mapping[str, _Spelled]) -> str:
    name, table = column.name.casefold(), column.table.casefold()
    for alias, columns in sources.items():
        if table in ("", alias) and name in columns:
            return columns[name]
    return column.name
