"""One shape for all plug points: a folder, a file per member, the file's name is the member's name in YAML.

A member module defines ``Config`` (pydantic, frozen, ``extra="forbid"``) and ``PLUGIN``, the class that
implements the plug point's protocol. Importing a member must not import a heavy library.
"""

import importlib
import pkgutil
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from superinsight_sync.core.errors import ConfigError

T = TypeVar("T")


class PluginConfig(BaseModel):
    """Base of every member's ``Config``: frozen, and an unknown key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Registry(Generic[T]):
    """The members of one plug point, found by their file names.

    Args:
        package: dotted name of the folder, such as ``superinsight_sync.sources.kinds``.
        noun: what a member is called in messages, such as ``source kind``.
    """

    def __init__(self, package: str, noun: str) -> None:
        self.package = package
        self.noun = noun

    def names(self) -> tuple[str, ...]:
        """All members' names, sorted, without importing them."""
        paths = importlib.import_module(self.package).__path__
        return tuple(sorted(m.name for m in pkgutil.iter_modules(paths) if not m.name.startswith("_")))

    def module(self, name: str) -> Any:
        """The member's module. Raises ConfigError for an unknown name, naming the valid ones."""
        if name not in self.names():
            close = get_close_matches(name, self.names(), n=1)
            hint = f"Did you mean '{close[0]}'? " if close else ""
            raise ConfigError(f"unknown {self.noun} '{name}'", hint=f"{hint}Valid: {', '.join(self.names())}")
        return importlib.import_module(f"{self.package}.{name}")

    def config(self, name: str) -> type[PluginConfig]:
        """The member's ``Config`` class."""
        config: type[PluginConfig] = self.module(name).Config
        return config

    def load(self, name: str) -> type[T]:
        """The member's class."""
        plugin: type[T] = self.module(name).PLUGIN
        return plugin
