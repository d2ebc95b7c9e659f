"""Look without touching: connection tests, discovery and previews. Nothing here writes to source or lake."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import indent
from typing import Any

import pyarrow as pa

from superinsight_sync.core.errors import ConfigError, NothingYetError, SisError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.read import FoundStream, ReadRequest
from superinsight_sync.model.results import ConnectionReport
from superinsight_sync.model.tables import DELETED_AT, TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.landed_as import check_stream_goes_on
from superinsight_sync.security.mask_keys import Masking
from superinsight_sync.security.sensitive_file import load_sensitive_file
from superinsight_sync.sources.opening import open_declared
from superinsight_sync.state.audit import Entry
from superinsight_sync.transform.engine import plan as plan_steps
from superinsight_sync.transform.protocol import StepContext


def test_connection(source: SourceSpec, settings: Settings) -> ConnectionReport:
    """Connects, and checks every stream against the catalogue and its refine steps against the columns."""
    return _report(source, settings, source.streams)


def probe_source(source: SourceSpec, settings: Settings) -> ConnectionReport:
    """Connects, and looks at no stream."""
    return _report(source, settings, ())


def _report(source: SourceSpec, settings: Settings, streams: Sequence[StreamSpec]) -> ConnectionReport:
    kind = source.connection["kind"]
    try:
        probe = open_declared(source, settings).probe()
        empty = [s.name for s in streams if not _check_columns(source, s, settings)]
        for stream in streams:
            check_stream_goes_on(open_engine(settings=settings), source, stream)
    except SisError as error:
        located = error.at(f"source '{source.name}'")
        return ConnectionReport(
            source.name, kind, False, error=str(located), error_class=type(error).__name__
        )
    details = {**probe.details, "nothing_yet": empty} if empty else probe.details
    return ConnectionReport(
        source.name, kind, True, probe.server, probe.latency_ms, probe.warnings, details=details
    )


def _check_columns(source: SourceSpec, stream: StreamSpec, settings: Settings) -> bool:
    """Whether the stream has columns that could be checked: one to which nothing was pushed yet has none."""
    where = f"source '{source.name}', stream '{stream.name}'"
    try:
        shape = open_declared(source, settings).describe(stream)
        schema = pa.schema([pa.field(c.name, c.arrow) for c in shape.columns])
        if stream.sync.deletes == "soft":
            schema = schema.append(pa.field(DELETED_AT, pa.timestamp("us", "UTC")))
        masking = load_sensitive_file(settings.project_dir).masking(source.tenant)
        context = StepContext(stream.primary_key, stream.sync.cursor, masking=masking)
        plan_steps(stream.refine, schema, context)
    except NothingYetError:
        return False
    except SisError as error:
        raise error.at(where) from error
    return True


def discover(source: SourceSpec, settings: Settings) -> list[FoundStream]:
    """What there is to read in a source."""
    return sorted(open_declared(source, settings).discover(), key=lambda s: s.name)


def proposal(source: SourceSpec, found: Sequence[FoundStream]) -> dict[str, Any]:
    """A declaration of all streams found: incremental where a cursor and a key make it safe, else full."""
    streams = []
    for stream in (s for s in found if not s.problem):
        entry: dict[str, Any] = {"name": stream.name, stream.place: stream.value}
        if stream.primary_key:
            entry["primary_key"] = list(stream.primary_key)
        if stream.cursor and stream.primary_key:
            entry["sync"] = {"mode": "incremental", "cursor": stream.cursor, "lag": "10m"}
        if stream.format:
            entry["format"] = dict(stream.format)
        streams.append(entry)
    attributes = {
        "name": source.name,
        "tenant": source.tenant,
        "connection": source.connection,
        "streams": streams,
    }
    return {"type": "superinsight_sync.SyncSource", "attributes": attributes}


def proposal_text(source: SourceSpec, found: Sequence[FoundStream]) -> str:
    """The same as YAML, with what a person should know first as comments."""
    import yaml

    return _remarks(found) + yaml.safe_dump(proposal(source, found), sort_keys=False, allow_unicode=True)


def with_streams(file: Path, source: SourceSpec, found: Sequence[FoundStream]) -> str:
    """The text of the file that declares a source without streams, with those found added as it is written.

    Raises ConfigError if they cannot be added at its end.
    """
    import yaml

    streams = proposal(source, found)["attributes"]["streams"]
    added = yaml.safe_dump({"streams": streams}, sort_keys=False, allow_unicode=True)
    text = file.read_text().rstrip("\n")
    inner = next((len(m[1]) for m in re.finditer(r"^( +)\S", text, re.MULTILINE)), 2)
    filled = f"{text}\n{indent(_remarks(found) + added, ' ' * inner)}"
    before, after = (_loaded(t) for t in (text, filled))
    if not (
        after and before and after.get("attributes") == {**before.get("attributes", {}), "streams": streams}
    ):
        raise ConfigError(
            f"the streams cannot be added at the end of {file}",
            hint="Leave out `streams` and let `attributes` be the last key, or name another file",
        )
    return filled


def _loaded(text: str) -> dict[str, Any] | None:
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return found if isinstance(found, dict) else None


def _remarks(found: Sequence[FoundStream]) -> str:
    return "".join(f"# {s.name}: {s.remark}\n" for s in found if s.remark)


def preview(
    engine: Engine, source: SourceSpec, stream: StreamSpec, *, limit: int, refined: bool = False
) -> pa.Table:
    """The first rows as the source gives them, or as the refine steps make them of those."""
    connection = open_declared(source, engine.settings)
    with connection.read(ReadRequest(stream, limit=limit)) as batches:
        rows = batches.read_all()
    if not refined:
        return rows
    from superinsight_sync.core.clock import utc_now
    from superinsight_sync.lake.system_columns import add_system_columns
    from superinsight_sync.model.tables import SYSTEM_COLUMNS
    from superinsight_sync.transform.engine import refine

    def read() -> pa.RecordBatchReader:
        return add_system_columns(
            rows.to_reader(), load_id="preview", extracted_at=utc_now(), partition_of=None
        )

    with refine(
        read,
        stream.refine,
        StepContext(stream.primary_key, stream.sync.cursor, masking=_previewed(engine, source.tenant)),
        scratch_dir=engine.settings.scratch_dir,
        memory_limit_bytes=engine.settings.memory_limit_bytes,
    ) as done:
        table = done.open().read_all()
    return table.select([n for n in table.column_names if n not in SYSTEM_COLUMNS])


def _previewed(engine: Engine, tenant: str) -> Masking:
    """Masks as they are, but for tokens: a preview puts nothing into the vault."""
    return replace(engine.masking(tenant), vault=lambda texts: [f"tok_{'?' * 26}" for _ in texts])


@contextmanager
def read_rows(
    source: SourceSpec, stream: StreamSpec, settings: Settings, *, limit: int | None = None
) -> Iterator[pa.RecordBatchReader]:
    """Streams what the source has of a stream now. Raises as the source does, told where."""
    where = f"source '{source.name}', stream '{stream.name}'"
    try:
        with open_declared(source, settings).read(ReadRequest(stream, limit=limit)) as batches:
            yield batches
    except SisError as error:
        raise error.at(where) from error


def landed(engine: Engine, table: TableRef, *, limit: int, version: int | None = None) -> pa.Table:
    """The first rows of a table of the lake, as of a version (default: the newest)."""
    rows, batches = 0, []
    reader = engine.lake.scan(table, version=version)
    for batch in reader:
        batches.append(batch.slice(0, limit - rows))
        rows += batches[-1].num_rows
        if rows >= limit:
            break
    return pa.Table.from_batches(batches, reader.schema)


def set_aside(engine: Engine, table: TableRef, limit: int) -> list[dict[str, Any]]:
    """The first records of a stream that were set aside: by refine, or because they could not be read as records."""
    kept = {"rule": "_sis_rule", "step": "_sis_step", "reason": "_sis_reason", "column": "_sis_column"}
    named = {**kept, "load_id": "_sis_load_id", "record": "_sis_record"}
    rows: list[dict[str, Any]] = []
    for record in _head(engine, table.at("quarantine"), list(named.values()), limit):
        rows.append({name: record[column] for name, column in named.items()})
    for record in _head(engine, table.at("unreadable"), None, limit - len(rows)):
        place = (record["file"], record["line"] and f"line {record['line']}")
        where = ", ".join(p for p in place if p)
        told = f"{where}: {record['reason']}" if where else record["reason"]
        found = {"rule": "unreadable", "step": "read", "reason": told, "column": None}
        rows.append({**found, "load_id": record["_sis_load_id"], "record": record["record"]})
    note_read(engine, table, "quarantine.read", len(rows))
    return rows


def note_read(engine: Engine, table: TableRef, action: str, rows: int, **detail: Any) -> None:
    """Writes down in the audit log that rows are about to be shown. What cannot be written down is not shown."""
    told = {"rows": rows, **detail}
    engine.state.audit.record(table.tenant, Entry(action, f"{table.source}/{table.stream}", told))


def _head(engine: Engine, table: TableRef, columns: Sequence[str] | None, limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if limit <= 0 or not engine.lake.exists(table):
        return rows
    for batch in engine.lake.scan(table, columns=columns):
        rows.extend(batch.slice(0, limit - len(rows)).to_pylist())
        if len(rows) >= limit:
            break
    return rows
