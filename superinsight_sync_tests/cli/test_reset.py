"""`sis reset`: it asks, shows and removes."""

from pathlib import Path

from superinsight_sync_tests.cli.commands import sis


def test_the_command_asks_shows_and_removes(project: Path) -> None:
    assert sis("run", "web.pages").code == 0
    shown = sis("reset", "web.pages", "--dry-run", "--json").document
    assert shown["dry_run"] and {t["table"] for t in shown["tables"]} >= {"default/web/pages/raw"}
    assert sis("reset", "web.pages").code != 0, "it asks first"
    assert sis("reset", "web.pages", "--dry-run", "--json").document["tables"] == shown["tables"]
    assert sis("reset", "web.pages", "--yes", "--json").document["tables"] == shown["tables"]
    assert sis("reset", "web.pages", "--dry-run", "--json").document["tables"] == []
