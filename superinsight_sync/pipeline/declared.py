"""Checks of declarations that need the plug points but neither network nor heavy libraries."""

from pydantic import ValidationError

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.push import PushSourceSpec
from superinsight_sync.quality.expectations import validate_specs
from superinsight_sync.sources.protocol import SOURCE_KINDS, Capabilities, open_source, options_of
from superinsight_sync.transform.protocol import STEPS


def check_source(source: SourceSpec) -> None:
    """Raises ConfigError for an unknown kind, step or expectation, or a wrong key of one."""
    open_source(source.connection, load_settings())
    able = SOURCE_KINDS.load(source.connection["kind"]).capabilities
    for stream in source.streams:
        where = f"source '{source.name}', stream '{stream.name}'"
        _check_kind(source.connection["kind"], able, stream, where)
        _check_stream(stream, where)


def check_pushed(spec: PushSourceSpec) -> None:
    """The same for a push source. Raises ConfigError also for a type of a column that is none."""
    from superinsight_sync.model.types import arrow_type

    check_source(spec.landed)
    for stream in spec.streams:
        for name, text in (stream.columns or {}).items():
            try:
                arrow_type(text)
            except ConfigError as error:
                raise error.at(f"source '{spec.name}', stream '{stream.name}', columns.{name}") from error


def _check_kind(kind: str, able: Capabilities, stream: StreamSpec, where: str) -> None:
    used, _ = stream.place
    if used not in able.places:
        raise ConfigError(
            f"kind '{kind}' cannot read a {used}", where=where, hint=f"Use {' or '.join(sorted(able.places))}"
        )
    if stream.sync.by == "position" and not able.positions:
        raise ConfigError(
            f"kind '{kind}' has no positions of its own", where=where, hint="Use by: timestamp with a cursor"
        )
    options_of(kind, stream)


def _check_stream(stream: StreamSpec, where: str) -> None:
    for number, step in enumerate(stream.refine):
        at = f"{where}, refine[{number}]"
        try:
            STEPS.config(step.step).model_validate(step.arguments)
        except ConfigError as error:
            raise error.at(at) from error
        except ValidationError as error:
            raise ConfigError(explain(error), where=f"{at} ({step.step})") from error
    try:
        validate_specs(stream.expect)
    except ConfigError as error:
        raise error.at(where) from error


def explain(error: ValidationError) -> str:
    """Pydantic's findings in one line, without the values."""
    return "; ".join(f"{'.'.join(str(p) for p in e['loc']) or 'value'}: {e['msg']}" for e in error.errors())
