"""A declaration's `connection` → the source of its kind."""

from typing import Any

from pydantic import ValidationError

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.extras import EXTRAS, need
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.security.secrets import holds_literal_secret
from superinsight_sync.sources.protocol import SOURCE_KINDS, Owner, Pooling, Source, StreamOptions

_WHERE = "connection"


def open_source(connection: dict[str, Any], settings: Settings) -> Source:
    """The source, not connected yet; references to secrets stay references until it connects.

    Raises ConfigError for an unknown kind, a wrong or missing key, a secret that is written out, or a driver that is
    not installed.
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
    if kind in EXTRAS:
        need(kind, f"kind '{kind}'")
    return SOURCE_KINDS.load(kind)(checked, settings)


def open_declared(source: SourceSpec, settings: Settings) -> Source:
    """The source as declared; what it keeps open is for all in this process that open it. Raises as `open_source`."""
    opened = open_source(source.connection, settings)
    if isinstance(opened, Pooling):
        opened.pool_for(Owner(source.tenant, source.name, source.max_concurrency))
    return opened


def options_of(kind: str, stream: StreamSpec) -> Any:
    """The stream's options, validated by the kind's ``Options`` (by an empty one if it has none).

    Raises ConfigError for a wrong or missing one.
    """
    model: type[StreamOptions] = getattr(SOURCE_KINDS.module(kind), "Options", StreamOptions)
    _refuse_literal_secrets(stream.options)
    try:
        return model.model_validate(stream.options)
    except ValidationError as error:
        found = "; ".join(_finding(e) for e in error.errors(include_input=False, include_url=False))
        raise ConfigError(
            f"options of kind '{kind}': {found}",
            where=f"stream '{stream.name}'",
            hint=f"Valid options: {', '.join(model.model_fields) or 'none'}",
        ) from None


def _finding(error: Any) -> str:
    return f"{'.'.join(str(p) for p in error['loc'])}: {error['msg']}"


def _refuse_literal_secrets(values: Any, key: str = "") -> None:
    if isinstance(values, dict):
        for inner, value in values.items():
            if inner != "columns":  # whose keys are names of columns
                _refuse_literal_secrets(value, str(inner))
    elif isinstance(values, list | tuple):
        for value in values:
            _refuse_literal_secrets(value, key)
    elif isinstance(values, str) and (
        holds_literal_secret(values) or (_names_a_secret(key) and values and "{{" not in values)
    ):
        raise ConfigError(
            f"'{key}' holds a secret that is written out",
            where=_WHERE,
            hint='Put it into the environment and write "{{ env.NAME }}"',
        )


def _names_a_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("password", "secret", "token", "api_key"))
