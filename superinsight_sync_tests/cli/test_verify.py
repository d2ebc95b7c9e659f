"""`sis verify` over a project."""

import sqlite3
from contextlib import closing
from pathlib import Path

from superinsight_sync_tests.cli.commands import sis


def test_verify_shows_what_differs_and_ends_with_3(new_project: Path) -> None:
    ran = sis("run", "web.visits")
    assert ran.code == 0, ran.out + ran.err
    assert sis("verify", "web.visits").code == 0
    with closing(sqlite3.connect(new_project / "data" / "web.db")) as db, db:
        db.execute("UPDATE visits SET page = 'other' WHERE visit_id = 5")
    done = sis("verify", "web.visits", "--json", "--keys")
    assert done.code == 3
    found = done.document["streams"]["web.visits"]
    assert (found["different"], found["missing"], found["extra"]) == (1, 0, 0)
    assert found["different_by_column"] == {"page": 1}
    assert found["keys"] == [{"visit_id": 5, "_sis_found": "different"}]
    assert "keys" not in sis("verify", "web.visits", "--json").document["streams"]["web.visits"]
    seen = sis("audit", "list", "--action", "rows.read", "--json").document["records"]
    assert [r["detail"] for r in seen] == [{"rows": 1, "of": "verify"}]
