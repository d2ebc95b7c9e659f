"""Runs `sis` in this process."""

import json
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from superinsight_sync.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which is exactly one JSON document."""
        return json.loads(self.out)


def sis(*args: str, answer: str | None = None) -> Done:
    done = CliRunner().invoke(main, list(args), input=answer, prog_name="sis")
    return Done(done.exit_code, done.stdout, done.stderr)
