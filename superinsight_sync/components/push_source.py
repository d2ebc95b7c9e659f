"""``type: superinsight_sync.PushSource``: a customer system that sends its records to the gateway."""

from dataclasses import dataclass
from typing import Self

import dagster as dg
from dagster.components import scaffold_with
from pydantic import BaseModel

from superinsight_sync.components.scaffolding import PushScaffolder
from superinsight_sync.model.push import PushSourceSpec


@scaffold_with(PushScaffolder)
@dataclass
class PushSource(dg.Component):
    """Takes what a customer pushes and carries each stream through raw, refined and dictionary."""

    spec: PushSourceSpec

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return PushSourceSpec

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(
            description=cls.__doc__, tags=["ingestion", "webhook", "push"], owners=["team:superinsight-sync"]
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        assert isinstance(attributes, PushSourceSpec)
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        from superinsight_sync.orchestration.build import push_definitions

        return push_definitions(self.spec)
