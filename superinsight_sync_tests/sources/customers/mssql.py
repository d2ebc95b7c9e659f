"""Runs where SIS_TEST_MSSQL_DSN is ``mssql://user:password@host:port/database`` of one who may create a table."""

import os
from urllib.parse import quote, urlsplit

import mssql_python
import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.sources.kinds.mssql import Config, MssqlSource
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.sources.customers import Customer, rows

WRONG = "not-the-pa55word"


def customer(request: pytest.FixtureRequest) -> Customer:
    dsn = os.environ["SIS_TEST_MSSQL_DSN"]
    source = MssqlSource(
        Config(dsn="{{ env.SIS_TEST_MSSQL_DSN }}", trust_certificate=True, read_only_replica=False),
        load_settings(),
    )
    with mssql_python.connect(source._connection_string(), autocommit=True) as db, db.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS dbo.orders")
        cursor.execute(
            "CREATE TABLE dbo.orders (id bigint PRIMARY KEY, note nvarchar(100), amount decimal(12,2),"
            " updated_at datetimeoffset(6) NOT NULL)"
        )
        cursor.executemany("INSERT INTO dbo.orders VALUES (?, ?, ?, ?)", rows())
    parts = urlsplit(dsn)
    os.environ["TEST_MS_WRONG"] = dsn.replace(f":{quote(parts.password or '', safe='')}@", f":{WRONG}@")
    os.environ["TEST_MS_NOWHERE"] = f"mssql://u:{WRONG}@127.0.0.1:{free_port()}/x"
    base = {"kind": "mssql", "trust_certificate": True}
    return Customer(
        base | {"dsn": "{{ env.SIS_TEST_MSSQL_DSN }}"},
        {"table": "dbo.orders"},
        ({"table": "dbo.orderz"}, "dbo.orders"),
        (base | {"dsn": "{{ env.TEST_MS_WRONG }}"}, WRONG),
        base | {"dsn": "{{ env.TEST_MS_NOWHERE }}"},
    )
