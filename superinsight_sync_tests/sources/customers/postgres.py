import os

import psycopg
import pytest

from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.sources.customers import Customer, rows

WRONG = "not-the-pa55word"


def customer(request: pytest.FixtureRequest) -> Customer:
    server: PostgresServer = request.getfixturevalue("postgres_server")
    dsn = server.create_database()
    with psycopg.connect(dsn) as db:
        db.execute(
            "CREATE TABLE orders (id bigint PRIMARY KEY, note text,"
            " amount numeric(12,2), updated_at timestamptz NOT NULL)"
        )
        with db.cursor().copy("COPY orders FROM STDIN") as copy:
            for row in rows():
                copy.write_row(row)
    os.environ["TEST_PG_DSN"] = dsn
    os.environ["TEST_PG_WRONG"] = dsn.replace("postgres@", f"reader:{WRONG}@")
    os.environ["TEST_PG_NOWHERE"] = f"postgresql://postgres:{WRONG}@127.0.0.1:{free_port()}/x"
    name = dsn.rsplit("/", 1)[1]

    def busy() -> int:
        with psycopg.connect(server.dsn()) as db:
            found = db.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state <> 'idle'", (name,)
            ).fetchone()
        return int(found[0]) if found else 0

    return Customer(
        {"kind": "postgres", "dsn": "{{ env.TEST_PG_DSN }}"},
        {"table": "public.orders"},
        ({"table": "public.orderz"}, "public.orders"),
        ({"kind": "postgres", "dsn": "{{ env.TEST_PG_WRONG }}"}, WRONG),
        {"kind": "postgres", "dsn": "{{ env.TEST_PG_NOWHERE }}"},
        busy,
    )
