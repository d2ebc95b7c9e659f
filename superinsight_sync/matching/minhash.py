"""MinHash: texts whose sets of three-letter pieces overlap share a band with high probability.

After Broder, "On the resemblance and containment of documents", 1997, with bands after Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3: 16 bands of 4 hashes find 95 % of the pairs of Jaccard similarity 0.65.
"""

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing

BANDS, ROWS = 16, 4
SHINGLE = 3
_BATCH = 8_192
_SEED = 20_261_201
_FIRST_PART = 1_000
"""Parts of a match from here on are bands."""


def bands(duck: "duckdb.DuckDBPyConnection", rows: str, column: str, match: int, into: str) -> None:
    """Adds the bands of a text column of `rows` to the table `into` (node, match, part, grp)."""
    reader = duck.cursor().sql(
        f"SELECT _node AS node, CAST({column} AS VARCHAR) AS text FROM {rows} WHERE text IS NOT NULL"  # noqa: S608 - quoted names
    )
    for batch in reader.to_arrow_reader(_BATCH):
        found = _batch(batch)
        duck.register("_bands", found)
        duck.execute(f"INSERT INTO {into} SELECT DISTINCT node, {match}, part, grp FROM _bands")  # noqa: S608
        duck.unregister("_bands")


def signatures(texts: list[str]) -> "np.typing.NDArray[np.uint64]":
    """One row of `BANDS * ROWS` hashes for each text, uint64; equal on every machine."""
    import zlib

    import numpy as np

    generator = np.random.Generator(np.random.PCG64(_SEED))
    factor = generator.integers(1, 1 << 62, size=(BANDS * ROWS, 1), dtype=np.uint64) | np.uint64(1)
    offset = generator.integers(0, 1 << 62, size=(BANDS * ROWS, 1), dtype=np.uint64)
    found = np.empty((len(texts), BANDS * ROWS), dtype=np.uint64)
    for number, text in enumerate(texts):
        plain = " ".join(text.casefold().split()) or " "
        pieces = {plain[i : i + SHINGLE] for i in range(max(1, len(plain) - SHINGLE + 1))}
        hashed = np.fromiter(
            (zlib.crc32(p.encode("utf-8", "surrogatepass")) for p in pieces), np.uint64, len(pieces)
        )
        mixed = factor * (hashed + np.uint64(0x9E3779B97F4A7C15)) + offset
        found[number] = (mixed ^ (mixed >> np.uint64(29))).min(axis=1)
    return found


def _batch(batch: pa.RecordBatch) -> pa.Table:
    made = signatures(batch.column("text").to_pylist()).reshape(batch.num_rows, BANDS, ROWS)
    names = [cell.tobytes().hex() for row in made for cell in row]
    nodes = batch.column("node").take(pa.array([i for i in range(batch.num_rows) for _ in range(BANDS)]))
    parts = pa.array([_FIRST_PART + b for b in range(BANDS)] * batch.num_rows, pa.int32())
    return pa.table({"node": nodes, "part": parts, "grp": pa.array(names, pa.string())})
