"""One process of the audit drill: acts on and on, and may be killed at any moment.

python -m superinsight_sync_tests.drills.audited <database url> <folder>
"""

import sys
import uuid
from itertools import count
from pathlib import Path

from superinsight_sync.state import open_state


def main() -> None:
    url, folder = sys.argv[1:]
    state = open_state(url)
    for n in count():
        key = state.api_keys.create(f"n{n}", "viewer", tenant="acme")
        state.api_keys.revoke(key.id)
        name = uuid.uuid4().hex
        with state.audit.act("acme", "file.make", name):
            (Path(folder) / name).touch()
        sys.stdout.write(f"{n}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
