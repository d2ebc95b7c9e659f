"""`sis check` says which accounts could write to the customer's system."""

import os
from pathlib import Path

import psycopg
import pytest
import yaml

from superinsight_sync_tests.cli.commands import sis
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.shop import make_shop, order

CAN_WRITE = "the account can write; give it read rights only"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "accounts"
    assert sis("init", str(folder)).code == 0
    monkeypatch.chdir(folder)
    return folder


def declare(project: Path, connection: dict[str, str], stream: dict[str, str]) -> None:
    declared = project / project.name / "defs" / "crm"
    declared.mkdir()
    attributes = {"name": "crm", "connection": connection, "streams": [{"name": "orders", **stream}]}
    document = {"type": "superinsight_sync.SyncSource", "attributes": attributes}
    (declared / "defs.yaml").write_text(yaml.safe_dump(document))


def test_an_account_that_can_write_is_told_and_one_that_cannot_is_not(
    project: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = postgres_server.create_database()
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("CREATE TABLE orders (id bigint PRIMARY KEY)")
        db.execute("CREATE ROLE sis_only_reads LOGIN")
        db.execute("GRANT SELECT ON orders TO sis_only_reads")
    declare(project, {"kind": "postgres", "dsn": "{{ env.CRM_DSN }}"}, {"table": "public.orders"})
    try:
        for account, warned in (("postgres", True), ("sis_only_reads", False)):
            monkeypatch.setenv("CRM_DSN", dsn.replace("postgres@", f"{account}@"))
            found = sis("check", "crm", "--json")
            (report,) = found.document["connections"]
            assert (found.code, report["ok"]) == (0, True)
            assert (CAN_WRITE in report["warnings"]) == warned
            shown = sis("check", "crm")
            assert ("the account can write" in shown.out) == warned
    finally:
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("DROP OWNED BY sis_only_reads")
            db.execute("DROP ROLE sis_only_reads")


@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_that_a_local_file_could_be_written_is_a_detail_and_no_warning(project: Path, kind: str) -> None:
    file = make_shop(project / "data" / "crm.db", [order(1)])
    (project / "drops").mkdir()
    (project / "drops" / "orders.csv").write_text("id\n1\n")
    path, stream = ("data/crm.db", {"table": "orders"}) if kind == "sqlite" else ("drops", {"path": "*.csv"})
    declare(project, {"kind": kind, "path": path}, stream)
    (report,) = sis("check", "crm", "--json").document["connections"]
    assert (report["ok"], report["warnings"]) == (True, [])
    assert report["details"]["writable"] == os.access(file, os.W_OK)
