"""Our metadata database: tables, migrations, one repository per noun. All SQL on our own tables is here."""

from superinsight_sync.state.opening import State, open_state

__all__ = ["State", "open_state"]
