"""``type: superinsight_sync.Entity``: one record for each real thing, made of several refined streams."""

from dataclasses import dataclass
from typing import Self

import dagster as dg
from dagster.components import scaffold_with
from pydantic import BaseModel

from superinsight_sync.components.scaffolding import EntityScaffolder
from superinsight_sync.model.entity import EntitySpec


@scaffold_with(EntityScaffolder)
@dataclass
class Entity(dg.Component):
    """Brings the records of several streams together: one row for each thing, and every conflict with how it ended."""

    spec: EntitySpec

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return EntitySpec

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(
            description=cls.__doc__, tags=["entities", "conflicts"], owners=["team:superinsight-sync"]
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        assert isinstance(attributes, EntitySpec)
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        from superinsight_sync.orchestration.entities import entity_definitions

        return entity_definitions(self.spec)
