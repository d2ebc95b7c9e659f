"""A declaration's `connection` → the source of its kind."""

from typing import Any

from pydantic import ValidationError

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.security.secrets import holds_literal_secret
from superinsight_sync.sources.protocol import SOURCE_KINDS, Source

_WHERE = "connection"


def open_connection(connection: dict[str, Any], settings: Settings) -> Source:
    """The source, not connected yet; references to secrets stay references until it connects.

    Raises ConfigError for an unknown kind, a wrong or missing key, or a secret that is written out.
    """
    values = {k: v for k, v in connection.items() if k != "kind"}
    kind = str(connection.get("kind"))
    config = SOURCE_KINDS.config(kind)
    _refuse_literal_secrets(values)
    try:
        checked = config.model_validate(values)
    except ValidationError as error:
        found = "; ".join(_finding(e) for e in error.errors(include_input=False, include_url=False))
        raise ConfigError(
            f"kind '{kind}': {found}",
            where=_WHERE,
            hint=f"Valid keys: kind, {', '.join(config.model_fields)}",
        ) from None
    return SOURCE_KINDS.load(kind)(checked, settings)


def _finding(error: Any) -> str:
    return f"{'.'.join(str(p) for p in error['loc'])}: {error['msg']}"


def _refuse_literal_secrets(values: dict[str, Any]) -> None:
    for key, value in values.items():
        written_out = isinstance(value, str) and (
            holds_literal_secret(value) or (_names_a_secret(key) and value and "{{" not in value)
        )
        if written_out:
            raise ConfigError(
                f"'{key}' holds a secret that is written out",
                where=_WHERE,
                hint='Put it into the environment and write "{{ env.NAME }}"',
            )


def _names_a_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("password", "secret", "token", "api_key"))
