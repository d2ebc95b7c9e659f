"""What a SELECT gives, as Arrow batches by PostgreSQL's COPY."""

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from psycopg.errors import error_from_result

from superinsight_sync.core.postgres_copy_binary import batches_of

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGconn


@contextmanager
def copied(
    connection: "Connection[Any]", query: str, schema: pa.Schema
) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rows of the query, as `batches_of` gives them. Who leaves early cancels the statement.

    Args:
        query: one SELECT without parameters.
        schema: what its columns are sent as.

    Raises psycopg.Error, here and while the rows are read.
    """
    statement = f"COPY ({query}) TO STDOUT (FORMAT binary)".encode()
    with connection.cursor() as cursor, cursor.copy(statement) as rows:
        yield batches_of(_messages(connection.pgconn), schema)
        rows.finish(InterruptedError("the rest is not wanted"))


def _messages(connection: "PGconn") -> Iterator[memoryview]:
    """Each message of the server, header and trailer included; a row is a message.

    From libpq itself: through the cursor a row costs twice as much. Raises psycopg.Error.
    """
    readable = select.poll()
    readable.register(connection.socket, select.POLLIN)
    take, receive = connection.get_copy_data, connection.consume_input
    while True:
        size, message = take(1)
        if size > 0:
            yield message
        elif size == 0:
            readable.poll()
            receive()
        else:
            break
    while result := connection.get_result():
        if result.error_message:
            raise error_from_result(result)
