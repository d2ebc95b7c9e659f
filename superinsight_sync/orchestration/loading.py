"""Loads the project: every folder of ``defs/`` by itself, so that one bad declaration harms only its own."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components.core.component_tree import ComponentTree
from dagster.components.core.context import ComponentDeclLoadContext
from dagster.components.core.decl import (
    ComponentDecl,
    DefsFolderDecl,
    build_filesystem_component_decl_from_context,
)
from dagster.components.core.defs_module import ComponentPath

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.orchestration.jobs import maintenance_definitions
from superinsight_sync.orchestration.keys import IO_MANAGER, LAKE
from superinsight_sync.orchestration.own_assets import (
    DECLARED_IN,
    REASON,
    TABLE,
    asset_name,
    missing_inputs,
    missing_resources,
    names_of,
    placed,
    specs_of,
    text,
)
from superinsight_sync.orchestration.resources import MissingResource, common_resources
from superinsight_sync.orchestration.sensors import project_sensors
from superinsight_sync.pipeline.project import load_folder
from superinsight_sync.security.secrets import redact

STRICT = "SIS_STRICT"
"""With this environment variable set, a declaration that cannot be loaded fails the whole location: for checks."""

_log = logging.getLogger(__name__)


def load_project_definitions(path_within_project: Path) -> dg.Definitions:
    """The definitions of the project that holds `path_within_project`.

    A declaration that cannot be loaded appears as one failed asset that says why; the others work.
    """
    tree = ComponentTree.for_project(path_within_project)
    folder = ComponentPath.from_path(tree.defs_module_path)
    context = tree.decl_load_context.for_component_loc(folder)
    found: dict[Path, ComponentDecl[Any]] = {}
    parts = [_find_entry(context, entry, found) for entry in _entries(tree.defs_module_path)]
    whole = DefsFolderDecl(
        context=context, loc=folder, children=found, source_tree=None, component_file_model=None
    )
    tree.state_tracker.set_cache_data(folder, component_decl=whole)
    loaded: dict[str, str] = {}
    parts += [_without_what_is_there(_load_entry(tree, entry), entry, loaded) for entry in found]
    common = common_resources()
    specs = {key: spec for part in parts for key, spec in specs_of(part).items()}
    merged = dg.Definitions.merge(*(placed(part, specs) for part in parts), maintenance_definitions())
    return dg.Definitions.merge(
        merged,
        _unknown_inputs(merged, loaded),
        _stand_ins(merged, loaded),
        _missing_resources(merged, {*common, *(merged.resources or {})}, loaded),
        dg.Definitions(
            executor=dg.in_process_executor,
            resources=common,
            sensors=project_sensors(specs),
        ),
    )


def _entries(defs_dir: Path) -> list[Path]:
    return sorted(
        p
        for p in defs_dir.iterdir()
        if not p.name.startswith((".", "_")) and (p.is_dir() or p.suffix == ".py") and p.name != "__pycache__"
    )


def _find_entry(
    context: ComponentDeclLoadContext, entry: Path, found: dict[Path, ComponentDecl[Any]]
) -> dg.Definitions:
    """Adds what the entry declares to `found`. Python files are imported by it, YAML is parsed."""
    try:
        loc = ComponentPath.from_path(entry)
        declared = build_filesystem_component_decl_from_context(context.for_component_loc(loc))
    except Exception as error:
        if os.environ.get(STRICT):
            raise
        return _failed(entry.stem, _reason(entry, error), entry.name)
    if declared is not None:
        found[entry] = declared
    return dg.Definitions()


def _load_entry(tree: ComponentTree, entry: Path) -> dg.Definitions:
    try:
        return tree.build_defs_at_path(entry.relative_to(tree.defs_module_path))
    except Exception as error:
        if os.environ.get(STRICT):
            raise
        return _failed(entry.stem, _reason(entry, error), entry.name)


def _without_what_is_there(defs: dg.Definitions, entry: Path, loaded: dict[str, str]) -> dg.Definitions:
    """The entry's definitions; a failed asset in their place if something of that name was `loaded` already."""
    names = names_of(defs) - {f"resource '{LAKE}'"}
    if twice := sorted(names & {*loaded, f"resource '{IO_MANAGER}'"}):
        has_it = f"defs/{loaded[twice[0]]}" if twice[0] in loaded else "every project"
        error = ConfigError(
            f"{twice[0]} is there already",
            where=f"defs/{entry.name}",
            hint=f"{has_it} has it; give the source, stream, dataset or resource another name",
        )
        if os.environ.get(STRICT):
            raise error
        return _failed(entry.stem, str(error), entry.name)
    loaded |= dict.fromkeys(names, entry.name)
    return defs


