"""What connections to database servers have in common."""

from datetime import timedelta

from superinsight_sync.model.declaration import Duration
from superinsight_sync.sources.protocol import KindConfig


class ServerConfig(KindConfig):
    """How to reach a database server, and how long it may take."""

    dsn: str
    """Where it is, by reference. Each kind says in which form."""
    statement_timeout: Duration = timedelta(hours=1)
    """Longest read. 0 for no limit."""
    connect_timeout: Duration = timedelta(seconds=10)
    """Longest wait for a connection."""
