"""Users' own assets among the declared ones: where their tables are, and inputs that nothing makes."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import dagster as dg
from dagster import AssetKey, AssetSpec

TABLE = "sis/table"
"""Metadata of an own asset: where the table that it returns lands, as ``tenant/source/stream``."""
REASON = "sis/reason"
"""Metadata of an asset that stands for what could not be loaded: why."""
DECLARED_IN = "sis/declared_in"
"""Beside `REASON`: the entry of ``defs/`` that is wrong."""

Specs = Mapping[AssetKey, AssetSpec]
Declared = Mapping[str, str]
"""One of `names_of` → the entry of ``defs/`` that has it."""


def specs_of(defs: dg.Definitions) -> dict[AssetKey, AssetSpec]:
    """Every asset that is defined, also those that are made elsewhere."""
    found: dict[AssetKey, AssetSpec] = {}
    for asset in defs.assets or ():
        match asset:
            case dg.AssetsDefinition():
                found |= {spec.key: spec for spec in asset.specs}
            case dg.AssetSpec():
                found[asset.key] = asset
            case dg.SourceAsset():
                found[asset.key] = AssetSpec(asset.key)
    return found


def asset_name(key: AssetKey) -> str:
    """An asset as messages call it."""
    return f"asset '{key.to_user_string()}'"


def names_of(defs: dg.Definitions) -> set[str]:
    """Everything in the definitions that must be there once in a project, as messages call it."""
    named = {"job": defs.jobs, "schedule": defs.schedules, "sensor": defs.sensors}
    found = {f"{what} '{d.name}'" for what, all_of in named.items() for d in all_of or ()}
    return found | {asset_name(k) for k in specs_of(defs)} | {f"resource '{k}'" for k in defs.resources or ()}


def text(value: Any) -> str:
    """What a piece of metadata says, before or after Dagster wrapped it."""
    return str(getattr(value, "value", value))


def is_own(spec: AssetSpec) -> bool:
    """Whether a user wrote the asset, instead of declaring it."""
    return "stage" not in spec.tags and REASON not in spec.metadata


def placed(defs: dg.Definitions, specs: Specs) -> dg.Definitions:
    """The definitions, with each own asset told where its table is."""
    if not any(is_own(spec) for spec in specs_of(defs).values()):
        return defs

    def tell(spec: AssetSpec) -> AssetSpec:
        if not is_own(spec) or len(spec.key.path) > 2:
            return spec
        group = spec.key.path[0] if len(spec.key.path) == 2 else "assets"
        place = f"{_tenant(spec, specs, frozenset())}/{group}/{spec.key.path[-1]}"
        return spec.merge_attributes(metadata={TABLE: place})

    return defs.map_asset_specs(func=tell)


def _tenant(spec: AssetSpec, specs: Specs, below: frozenset[AssetKey]) -> str:
    """What its tag says; else the one tenant that all its inputs are of; else `default`."""
    if "tenant" in spec.tags:
        return str(spec.tags["tenant"])
    inputs = [specs[key] for key in _inputs(spec, specs) if key in specs and key not in below]
    tenants = {_tenant(i, specs, below | {spec.key}) for i in inputs}
    return tenants.pop() if len(tenants) == 1 else "default"


def _inputs(spec: AssetSpec, specs: Specs) -> list[AssetKey]:
    """The keys of its inputs as Dagster resolves them: a bare name is an asset of the same group first."""
    found = []
    for dep in spec.deps:
        key, same = dep.asset_key, []
        if key not in specs and len(key.path) == 1:
            same = [
                s.key
                for s in specs.values()
                if (s.group_name, s.key.path[-1]) == (spec.group_name, key.path[0])
            ]
        found.append(same[0] if len(same) == 1 else key)
    return found


def missing_inputs(defs: dg.Definitions, declared_in: Declared) -> list[AssetSpec]:
    """Stand-ins for the inputs of own assets that nothing makes: without them Dagster takes no definition at all.

    Each says who reads it. An asset that reads one fails when it is run; all others work.
    """
    specs = specs_of(defs)
    readers: dict[AssetKey, list[AssetSpec]] = {}
    for asset in defs.assets or ():
        if isinstance(asset, dg.AssetsDefinition):
            for spec in filter(is_own, asset.specs):
                for key in set(_inputs(spec, specs)) - specs.keys():
                    if _is_loaded(asset, key):
                        readers.setdefault(key, []).append(spec)
    return [_stand_in(key, found, specs, declared_in) for key, found in sorted(readers.items())]


def _is_loaded(asset: dg.AssetsDefinition, key: AssetKey) -> bool:
    """Whether the asset is given the rows; of one that it only comes after, Dagster makes no fuss."""
    names = [name for name, input_key in asset.node_keys_by_input_name.items() if input_key == key]
    node: Any = asset.node_def
    return any(not node.input_def_named(name).dagster_type.is_nothing for name in names)


def _stand_in(key: AssetKey, readers: Sequence[AssetSpec], specs: Specs, declared_in: Declared) -> AssetSpec:
    names = ", ".join(sorted(spec.key.to_user_string() for spec in readers))
    reason = f"{names}: reads {key.to_user_string()}, which nothing here makes. "
    failed = AssetKey([key.path[0], "declaration_error"])
    known = [k.to_user_string() for k, spec in specs.items() if REASON not in spec.metadata]
    close = get_close_matches(key.to_user_string(), known, n=1)
    if failed in specs:
        reason += f"defs/{key.path[0]} could not be loaded: mend that first"
    elif close:
        reason += f"Did you mean {close[0]}?"
    else:
        reason += "Correct the key, or define it as an AssetSpec if it is made elsewhere"
    return AssetSpec(
        key,
        description=reason,
        metadata={REASON: reason, DECLARED_IN: declared_in.get(asset_name(readers[0].key), "")},
        kinds={"error"},
    )


def missing_resources(
    defs: dg.Definitions, given: set[str], declared_in: Declared
) -> Iterator[tuple[str, str, str]]:
    """Resources that something own asks for and that are not `given`: the key, why not, and the entry that asks.

    Without stand-ins for them Dagster takes no definition at all.
    """
    asking: dict[str, str] = {}
    for asset in (*(defs.assets or ()), *(defs.asset_checks or ())):
        if isinstance(asset, dg.AssetsDefinition):
            keys = [*asset.keys, *(c.asset_key for c in asset.check_keys)]
            for key in asset.required_resource_keys - given if keys else ():
                asking.setdefault(key, asset_name(keys[0]))
    for what, ticking in (("schedule", defs.schedules or ()), ("sensor", defs.sensors or ())):
        for found in ticking:
            for key in getattr(found, "required_resource_keys", set()) - given:
                asking.setdefault(key, f"{what} '{found.name}'")
    for key, by in sorted(asking.items()):
        entry = declared_in.get(by, key)
        if AssetKey([key, "declaration_error"]) in specs_of(defs):
            remedy = f"defs/{key} could not be loaded: mend that first"
        elif close := get_close_matches(key, given, n=1):
            remedy = f"Did you mean {close[0]}?"
        else:
            remedy = f"Resources: {', '.join(sorted(given))}"
        yield key, f"{by}: asks for the resource '{key}', which nothing here provides. {remedy}", entry