def _reason(entry: Path, error: BaseException) -> str:
    """What is wrong in the folder's declarations, with file and line; else the innermost error's text."""
    everything = load_folder(entry.parent).problems if entry.is_dir() else ()
    if problems := [p for p in everything if entry in p.file.parents]:
        return "\n".join(f"{entry.name}/{p.file.name}:{p.line}: {p.message}" for p in problems)
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return redact(f"{type(error).__name__}: {error}")


def _failed(name: str, reason: str, declared_in: str) -> dg.Definitions:
    _log.error("defs/%s could not be loaded: %s", name, reason)

    @dg.asset(
        key=dg.AssetKey([name, "declaration_error"]),
        group_name=name if name.isidentifier() else None,
        description=f"defs/{name} could not be loaded.\n\n```\n{reason}\n```",
        metadata={REASON: dg.MetadataValue.text(reason), DECLARED_IN: declared_in},
        kinds={"error"},
    )
    def declaration_error() -> None:
        raise dg.Failure(reason, metadata={"sis/error_class": "ConfigError"}, allow_retries=False)

    return dg.Definitions(assets=[declaration_error])


def _unknown_inputs(defs: dg.Definitions, declared_in: Mapping[str, str]) -> dg.Definitions:
    """A failed asset for every dataset and entity that names a table nobody makes, or another tenant's."""
    specs = specs_of(defs)
    broken = []
    for spec in specs.values():
        if spec.tags.get("stage") not in ("dataset", "entity"):
            continue
        for key in (d.asset_key for d in spec.deps):
            if wrong := _wrong_input(spec, specs.get(key), key):
                tables = [
                    s for s in specs.values() if s.tags.get("stage") == "refined" or TABLE in s.metadata
                ]
                valid = ", ".join(sorted(s.key.to_user_string() for s in tables))
                error = ConfigError(
                    wrong, where=f"{spec.tags['stage']} '{spec.key.path[-1]}'", hint=f"Valid: {valid}"
                )
                if os.environ.get(STRICT):
                    raise error
                broken.append(
                    _failed(
                        f"{spec.key.path[-1]}_inputs", str(error), declared_in.get(asset_name(spec.key), "")
                    )
                )
                break
    return dg.Definitions.merge(*broken) if broken else dg.Definitions()


def _wrong_input(dataset: dg.AssetSpec, spec: dg.AssetSpec | None, key: dg.AssetKey) -> str | None:
    """What is wrong with one input of a dataset; None if it is a table of the dataset's tenant."""
    name, tenant = key.to_user_string(), dataset.tags["tenant"]
    if spec is None:
        return f"unknown input {name}"
    if spec.tags.get("stage") == "refined":
        return None if spec.tags["tenant"] == tenant else f"input {name} belongs to another tenant"
    if (place := spec.metadata.get(TABLE)) is None:
        return f"input {name} is no table"
    if (of := text(place).split("/")[0]) != tenant:
        return f"input {name} is a table of tenant '{of}'; give its asset the tag tenant: {tenant}"
    return None


def _stand_ins(defs: dg.Definitions, declared_in: Mapping[str, str]) -> dg.Definitions:
    """What own assets read and nothing makes: Dagster would refuse everything without it."""
    missing = missing_inputs(defs, declared_in)
    for spec in missing:
        if os.environ.get(STRICT):
            raise ConfigError(text(spec.metadata[REASON]), where=f"defs/{spec.metadata[DECLARED_IN]}")
        _log.error("defs/%s: %s", spec.metadata[DECLARED_IN], spec.metadata[REASON])
    return dg.Definitions(assets=missing)


def _missing_resources(
    defs: dg.Definitions, given: set[str], declared_in: Mapping[str, str]
) -> dg.Definitions:
    """Stand-ins for resources that own assets ask for and nothing provides, and a failed asset that says so."""
    found, told = {}, []
    for key, reason, entry in missing_resources(defs, given, declared_in):
        if os.environ.get(STRICT):
            raise ConfigError(reason, where=f"defs/{entry}")
        found[key] = MissingResource(reason=reason)
        told.append(_failed(f"{key}_resource", reason, entry))
    return dg.Definitions.merge(dg.Definitions(resources=found), *told)


def load_problems(defs: dg.Definitions) -> list[tuple[str, str]]:
    """What is wrong in loaded definitions: the entry of ``defs/``, and why."""
    found = [spec.metadata for spec in specs_of(defs).values() if REASON in spec.metadata]
    return [(text(m[DECLARED_IN]), text(m[REASON])) for m in found]
