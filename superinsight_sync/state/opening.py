"""The state of a project: its metadata database, one repository for each noun."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from superinsight_sync.state.audit import Audit
from superinsight_sync.state.checkpoints import Checkpoints
from superinsight_sync.state.database import Database
from superinsight_sync.state.dead_letters import DeadLetters
from superinsight_sync.state.executions import Executions, Logs
from superinsight_sync.state.exports import Exports
from superinsight_sync.state.keys import ApiKeys, RefreshTokens
from superinsight_sync.state.leases import Leases
from superinsight_sync.state.mask_tokens import MaskTokens
from superinsight_sync.state.migrate import is_newest, migrate
from superinsight_sync.state.purge import HISTORY, Noun, purge
from superinsight_sync.state.quarantine import Quarantine
from superinsight_sync.state.reviews import Decisions, Reviews
from superinsight_sync.state.semantic_cache import SemanticCache
from superinsight_sync.state.sources import Sources
from superinsight_sync.state.urls import is_postgres, parse_url
from superinsight_sync.state.workers import Workers


class State:
    """What we know of ourselves. Threads may share it; a forked child may go on with its parent's."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sources = Sources(database)
        self.executions = Executions(database)
        self.logs = Logs(database)
        self.checkpoints = Checkpoints(database)
        self.semantic_cache = SemanticCache(database)
        self.exports = Exports(database)
        self.quarantine = Quarantine(database)
        self.dead_letters = DeadLetters(database)
        self.leases = Leases(database)
        self.api_keys = ApiKeys(database)
        self.refresh_tokens = RefreshTokens(database)
        self.workers = Workers(database)
        self.audit = Audit(database)
        self.reviews = Reviews(database)
        self.decisions = Decisions(database)
        self.mask_tokens = MaskTokens(database)

    def purge(self, before: datetime, nouns: tuple[Noun, ...] = HISTORY) -> Mapping[str, int]:
        """Deletes rows older than `before`; how many of each noun (see `state.purge`)."""
        return purge(self.database, before, nouns)

    def close(self) -> None:
        """Closes this process's connections; a later use opens new ones."""
        self.database.close()


def open_state(database_url: str) -> State:
    """The state at a URL (``sqlite:////path``, ``postgresql://…``), its tables made or upgraded.

    Any number of processes may do this at once.

    Raises:
        ConfigError: no such database, not one of ours, or one that a newer version has been at.
        AccessError: wrong password or rights. TransientError: it cannot be reached now.
    """
    database = Database(database_url)
    migrate(database)
    return State(database)


def is_made(database_url: str) -> bool:
    """Whether the state is there in this code's version. Makes and upgrades nothing, not even the file.

    Raises what `open_state` raises.
    """
    url = parse_url(database_url)
    if not is_postgres(url) and not Path(url.database or "").exists():
        return False
    database = Database(database_url)
    try:
        return is_newest(database)
    finally:
        database.close()
