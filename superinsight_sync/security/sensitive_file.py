"""`sensitive.yaml` in the project's folder: keys of masks by reference, and detectors of your own."""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.security.detection import DETECTORS, Detector, Rule
from superinsight_sync.security.mask_keys import DEFAULT_REFERENCE, Masking, Vault
from superinsight_sync.security.secrets import is_reference
from superinsight_sync.security.sensitive import builtin_rules

FILE = "sensitive.yaml"


class SensitiveFile(PluginConfig):
    """What `sensitive.yaml` may hold. Without the file, the key is in SIS_MASK_KEY and all detectors are built in."""

    keys: dict[int, str] = Field(default={1: DEFAULT_REFERENCE}, min_length=1)
    """Version → the reference to its key, such as `{{ env.SIS_MASK_KEY }}`. The greatest version masks."""
    tenants: dict[str, dict[int, str]] = Field(default={})
    """The same for tenants with keys of their own."""
    detectors: tuple[dict[str, Any], ...] = ()
    """Further detectors: `detector` names it, the other keys are its options."""

    def masking(self, tenant: str, vault: Vault | None = None) -> Masking:
        """The keys of a tenant."""
        keys = self.tenants.get(tenant) or self.keys
        return Masking(tenant, tuple(sorted(keys.items())), vault, self.rules() if self.detectors else None)

    def rules(self) -> tuple[Rule, ...]:
        """All rules in the order they are asked. Raises ConfigError for a detector that is none."""
        made = [_detector(dict(declared)) for declared in self.detectors]
        own = [rule for detector in sorted(made, key=_rank) for rule in detector.rules()]
        return (*own, *builtin_rules())


def load_sensitive_file(project_dir: Path) -> SensitiveFile:
    """What the project says, or the defaults. Raises ConfigError naming what is wrong, never a key's value."""
    import yaml

    path = project_dir / FILE
    if not path.exists():
        return SensitiveFile()
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError:
        raise ConfigError("no valid YAML", where=str(path)) from None
    try:
        found = SensitiveFile.model_validate(document)
    except ValidationError as error:
        raise _wrong(error, path) from None
    for version, reference in [*found.keys.items(), *(k for t in found.tenants.values() for k in t.items())]:
        if not is_reference(reference):
            raise ConfigError(
                f"key {version} is no reference",
                where=str(path),
                hint="Write it like {{ env.SIS_MASK_KEY }}, and never a key itself",
            )
    found.rules()
    return found


def _rank(detector: Detector) -> int:
    return detector.rank


def _detector(declared: dict[str, Any]) -> Detector:
    name = str(declared.pop("detector", ""))
    config = DETECTORS.config(name)
    try:
        return DETECTORS.load(name)(config.model_validate(declared))
    except ValidationError as error:
        raise _wrong(error, Path(FILE)) from None


def _wrong(error: ValidationError, path: Path) -> ConfigError:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return ConfigError(f"{place}: {first['msg']}", where=str(path))
