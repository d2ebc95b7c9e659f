"""What rows a SELECT makes: of one row each or of several, by unnesting lists and JSON."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp

_JSON_ROW = ("key", "value", "type", "atom", "id", "parent", "fullkey", "path")
JSON_TABLES = dict.fromkeys(("json_each", "json_tree"), _JSON_ROW)
"""Functions that make rows of one JSON text, and the columns of these rows."""


def carry(tree: "exp.Query", columns: Sequence[str]) -> None:
    """Adds columns of the one table that the rows are made of, if it is so."""
    from sqlglot import exp

    if not isinstance(tree, exp.Select) or any(
        tree.args.get(k) for k in ("with_", "group", "having", "distinct")
    ):
        return
    first = tree.args["from_"].this if tree.args.get("from_") else None
    if not isinstance(first, exp.Table) or isinstance(first.this, exp.Anonymous):
        return
    if not all(_unnests(join) for join in tree.args.get("joins") or ()):
        return
    if any(a.parent_select is tree and not a.find_ancestor(exp.Window) for a in tree.find_all(exp.AggFunc)):
        return
    for name in columns:
        tree.select(
            exp.column(exp.to_identifier(name, quoted=True), first.alias_or_name, quoted=True), copy=False
        )


def _unnests(join: "exp.Join") -> bool:
    from sqlglot import exp

    made = join.this
    inner = (join.args.get("side") or "", join.args.get("kind") or "")
    if not set(inner) <= {"", "CROSS", "INNER", "LEFT"}:
        return False
    return isinstance(made, exp.Unnest) or (
        isinstance(made, exp.Table) and isinstance(made.this, exp.Anonymous)
    )


def with_plain_tables(tree: "exp.Query") -> "exp.Query":
    """Gives what `unnest` and `json_each` make the form of a subquery, in which lineage finds its way."""
    from sqlglot import exp

    for made in list(tree.find_all(exp.Unnest, exp.Table)):
        select = made.parent_select
        source = select.args["from_"].this if select is not None and select.args.get("from_") else None
        if source is made or not isinstance(source, exp.Table):
            continue
        if isinstance(made, exp.Unnest):
            names = made.alias_column_names or ["unnest"]
            value = made.expressions[0]
        elif isinstance(made.this, exp.Anonymous):
            names, value = [*JSON_TABLES[made.this.name.lower()]], made.this.expressions[0]
        else:
            continue
        columns = [exp.alias_(value.copy(), name, quoted=True) for name in names]
        rows = exp.select(*columns).from_(source.copy())
        made.replace(rows.subquery(made.alias_or_name or made.name, copy=False))
    return tree
