"""Which records are one thing: the connected components of what matches what.

Every record begins as a group of its own, named by its number. In each round a group takes the least name among its
neighbours', then the name that this name has by now (hooking and pointer jumping, after Shiloach and Vishkin, 1982):
chains of any length end in few rounds. The result depends on the edges alone, not on their order.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def cluster(duck: "duckdb.DuckDBPyConnection", nodes: str, edges: str, into: str) -> None:
    """Makes the table `into` (node, label): equal labels for nodes that edges join, the least node of each.

    Args:
        nodes: a relation with the column `node`.
        edges: a relation with the columns `a` and `b`; an edge with a node that is not there joins nothing.
    """
    duck.execute(f"CREATE OR REPLACE TABLE {into} AS SELECT DISTINCT node, node AS label FROM {nodes}")  # noqa: S608 - our own names
    duck.execute(
        f"CREATE OR REPLACE TABLE _edges AS SELECT a, b FROM {edges} WHERE a <> b"  # noqa: S608 - our own names
        f" UNION SELECT b, a FROM {edges} WHERE a <> b"
    )
    while _round(duck, into):
        pass
    duck.execute("DROP TABLE _edges")


def _round(duck: "duckdb.DuckDBPyConnection", into: str) -> bool:
    """Whether a label changed. A label's own label follows a neighbour's too, so that whole groups join at once."""
    duck.execute(
        f"""CREATE OR REPLACE TABLE _hooked AS
        SELECT node, min(label) AS label FROM (
            SELECT own.label AS node, other.label AS label
            FROM _edges JOIN {into} own ON own.node = _edges.a JOIN {into} other ON other.node = _edges.b
            WHERE other.label < own.label)
        GROUP BY node"""  # noqa: S608 - our own names
    )
    (found,) = duck.execute("SELECT count(*) FROM _hooked").fetchall()
    if not found[0]:
        duck.execute("DROP TABLE _hooked")
        return False
    while True:
        duck.execute(
            """CREATE OR REPLACE TABLE _jumped AS SELECT h.node, coalesce(up.label, h.label) AS label
            FROM _hooked h LEFT JOIN _hooked up ON up.node = h.label"""
        )
        (same,) = duck.execute(
            "SELECT count(*) FROM _jumped j JOIN _hooked h USING (node) WHERE j.label <> h.label"
        ).fetchall()
        duck.execute("CREATE OR REPLACE TABLE _hooked AS FROM _jumped")
        if not same[0]:
            break
    duck.execute(
        f"""CREATE OR REPLACE TABLE {into} AS SELECT i.node, coalesce(h.label, i.label) AS label
        FROM {into} i LEFT JOIN _hooked h ON h.node = i.label"""  # noqa: S608 - our own names
    )
    duck.execute("DROP TABLE _hooked")
    duck.execute("DROP TABLE _jumped")
    return True
