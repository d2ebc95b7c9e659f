"""MariaDB: from a commit at the source to the raw table."""

from typing import Any

import pytest

from superinsight_sync.core.settings import Settings
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync_tests.capture.bank import captured, capturing, caught_up, landed, log_of
from superinsight_sync_tests.servers.mariadb import MariadbServer


class Shop:
    """A customer's database."""

    def __init__(self, server: MariadbServer) -> None:
        self.dsn = server.create_database()
        self._connection = server.connect(self.dsn.rsplit("/", 1)[1])
        self.run("SET time_zone = '+00:00', sql_mode = ''")

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())


@pytest.fixture
def shop(logged_mariadb: MariadbServer) -> Shop:
    return Shop(logged_mariadb)


def test_what_was_there_and_what_changes_is_in_the_raw_table(
    engine: Engine, settings: Settings, shop: Shop
) -> None:
    shop.run("CREATE TABLE a (id int PRIMARY KEY, owner text, balance decimal(12,2))")
    shop.run("INSERT INTO a SELECT seq, concat('o', seq), seq FROM seq_1_to_1200")
    source = captured(shop.dsn, {"table": "a"})
    with capturing(engine, source) as running:
        caught_up(engine, source, shop.dsn, running)
        shop.run("INSERT INTO a VALUES (2000, 'new', 1.5)", "UPDATE a SET balance = 7 WHERE id = 3")
        shop.run("UPDATE a SET id = 3000 WHERE id = 4", "DELETE FROM a WHERE id = 5")
        caught_up(engine, source, shop.dsn, running)
    found = landed(engine, source, "a")
    assert [tuple(r.values()) for r in found.to_pylist()] == shop.run("SELECT * FROM a ORDER BY id")
    ops = [r["_sis_op"] for r in log_of(engine, source, "a")]
    assert ops[0] == "snapshot_begin" and ops.count("snapshot") == 1200
    assert ops[-5:] == ["insert", "update", "delete", "update", "delete"]
