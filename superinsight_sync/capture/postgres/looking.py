"""Looks now and then whether captured tables are still what they were, since the log does not tell of all.

A new column with a default, or a new type or name of a column, gives other values to records that are there. The
log has none of them, so such a table is read anew. One that was dropped, or taken out of the publication, stops the
capture.
"""

import json
from collections.abc import Iterator, Mapping

from psycopg import sql

from superinsight_sync.capture.postgres.connecting import Connection, driver_errors
from superinsight_sync.capture.protocol import LogLostError, Reread
from superinsight_sync.model.declaration import StreamSpec

_LOOK = """
    SELECT c.oid,
           EXISTS (SELECT FROM pg_publication_tables t WHERE t.pubname = {publication}
                   AND format('%I.%I', t.schemaname, t.tablename)::regclass = c.oid),
           (SELECT json_agg(json_build_array(a.attnum, a.attname, a.atttypid, a.atttypmod,
                                             a.atthasmissing OR a.atthasdef OR a.attidentity <> '' OR a.attnotnull)
                            ORDER BY a.attnum)::text
            FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')
    FROM pg_class c WHERE c.oid = ANY({tables}::oid[])"""
_VARCHAR = 1043


class Tables:
    """The captured tables of a database.

    Args:
        streams: by their tables' numbers.
        shapes: what the columns of streams were when their snapshots began.
    """

    def __init__(
        self,
        db: Connection,
        publication: str,
        streams: Mapping[int, StreamSpec],
        shapes: Mapping[str, str],
    ) -> None:
        self.streams = streams
        self._db, self._publication = db, publication
        query = sql.SQL(_LOOK).format(publication=sql.Literal(publication), tables=sql.Literal(list(streams)))
        self._query = query.as_string(db).encode()
        self._known = dict(shapes)

    def shape(self, stream: StreamSpec) -> str:
        """What the stream's columns are now; `look` compares with it from now on."""
        found = {self.streams[oid].name: shape for oid, _, shape in self._look()}
        self._known[stream.name] = found.get(stream.name, "")
        return self._known[stream.name]

    def look(self) -> Iterator[Reread]:
        """Streams that must be read anew. Raises LogLostError if the log does not tell of one any more."""
        told = {oid: shape for oid, is_told, shape in self._look() if is_told}
        for oid, stream in self.streams.items():
            if oid not in told:
                raise LogLostError(
                    f"the table of stream '{stream.name}' was dropped, or taken out of the publication "
                    f"'{self._publication}'",
                    hint="Changes may be missing: take new snapshots with `sis capture resnapshot`",
                )
            known = self._known.setdefault(stream.name, told[oid])
            if known != told[oid]:
                self._known[stream.name] = told[oid]
                if _gives_other_values(known, told[oid]):
                    yield Reread(stream.name)

    def _look(self) -> list[tuple[int, bool, str]]:
        with driver_errors():
            return list(self._db.execute(self._query))


def _gives_other_values(before: str, now: str) -> bool:
    """Whether records may have got values that no change told of."""
    known = {number: rest for number, *rest in json.loads(before or "[]")}
    for number, name, kind, modifier, is_filled in json.loads(now):
        if number not in known:
            if is_filled:
                return True
            continue
        was_name, was_kind, was_modifier, _ = known[number]
        longer = kind == _VARCHAR and (modifier == -1 or modifier > was_modifier > -1)
        if (name, kind) != (was_name, was_kind) or (modifier != was_modifier and not longer):
            return True
    return False
