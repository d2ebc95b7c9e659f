"""Runs where SIS_TEST_ORACLE_DSN is ``user/password@host:port/service`` of an account that may create a table."""

import os

import oracledb
import pytest

from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.sources.customers import Customer, rows

WRONG = "not-the-pa55word"


def customer(request: pytest.FixtureRequest) -> Customer:
    account, at = os.environ["SIS_TEST_ORACLE_DSN"].rsplit("@", 1)
    user, password = account.split("/", 1)
    with oracledb.connect(user=user, password=password, dsn=at) as db, db.cursor() as cursor:
        cursor.execute(
            "BEGIN EXECUTE IMMEDIATE 'DROP TABLE \"orders\"'; EXCEPTION WHEN OTHERS THEN NULL; END;"
        )
        cursor.execute(
            'CREATE TABLE "orders" ("id" NUMBER(18) PRIMARY KEY, "note" VARCHAR2(100 CHAR), '
            '"amount" NUMBER(12,2), "updated_at" TIMESTAMP(6) WITH TIME ZONE NOT NULL)'
        )
        cursor.setinputsizes(None, None, None, oracledb.DB_TYPE_TIMESTAMP_TZ)
        cursor.executemany('INSERT INTO "orders" VALUES (:1, :2, :3, :4)', rows())
        db.commit()
    os.environ["TEST_ORA_PASSWORD"], os.environ["TEST_ORA_WRONG"] = password, WRONG
    base = {"kind": "oracle", "dsn": at, "user": user, "password": "{{ env.TEST_ORA_PASSWORD }}"}
    return Customer(
        base,
        {"table": f"{user}.orders"},
        ({"table": f"{user}.orderz"}, "orders"),
        (base | {"password": "{{ env.TEST_ORA_WRONG }}"}, WRONG),
        base | {"dsn": f"127.0.0.1:{free_port()}/x", "password": "{{ env.TEST_ORA_WRONG }}"},
        empty_text=False,
        query='SELECT "id", UPPER("note") AS "note", "updated_at" FROM "orders" WHERE MOD("id", 2) = 0 -- even',
    )
