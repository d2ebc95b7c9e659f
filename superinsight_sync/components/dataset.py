"""``type: superinsight_sync.Dataset``: an AI-ready export over refined streams."""

from dataclasses import dataclass
from typing import Self

import dagster as dg
from dagster.components import scaffold_with
from pydantic import BaseModel

from superinsight_sync.components.scaffolding import DatasetScaffolder
from superinsight_sync.model.dataset import DatasetSpec


@scaffold_with(DatasetScaffolder)
@dataclass
class Dataset(dg.Component):
    """Joins refined streams into a versioned training dataset with splits, manifest and report."""

    spec: DatasetSpec

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return DatasetSpec

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(
            description=cls.__doc__, tags=["export", "training-data"], owners=["team:superinsight-sync"]
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        assert isinstance(attributes, DatasetSpec)
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        from superinsight_sync.orchestration.build import dataset_definitions

        return dataset_definitions(self.spec)
