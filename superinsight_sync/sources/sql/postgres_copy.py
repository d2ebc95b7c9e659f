"""The messages of a running COPY, straight from libpq: half the cost a row of going through a cursor."""

import select
from collections.abc import Iterator
from typing import TYPE_CHECKING

from psycopg.errors import error_from_result

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn


def messages(connection: "PGconn") -> Iterator[memoryview]:
    """Each message of the server, header and trailer included; a row is a message.

    Raises psycopg.Error: the server ended the statement, or the connection broke.
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
