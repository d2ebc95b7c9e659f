"""``type: superinsight_sync.SyncSource``: one customer system and the streams taken from it."""

from dataclasses import dataclass
from typing import Self

import dagster as dg
from dagster.components import scaffold_with
from pydantic import BaseModel

from superinsight_sync.components.scaffolding import SourceScaffolder
from superinsight_sync.model.declaration import SourceSpec


@scaffold_with(SourceScaffolder)
@dataclass
class SyncSource(dg.Component):
    """Pulls the streams of a database or file store and carries each through raw, refined and dictionary."""

    spec: SourceSpec

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return SourceSpec

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(
            description=cls.__doc__, tags=["ingestion", "incremental"], owners=["team:superinsight-sync"]
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        assert isinstance(attributes, SourceSpec)
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        from superinsight_sync.orchestration.build import source_definitions

        return source_definitions(self.spec)
