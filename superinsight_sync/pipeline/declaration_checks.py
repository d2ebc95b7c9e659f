"""Checks of declarations that need the plug points but neither network nor heavy libraries."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from pydantic import BaseModel, ValidationError

from superinsight_sync.conflict.decide import configured
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.declaration import ExpectSpec, SourceSpec, StepSpec, StreamSpec
from superinsight_sync.model.entity import EntitySpec
from superinsight_sync.model.push import PushSourceSpec, PushStreamSpec
from superinsight_sync.model.read import Capabilities
from superinsight_sync.model.types import arrow_type
from superinsight_sync.quality.expectations import validate_specs
from superinsight_sync.security.secrets import holds_literal_secret
from superinsight_sync.sources.opening import open_declared, options_of
from superinsight_sync.sources.protocol import SOURCE_KINDS
from superinsight_sync.transform.protocol import STEPS

Place = tuple[str | int, ...]
"""Where in a declaration's attributes something is: ``("streams", 0, "refine", 1)``."""


def findings(spec: BaseModel) -> Iterator[tuple[Place, ConfigError]]:
    """Everything wrong that pydantic cannot see, and where: an unknown kind, step or expectation, or a wrong key
    of one, a secret that is written out, in a push source also a type of a column that is none, in an entity a wrong
    strategy."""
    if isinstance(spec, SourceSpec):
        yield from _of_source(spec)
    if isinstance(spec, PushSourceSpec):
        yield from _of_pushed(spec)
    if isinstance(spec, EntitySpec):
        where = f"entity '{spec.name}'"
        for i, strategy in enumerate(spec.strategy):
            yield from _tried(("strategy", i), where, partial(configured, strategy))
        for name, of_field in spec.fields.items():
            for i, strategy in enumerate(of_field.strategy or ()):
                yield from _tried(("fields", name, "strategy", i), where, partial(configured, strategy))
            if of_field.type is not None:
                yield from _tried(("fields", name, "type"), where, partial(arrow_type, of_field.type))


def _of_pushed(spec: PushSourceSpec) -> Iterator[tuple[Place, ConfigError]]:
    unfit: list[tuple[Place, ConfigError]] = []
    for i, stream in enumerate(spec.streams):
        where = f"source '{spec.name}', stream '{stream.name}'"
        unfit += _tried(("streams", i), where, partial(_check_landed, spec, stream))
        for name, text in (stream.columns or {}).items():
            yield from _tried(
                ("streams", i, "columns", name), f"{where}, columns.{name}", partial(arrow_type, text)
            )
    yield from unfit or _of_source(spec.landed)


def _check_landed(spec: PushSourceSpec, stream: PushStreamSpec) -> None:
    """What holds of every stream must hold of what a pushed one is landed as."""
    try:
        stream.spec(spec.limits)
    except ValidationError as error:
        raise ConfigError(explain(error)) from error


def check_source(source: SourceSpec) -> None:
    """Raises the first of a source's findings."""
    for _, error in findings(source):
        raise error


def _of_source(source: SourceSpec) -> Iterator[tuple[Place, ConfigError]]:
    kind = source.connection["kind"]
    if kind not in SOURCE_KINDS.names():
        yield from _tried(("connection", "kind"), "", partial(SOURCE_KINDS.module, kind))
        return
    yield from _tried(("connection",), "", partial(open_declared, source, load_settings()))
    yield from _tried(("streams",), "", partial(_check_slots, source))
    able = SOURCE_KINDS.load(kind).capabilities
    for i, stream in enumerate(source.streams):
        where = f"source '{source.name}', stream '{stream.name}'"
        for place, at, check in _checks(kind, able, stream):
            yield from _tried(("streams", i, *place), where + at, check)


def _checks(
    kind: str, able: Capabilities, stream: StreamSpec
) -> Iterator[tuple[Place, str, Callable[[], object]]]:
    """Each check of a stream: where it looks, in the declaration and in words."""
    yield (stream.place[0],), "", partial(_check_place, kind, able, stream)
    yield ("sync", "by"), "", partial(_check_position, kind, able, stream)
    yield ("sync", "mode"), "", partial(_check_captured, kind, stream)
    yield ("options",), "", partial(options_of, kind, stream)
    for stage, save in (("raw", stream.saves.raw), ("refined", stream.saves.refined)):
        yield ("save", stage, "dsn"), f", save.{stage}", partial(_check_secret, save.dsn or "")
    for i, step in enumerate(stream.refine):
        yield ("refine", i), f", refine[{i}]", partial(_check_step, step)
    for i in range(len(stream.expect)):
        yield ("expect", i), "", partial(_check_expectation, stream.expect[: i + 1])


def _tried(place: Place, where: str, check: Callable[[], object]) -> Iterator[tuple[Place, ConfigError]]:
    try:
        check()
    except ConfigError as error:
        yield place, ConfigError(error.message, where=error.where or where, hint=error.hint)


def _check_place(kind: str, able: Capabilities, stream: StreamSpec) -> None:
    used, _ = stream.place
    if used not in able.places:
        raise ConfigError(
            f"kind '{kind}' cannot read a {used}", hint=f"Use {' or '.join(sorted(able.places))}"
        )


def _check_position(kind: str, able: Capabilities, stream: StreamSpec) -> None:
    if stream.sync.by == "position" and not able.positions:
        raise ConfigError(
            f"kind '{kind}' has no positions of its own", hint="Use by: timestamp with a cursor"
        )


def _check_captured(kind: str, stream: StreamSpec) -> None:
    if stream.sync.mode != "capture":
        return
    from superinsight_sync.capture.protocol import feed_kinds

    if kind not in (known := sorted(feed_kinds())):
        raise ConfigError(
            f"kind '{kind}' has no change log that can be captured",
            hint=f"Capture {', '.join(known)}; read others with mode: incremental",
        )


def _check_slots(source: SourceSpec) -> None:
    captured = [s.sync for s in source.streams if s.sync.mode == "capture"]
    for what in ("publication", "slot"):
        if len({getattr(s, what) for s in captured}) > 1:
            raise ConfigError(
                f"its captured streams have different values of '{what}'",
                where=f"source '{source.name}'",
                hint="A source is followed through one: say the same in every captured stream",
            )


def _check_secret(dsn: str) -> None:
    if holds_literal_secret(dsn):
        raise ConfigError(
            "'dsn' holds a secret that is written out",
            hint='Put it into the environment and write "{{ env.NAME }}"',
        )


def _check_step(step: StepSpec) -> None:
    config = STEPS.config(step.step)
    try:
        config.model_validate(step.arguments)
    except ValidationError as error:
        valid = f"Valid keys of {step.step}: {', '.join(config.model_fields)}"
        raise ConfigError(explain(error), hint=valid) from error


def _check_expectation(until: Sequence[ExpectSpec]) -> None:
    """Raises ConfigError if it is the last one that is wrong: for what comes before it others are told."""
    try:
        validate_specs(until[:-1])
    except ConfigError:
        return validate_specs(until[-1:])
    return validate_specs(until)


def explain(error: ValidationError) -> str:
    """Pydantic's findings in one line, without the values."""
    return "; ".join(f"{'.'.join(str(p) for p in e['loc']) or 'value'}: {e['msg']}" for e in error.errors())
