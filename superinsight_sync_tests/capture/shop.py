"""A customer's MariaDB whose changes are captured."""

from typing import Any

from superinsight_sync_tests.servers.mariadb import MariadbServer


class Shop:
    """A database of its own, and a session on it, in UTC and without strictness."""

    def __init__(self, server: MariadbServer) -> None:
        self.dsn = server.create_database()
        self._connection = server.connect(self.dsn.rsplit("/", 1)[1])
        self.run("SET time_zone = '+00:00', sql_mode = ''")

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Runs them; the rows of the last one."""
        with self._connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())
