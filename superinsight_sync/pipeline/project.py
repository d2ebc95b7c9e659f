"""The project's declarations, read without Dagster: what the command line works on."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.entity import ENTITIES, EntitySpec
from superinsight_sync.model.push import PushSourceSpec
from superinsight_sync.pipeline.declaration_checks import findings
from superinsight_sync.pipeline.yaml_lines import Problem, line_of, read_documents
from superinsight_sync.security.secrets import plain_secrets

COMPONENTS: dict[str, type[BaseModel]] = {
    "superinsight_sync.SyncSource": SourceSpec,
    "superinsight_sync.PushSource": PushSourceSpec,
    "superinsight_sync.Dataset": DatasetSpec,
    "superinsight_sync.Entity": EntitySpec,
}


@dataclass(frozen=True)
class Project:
    """Everything declared under ``defs/`` that is valid, and the problems of what is not."""

    defs_dir: Path
    sources: dict[str, SourceSpec] = field(default_factory=dict)
    datasets: dict[str, DatasetSpec] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    push_sources: dict[str, PushSourceSpec] = field(default_factory=dict)
    own_code: bool = False
    """Whether there are Python files beside the declarations: what they define, only Dagster can tell."""
    streamless: dict[str, tuple[SourceSpec, Path]] = field(default_factory=dict)
    """Sources that declare a connection and no streams yet, and where: what `sis discover` can fill."""
    undecided: tuple[tuple[str, Problem], ...] = ()
    """Inputs of datasets that are no streams, and the problem that each is if no own asset has that key either."""
    entities: dict[str, EntitySpec] = field(default_factory=dict)

    def source(self, name: str) -> SourceSpec:
        """Raises ConfigError naming the sources there are."""
        if name not in self.sources:
            raise ConfigError(f"there is no source '{name}'", hint=self._hint(name, self.sources))
        return self.sources[name]

    def connected(self, name: str) -> SourceSpec:
        """A source with or without streams. Raises ConfigError naming the sources there are."""
        return self.streamless[name][0] if name in self.streamless else self.source(name)

    def push_source(self, name: str) -> PushSourceSpec:
        """Raises ConfigError naming the push sources there are."""
        if name not in self.push_sources:
            raise ConfigError(f"there is no push source '{name}'", hint=self._hint(name, self.push_sources))
        return self.push_sources[name]

    def stream(self, key: str) -> tuple[SourceSpec, StreamSpec]:
        """The stream written as ``<source>.<stream>`` or ``<source>/<stream>``."""
        name, _, stream = key.replace("/", ".").partition(".")
        source = self.source(name)
        names = [s.name for s in source.streams]
        if stream not in names:
            raise ConfigError(f"source '{name}' has no stream '{stream}'", hint=_valid(stream, names))
        return source, source.stream(stream)

    def dataset(self, name: str) -> DatasetSpec:
        if name not in self.datasets:
            raise ConfigError(f"there is no dataset '{name}'", hint=self._hint(name, self.datasets))
        return self.datasets[name]

    def entity(self, name: str) -> EntitySpec:
        """Raises ConfigError naming the entities there are."""
        name = name.removeprefix(f"{ENTITIES}/")
        if name not in self.entities:
            raise ConfigError(f"there is no entity '{name}'", hint=self._hint(name, self.entities))
        return self.entities[name]

    def _hint(self, name: str, names: Any) -> str:
        bad = f". {len(self.problems)} problems, the first: {self.problems[0]}" if self.problems else ""
        return _valid(name, names) + bad


def _valid(name: str, names: Any) -> str:
    close = get_close_matches(name, list(names), n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    return f"{hint}Valid: {', '.join(sorted(names)) or 'none are declared'}"


def defs_dir(settings: Settings) -> Path:
    """The project's ``defs`` folder. Raises ConfigError outside a project."""
    file = settings.project_dir / "pyproject.toml"
    try:
        dg = tomllib.loads(file.read_text())["tool"]["dg"]["project"]
    except (OSError, KeyError) as error:
        raise ConfigError(
            f"{settings.project_dir} is no project folder",
            hint="Go to one, or make one with `sis init <name>`",
        ) from error
    module = dg.get("defs_module", f"{dg['root_module']}.defs")
    return settings.project_dir.joinpath(*module.split("."))


