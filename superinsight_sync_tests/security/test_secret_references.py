"""A reference is a variable, a file or a command; a secret that is written out is found."""

from pathlib import Path

import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.secrets import plain_secrets, resolve

DSN = "postgresql://u:{{ env.PW }}@h/db"


def test_a_secret_comes_from_a_variable_a_file_or_a_command(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_text("s3cret\n")
    for env in ({"PW": "s3cret"}, {"PW_FILE": str(path)}, {"PW_COMMAND": f"cat {path}"}):
        assert resolve(DSN, env) == "postgresql://u:s3cret@h/db"
    path.write_text("newer")
    assert resolve(DSN, {"PW_FILE": str(path)}) == "postgresql://u:newer@h/db"


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "PW is not set"),
        ({"PW": "a", "PW_FILE": "b"}, "PW and PW_FILE are set"),
        ({"PW_FILE": "/nowhere/pw"}, "PW_FILE gives no secret: FileNotFoundError"),
        (
            {"PW_COMMAND": "sh -c 'echo s3cret; echo s3cret >&2; exit 1'"},
            "gives no secret: CalledProcessError",
        ),
        ({"PW_COMMAND": "no-such-command-here"}, "gives no secret: FileNotFoundError"),
        ({"PW_COMMAND": "'"}, "gives no secret: ValueError"),
    ],
)
def test_what_gives_no_secret_is_refused_without_showing_any(env: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        resolve(DSN, env)
    assert "s3cret" not in str(raised.value) and raised.value.__cause__ is None


def test_secrets_that_are_written_out_are_found_where_they_are() -> None:
    document = {
        "connection": {"kind": "rest", "auth": {"token": "abc", "token_url": "https://h/t"}, "password": ""},
        "dsn": "postgresql://u:pw@h/db",
        "good": {"password": "{{ env.PW }}", "dsn": DSN, "primary_key": ["id"]},
        "secrets": ["{{ env.A }}", "whsec_abc"],
        "description": "password: is what a column is called",
    }
    assert list(plain_secrets(document)) == [("connection", "auth", "token"), ("dsn",), ("secrets", 1)]
