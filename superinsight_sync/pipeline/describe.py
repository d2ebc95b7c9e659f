"""Describe: a stream's dictionary, as JSON and Markdown beside its tables."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.store import Store
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.results import DescribeResult
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync.pipeline.execution import Tally, Task, execute
from superinsight_sync.pipeline.profiles import Counting, counted_rows
from superinsight_sync.pipeline.row_identity import rows_identity
from superinsight_sync.semantics.dictionary import Described, describe
from superinsight_sync.semantics.llm import LlmDescriber, LlmSettings, settings_from_env
from superinsight_sync.semantics.profile import profile_of
from superinsight_sync.semantics.rules import RULES_VERSION, Shape
from superinsight_sync.sources.opening import open_declared
from superinsight_sync.state.leases import Lease
from superinsight_sync.state.semantic_cache import Answer, SemanticCache


def dictionary_prefix(table: TableRef) -> str:
    """Where a stream's dictionary is, below the lake's root."""
    return f"{table.tenant}/{table.source}/{table.stream}/dictionary"


def describe_stream(
    engine: Engine, source: SourceSpec, stream: StreamSpec, *, force: bool = False
) -> DescribeResult:
    """Profiles the refined table and says what its fields mean; rules always, an LLM where one is configured.

    Raises ConfigError if there is no refined table yet. A failing LLM becomes a warning.
    """
    table = table_of(source, stream, "refined")
    started = time.perf_counter()

    def work(tally: Tally, _lease: Lease) -> DescribeResult:
        store = engine.store(source, stream, "refined")
        llm = settings_from_env() if stream.dictionary.use_llm else None
        identity = _identity(store, table, stream, llm)
        if not force and (kept := _kept(engine, table, identity)) is not None:
            tally.unchanged = True
            return kept
        shape = _shape(engine, source, stream)
        raw = engine.store(source, stream, "raw")
        job = Counting(engine, store, raw, table, keyed=bool(shape.primary_key))
        counted, rows_read = counted_rows(job, force=force)
        with _describer(llm) as describer:
            described = describe(
                profile_of(counted, table=stream.name),
                shape,
                stream.dictionary,
                cache=_Cache(engine.state.semantic_cache, ask_again=force),
                llm=describer,
            )
        tally.rows = rows_read
        made_of = "" if described.interrupted else identity
        return replace(_write(engine, table, described, made_of), seconds=time.perf_counter() - started)

    return execute(engine, Task.on("describe", table, force=force), work)


def is_due(engine: Engine, source: SourceSpec, stream: StreamSpec) -> bool:
    """Whether `describe_stream` would make it anew. Raises ConfigError if there is no refined table yet."""
    table = table_of(source, stream, "refined")
    llm = settings_from_env() if stream.dictionary.use_llm else None
    identity = _identity(engine.store(source, stream, "refined"), table, stream, llm)
    return _kept(engine, table, identity) is None


def _identity(store: Store, table: TableRef, stream: StreamSpec, llm: LlmSettings | None) -> str:
    """What the dictionary is made of: the rows, what was declared, and who describes."""
    if not store.exists(table):
        raise ConfigError("there is no refined table yet", hint="Run its refine first")
    said = stream.model_dump(mode="json", include={"dictionary", "primary_key", "description"})
    asked = [llm.model, llm.host] if llm else None
    return fingerprint([rows_identity(store, table), said, asked, RULES_VERSION])


@contextmanager
def _describer(settings: LlmSettings | None) -> Iterator[LlmDescriber | None]:
    if settings is None:
        yield None
        return
    describer = LlmDescriber(settings)
    try:
        yield describer
    finally:
        describer.close()


def _shape(engine: Engine, source: SourceSpec, stream: StreamSpec) -> Shape:
    """What the source's catalogue and the declaration know of the stream."""
    found = open_declared(source, engine.settings).describe(stream)
    return Shape(
        stream=f"{source.name}/{stream.name}",
        comment=stream.description or found.comment,
        primary_key=stream.primary_key or found.primary_key,
        foreign_keys=found.foreign_keys,
        column_comments={c.name: c.comment for c in found.columns if c.comment},
    )


class _Cache:
    """The state's semantic cache as the describer wants it; with `ask_again` it only keeps answers."""

    def __init__(self, kept: SemanticCache, *, ask_again: bool) -> None:
        self._kept, self._ask_again = kept, ask_again

    def get(self, key: str) -> dict[str, Any] | None:
        found = None if self._ask_again else self._kept.get(key)
        return dict(found.value) if found is not None else None

    def put(self, key: str, value: dict[str, Any], *, model: str, tokens: int) -> None:
        self._kept.put(key, Answer(value, model, tokens))


def _write(engine: Engine, table: TableRef, described: Described, identity: str) -> DescribeResult:
    """Markdown first, then the JSON that readers look for, then what it was made of."""
    prefix, dictionary = dictionary_prefix(table), described.dictionary
    markdown = dictionary.to_markdown()
    engine.blobs.write(f"{prefix}/dictionary.md", markdown.encode())
    engine.blobs.write(f"{prefix}/dictionary.json", dictionary.to_json().encode())
    engine.blobs.write(f"{prefix}/identity", identity.encode())
    return DescribeResult(
        stream=table.stream,
        fields=len(dictionary.fields),
        path=engine.blobs.url(f"{prefix}/dictionary.md"),
        markdown=markdown,
        fingerprint=dictionary.fingerprint,
        llm_fields=described.llm_fields,
        tokens=described.tokens,
        warnings=described.warnings,
    )


def _kept(engine: Engine, table: TableRef, identity: str) -> DescribeResult | None:
    """The dictionary there is, if it was made of the same."""
    prefix = dictionary_prefix(table)
    if (
        not engine.blobs.exists(f"{prefix}/identity")
        or engine.blobs.read(f"{prefix}/identity").decode() != identity
    ):
        return None
    dictionary = json.loads(engine.blobs.read(f"{prefix}/dictionary.json"))
    return DescribeResult(
        stream=table.stream,
        fields=len(dictionary["fields"]),
        path=engine.blobs.url(f"{prefix}/dictionary.md"),
        markdown=engine.blobs.read(f"{prefix}/dictionary.md").decode(),
        fingerprint=dictionary["fingerprint"],
        unchanged=True,
    )