def load_project(settings: Settings) -> Project:
    """Reads and validates every ``defs.yaml``."""
    return load_folder(defs_dir(settings))


def written_out_secrets(settings: Settings) -> list[str]:
    """File and line of each secret that a declaration holds in plain text."""
    return [
        f"{file}:{line_of(node, place)}"
        for file in sorted(defs_dir(settings).rglob("*.y*ml"))
        for node, data in read_documents(file, [])
        for place in plain_secrets(data)
    ]


def load_folder(folder: Path) -> Project:
    """The same for a folder of declarations."""
    sources: dict[str, SourceSpec] = {}
    push_sources: dict[str, PushSourceSpec] = {}
    datasets: dict[str, DatasetSpec] = {}
    entities: dict[str, EntitySpec] = {}
    problems: list[Problem] = []
    places: dict[str, tuple[Path, yaml.Node]] = {}
    streamless: dict[str, tuple[SourceSpec, Path]] = {}
    for file in sorted(folder.rglob("defs.yaml")):
        for spec, node in _specs(file, problems):
            line = line_of(node, ("attributes", "name"))
            if isinstance(spec, SourceSpec) and not spec.streams:
                streamless[spec.name] = spec, file
            elif isinstance(spec, SourceSpec | PushSourceSpec):
                if spec.name in sources:
                    problems.append(Problem(file, line, f"source '{spec.name}' is declared twice"))
                if isinstance(spec, PushSourceSpec):
                    push_sources[spec.name] = spec
                sources[spec.name] = spec.landed if isinstance(spec, PushSourceSpec) else spec
                places[f"{spec.name}/"] = file, node
            elif isinstance(spec, DatasetSpec):
                if spec.name in datasets:
                    problems.append(Problem(file, line, f"dataset '{spec.name}' is declared twice"))
                datasets[spec.name], places[spec.name] = spec, (file, node)
            elif isinstance(spec, EntitySpec):
                if spec.name in entities:
                    problems.append(Problem(file, line, f"entity '{spec.name}' is declared twice"))
                entities[spec.name], places[f"{ENTITIES}/{spec.name}"] = spec, (file, node)
    own_code = _has_own_code(folder)
    undecided: list[tuple[str, Problem]] = []
    for owner, place, unknown, message in _bad_references(sources, datasets, entities):
        file, node = places[owner]
        problem = Problem(file, line_of(node, ("attributes", *place)), message)
        if own_code and unknown and place[0] in ("inputs", "streams") and not owner.endswith("/"):
            undecided.append((unknown, problem))
        else:
            problems.append(problem)
    return Project(
        folder,
        sources,
        datasets,
        tuple(problems),
        push_sources,
        own_code,
        streamless,
        tuple(undecided),
        entities,
    )


def _has_own_code(folder: Path) -> bool:
    files = (p.relative_to(folder).parts for p in folder.rglob("*.py") if p.name != "__init__.py")
    return any(not part[0].startswith((".", "_")) for part in files)


def _bad_references(
    sources: dict[str, SourceSpec], datasets: dict[str, DatasetSpec], entities: dict[str, EntitySpec]
) -> Iterator[tuple[str, tuple[str | int, ...], str | None, str]]:
    """Streams that are named and not there, or another tenant's: whose declaration, where in it, the key if it is
    not there, and the message."""
    named: list[tuple[str, tuple[str | int, ...], str, str, str]] = []
    for name, dataset in datasets.items():
        for alias, key in dataset.inputs.items():
            where = f"dataset '{name}', input '{alias}'"
            named.append((name, ("inputs", alias), where, key, dataset.tenant))
    for name, source in sources.items():
        for i, stream in enumerate(source.streams):
            for j, expected in enumerate(stream.expect):
                if expected.type == "reference":
                    where = f"source '{name}', stream '{stream.name}', reference"
                    key = str(expected.arguments["to"])
                    named.append((f"{name}/", ("streams", i, "expect", j, "to"), where, key, source.tenant))
    for name, entity in entities.items():
        for i, described in enumerate(entity.streams):
            where, key = f"entity '{name}'", described.stream
            named.append((f"{ENTITIES}/{name}", ("streams", i, "stream"), where, key, entity.tenant))
    known = {f"{s.name}/{t.name}": s.tenant for s in sources.values() for t in s.streams}
    for entity in entities.values():
        known |= dict.fromkeys(
            (f"{ENTITIES}/{entity.name}", f"{ENTITIES}/{entity.name}_conflicts"), entity.tenant
        )
    for owner, place, where, key, tenant in named:
        if key not in known:
            yield owner, place, key, f"{where}: there is no stream '{key}'. {_valid(key, known)}"
        elif known[key] != tenant:
            yield owner, place, None, f"{where}: '{key}' belongs to another tenant"


