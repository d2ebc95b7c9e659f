"""``dg scaffold defs``: what a new declaration starts as: an example that loads, with a word on each key."""

from pathlib import Path

import dagster as dg
from dagster.components import Scaffolder, ScaffoldRequest

from superinsight_sync.core.errors import SisError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.pipeline.project import load_project

SOURCE = """type: superinsight_sync.SyncSource
attributes:
  name: {name}
  owners: []                      # ["team:data", "li@example.com"]
  # Secrets only by reference: {{kind: postgres, dsn: "{{{{ env.{upper}_DSN }}}}"}}
  connection: {{kind: sqlite, path: data/{name}.db}}
  streams:                        # `sis discover {name}` proposes them
    - name: orders
      table: orders               # or query: SELECT …, or path: orders/*.csv
      primary_key: [order_id]
      # sync: {{mode: incremental, cursor: updated_at, lag: 10m}}
      # partition: {{by: day, start: "2026-01-01"}}
      # schedule: "*/15 * * * *"
      refine:
        - {{step: dedupe}}
      expect:
        - {{type: not_null, column: order_id, severity: critical}}
"""

PUSHED = """type: superinsight_sync.PushSource
attributes:
  name: {name}
  # Webhooks: signature: {{scheme: standard, secrets: ["{{{{ env.{upper}_WEBHOOK_SECRET }}}}"]}}
  # event_type: type              # where a webhook says what it is about
  streams:                        # `sis receive show {name}` gives the URL and ready examples
    - name: orders
      primary_key: [order_id]     # a later record replaces an earlier one; leave it out to keep all
      # realtime: true            # landed within a second by `sis drain`
      expect:
        - {{type: not_null, column: order_id, severity: critical}}
"""

DATASET = """type: superinsight_sync.Dataset
attributes:
  name: {name}
  tenant: {tenant}
  inputs: {{{alias}: {stream}}}     # name in the SELECT: <source>/<stream>
  select: SELECT * FROM {alias}
  # split: {{ratios: {{train: 0.8, validation: 0.1, test: 0.1}}, group_by: [customer]}}
  formats: [jsonl, parquet]
"""


ENTITY = """type: superinsight_sync.Entity
attributes:
  name: {name}
  tenant: {tenant}
  streams:                        # two or more that describe the same things
    - stream: {stream}
      key: [id]
      # columns: {{email: mail, name: full_name}}   # field: column of the stream
      # time: updated_at          # when the record changed, by the source's clock
  match:                          # records with equal values in all of these are one thing
    - {{equal: [email]}}
  strategy:                       # what none of these decides waits for review: `sis conflicts list`
    - {{strategy: newest, tolerance: 5m}}
"""


class SourceScaffolder(Scaffolder):
    """Writes a source to change."""

    def scaffold(self, request: ScaffoldRequest) -> None:
        name = _name(request.target_path)
        _write(request, SOURCE.format(name=name, upper=name.upper()))


class PushScaffolder(Scaffolder):
    """Writes a push source to change."""

    def scaffold(self, request: ScaffoldRequest) -> None:
        name = _name(request.target_path)
        _write(request, PUSHED.format(name=name, upper=name.upper()))


class DatasetScaffolder(Scaffolder):
    """Writes a dataset over the project's first stream."""

    def scaffold(self, request: ScaffoldRequest) -> None:
        tenant, stream = _first_stream()
        alias = stream.rpartition("/")[2]
        _write(
            request,
            DATASET.format(name=_name(request.target_path), tenant=tenant, alias=alias, stream=stream),
        )


class EntityScaffolder(Scaffolder):
    """Writes an entity over the project's first stream."""

    def scaffold(self, request: ScaffoldRequest) -> None:
        tenant, stream = _first_stream()
        _write(request, ENTITY.format(name=_name(request.target_path), tenant=tenant, stream=stream))


def _first_stream() -> tuple[str, str]:
    try:
        sources = load_project(load_settings()).sources.values()
    except SisError:
        sources = {}.values()
    found = ((s.tenant, f"{s.name}/{s.streams[0].name}") for s in sources)
    return next(found, ("default", "shop/orders"))


def _name(target: Path) -> str:
    folder = target.parent if target.suffix else target
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in folder.name.lower())
    return name if name[:1].isalpha() else f"s_{name}"


def _write(request: ScaffoldRequest, text: str) -> None:
    if request.scaffold_format != "yaml":
        raise dg.DagsterInvalidDefinitionError("a declaration is YAML; scaffold it with --format yaml")
    if request.append:
        with request.target_path.open("a", encoding="utf-8") as file:
            file.write(f"---\n{text}")
        return
    (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")
