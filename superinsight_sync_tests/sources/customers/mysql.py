import os

import pytest

from superinsight_sync_tests.servers.mariadb import PASSWORD, MariadbServer
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.sources.customers import Customer, rows

WRONG = "not-the-pa55word"


def customer(request: pytest.FixtureRequest) -> Customer:
    server: MariadbServer = request.getfixturevalue("mariadb_server")
    dsn = server.create_database()
    name = dsn.rsplit("/", 1)[1]
    with server.connect(name) as db, db.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE orders (id bigint PRIMARY KEY, note text,"
            " amount decimal(12,2), updated_at timestamp(6) NOT NULL)"
        )
        cursor.execute("SET time_zone = '+00:00'")
        cursor.executemany(
            "INSERT INTO orders VALUES (%s,%s,%s,%s)",
            [(n, note, amount, at.replace(tzinfo=None)) for n, note, amount, at in rows()],
        )
    os.environ["TEST_MY_DSN"] = dsn
    os.environ["TEST_MY_WRONG"] = dsn.replace(PASSWORD, WRONG)
    os.environ["TEST_MY_NOWHERE"] = f"mysql://root:{WRONG}@127.0.0.1:{free_port()}/x"

    def busy() -> int:
        with server.connect() as db, db.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM information_schema.PROCESSLIST WHERE DB = %s AND COMMAND <> 'Sleep'",
                (name,),
            )
            statements = cursor.fetchone()
            cursor.execute(
                "SELECT count(*) FROM information_schema.INNODB_TRX t"
                " JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id WHERE p.DB = %s",
                (name,),
            )
            transactions = cursor.fetchone()
        return int(statements[0]) + int(transactions[0]) if statements and transactions else 0

    return Customer(
        {"kind": "mysql", "dsn": "{{ env.TEST_MY_DSN }}"},
        {"table": "orders"},
        ({"table": "orderz"}, "orders"),
        ({"kind": "mysql", "dsn": "{{ env.TEST_MY_WRONG }}"}, WRONG),
        {"kind": "mysql", "dsn": "{{ env.TEST_MY_NOWHERE }}"},
        busy,
    )