def _specs(file: Path, problems: list[Problem]) -> Iterator[tuple[BaseModel, yaml.Node]]:
    for node, data in read_documents(file, problems):
        if message := _unknown_type(data):
            problems.append(Problem(file, line_of(node, ("type",)), message))
            continue
        model = COMPONENTS.get(data["type"])
        if model is None:
            continue
        try:
            spec = model.model_validate(data.get("attributes") or {})
        except ValidationError as error:
            problems.extend(_problems(file, node, error))
            if model is SourceSpec and (empty := _without_streams(data, error)):
                yield empty, node
            continue
        wrong = [
            Problem(file, line_of(node, ("attributes", *place)), str(error))
            for place, error in findings(spec)
        ]
        problems.extend(wrong)
        if not wrong:
            yield spec, node


def _without_streams(data: Any, error: ValidationError) -> SourceSpec | None:
    """The source, if all that it lacks is streams."""
    if {f["loc"] for f in error.errors()} != {("streams",)}:
        return None
    if data["attributes"].get("streams"):
        return None
    try:
        filled = SourceSpec.model_validate(
            {**data["attributes"], "streams": [{"name": "any", "path": "any"}]}
        )
    except ValidationError:
        return None
    return filled.model_copy(update={"streams": ()})


def _unknown_type(data: Any) -> str | None:
    """What is wrong with a document's `type`. Components of others are left to Dagster."""
    named = data.get("type") if isinstance(data, dict) else None
    if not isinstance(named, str):
        return f"type: a declaration needs one. Valid: {', '.join(sorted(COMPONENTS))}"
    if named in COMPONENTS or not named.startswith("superinsight_sync.") or named.count(".") > 1:
        return None
    return f"type: unknown type '{named}'. {_valid(named, COMPONENTS)}"


def _problems(file: Path, node: yaml.Node, error: ValidationError) -> Iterator[Problem]:
    findings = error.errors(include_url=False)
    for finding in findings:
        if finding["type"] == "too_short" and any(_is_within(f["loc"], finding["loc"]) for f in findings):
            continue  # what is wrong in it does not count for pydantic: it is not too short
        path = ("attributes", *finding["loc"])
        line = line_of(node, path)
        key = ".".join(str(p) for p in finding["loc"]) or "attributes"
        message = finding["msg"].removeprefix("Value error, ")
        if key == "streams" and finding["type"] in ("missing", "too_short"):
            message = f"a source needs at least one. `sis discover <source> --write {file}` proposes them"
        value = _shown(finding)
        valid = _valid_keys(finding, error)
        yield Problem(file, line, f"{key}: {message}{value}{valid}")


def _is_within(place: tuple[object, ...], outer: tuple[object, ...]) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _shown(finding: Any) -> str:
    """The offending value where it is short and holds no secret."""
    from superinsight_sync.security.secrets import holds_literal_secret

    value = finding.get("input")
    if finding["type"] == "extra_forbidden" or not isinstance(value, str | int | float | bool):
        return ""
    text = str(value)
    return "" if len(text) > 80 or holds_literal_secret(text) else f" (found {text!r})"


def _valid_keys(finding: Any, error: ValidationError) -> str:
    if finding["type"] != "extra_forbidden":
        return ""
    model: Any = next((m for m in COMPONENTS.values() if m.__name__ == error.title), None)
    for part in finding["loc"][:-1]:
        model = _inner(model, part)
    if model is None:
        return ""
    return f". {_valid(str(finding['loc'][-1]), model.model_fields)}"


def _inner(model: Any, part: object) -> Any:
    """The model behind one step of an error's path."""
    import typing

    if model is None or isinstance(part, int):
        return model
    annotation = model.model_fields[part].annotation if part in getattr(model, "model_fields", {}) else None
    waiting = [annotation]
    while waiting:
        candidate = waiting.pop()
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
        waiting.extend(typing.get_args(candidate))
    return None
