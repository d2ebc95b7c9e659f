"""Makes a stream's dictionary: rules first, the LLM's words over them, a person's over both."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol

from pydantic import ValidationError

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.model.declaration import DictionarySpec, FieldSpec
from superinsight_sync.security.sensitive import Sensitivity
from superinsight_sync.semantics.llm import Answer, Asked, LlmDescriber, schema_fingerprint
from superinsight_sync.semantics.model import Dictionary, Field, Relation
from superinsight_sync.semantics.profile import ColumnProfile, Profile
from superinsight_sync.semantics.rules import (
    RULES_VERSION,
    Shape,
    catalogue_relations,
    describe_column,
    find_keys,
)

_PROTECTION: tuple[Sensitivity, ...] = ("public", "internal", "personal", "secret")
_LLM_CONFIDENCE = 0.7
_SHOWN_VALUES = 20


class Cache(Protocol):
    """Keeps what an LLM answered, by fingerprint of everything that went into the question."""

    def get(self, key: str) -> dict[str, Any] | None:
        """The value of a key (64 hex digits); None if there is none."""
        ...

    def put(self, key: str, value: dict[str, Any], *, model: str, tokens: int) -> None:
        """Keeps a JSON-like value. Putting a key again replaces its value."""
        ...


@dataclass(frozen=True)
class Described:
    """A dictionary, and what making it took. `llm_fields` have an LLM's words, cached or new."""

    dictionary: Dictionary
    llm_fields: int = 0
    cached_fields: int = 0
    calls: int = 0
    tokens: int = 0
    cost_usd: float | None = None
    warnings: tuple[str, ...] = ()
    interrupted: bool = False
    """Whether the LLM could not be asked for all columns, so that it is worth asking again."""


def describe(
    profile: Profile,
    shape: Shape,
    spec: DictionarySpec,
    *,
    cache: Cache | None = None,
    llm: LlmDescriber | None = None,
    relations: Sequence[Relation] = (),
) -> Described:
    """The dictionary of a stream. Without an LLM it depends on nothing but its arguments.

    Args:
        profile: the stream in numbers.
        shape: what the catalogue and the declaration know.
        spec: what a person says of the fields; it wins.
        cache: where an LLM's answers are kept.
        llm: the run's LLM; None (no key) leaves the rules' words. A failing LLM becomes a warning.
        relations: what `find_relations` found, beyond the catalogue's foreign keys.
    """
    fields = {c.name: describe_column(c, shape) for c in profile.columns}
    done = Described(Dictionary(stream=shape.stream, rows=profile.rows, fields=()))
    if llm is not None and spec.use_llm:
        answers, done = _ask(profile, shape, spec.language, _Answers(cache, llm))
        fields |= {name: _with_answer(fields[name], answer, profile) for name, answer in answers.items()}
    warnings = list(done.warnings)
    for name, said in spec.fields.items():
        if name in fields:
            fields[name] = _with_person(fields[name], said)
        else:
            close = get_close_matches(name, list(fields), n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            warnings.append(
                f"dictionary.fields describes '{name}', which is no column of {shape.stream}{hint}"
            )
    dictionary = Dictionary(
        stream=shape.stream,
        description=" ".join(shape.comment.split()),
        rows=profile.rows,
        fields=tuple(fields.values()),
        keys=find_keys(profile, shape),
        relations=(*catalogue_relations(shape), *relations),
    )
    return Described(
        dictionary=dictionary,
        llm_fields=done.llm_fields,
        cached_fields=done.cached_fields,
        calls=done.calls,
        tokens=done.tokens,
        cost_usd=done.cost_usd,
        warnings=tuple(warnings),
        interrupted=done.interrupted,
    )


@dataclass(frozen=True)
class _Answers:
    """Where answers come from: the cache by column, else the LLM."""

    cache: Cache | None
    llm: LlmDescriber

    def key(self, table: Mapping[str, Any], question: Mapping[str, Any]) -> str:
        settings = self.llm.settings
        return fingerprint(
            [table, question, settings.model, settings.host, schema_fingerprint(), RULES_VERSION]
        )

    def known(self, key: str) -> Answer | None:
        """A kept answer, if it is a whole one."""
        value = None if self.cache is None else self.cache.get(key)
        try:
            return Answer.model_validate(value) if value is not None else None
        except ValidationError:
            return None

    def keep(self, key: str, answer: Answer, tokens: int) -> None:
        """For the next time."""
        if self.cache is not None:
            self.cache.put(key, answer.model_dump(mode="json"), model=self.llm.settings.model, tokens=tokens)


def _ask(
    profile: Profile, shape: Shape, language: str, source: _Answers
) -> tuple[dict[str, Answer], Described]:
    """Answers by column, from the cache where the question is an old one. Only whole answers are kept."""
    llm, size = source.llm, source.llm.settings.batch_columns
    table = _table_question(profile, shape, language)
    questions = {c.name: _question(c, shape) for c in profile.columns}
    keys = {name: source.key(table, question) for name, question in questions.items()}
    answers = {name: known for name, key in keys.items() if (known := source.known(key)) is not None}
    cached = len(answers)
    unknown = [name for name in questions if name not in answers]
    asked: list[Asked] = []
    for at in range(0, len(unknown), size):
        group = unknown[at : at + size]
        asked.append(llm.describe(table, [questions[name] for name in group]))
        found = {group[i]: answer for i, answer in asked[-1].answers.items()}
        tokens = (asked[-1].prompt_tokens + asked[-1].answer_tokens) // max(len(found), 1)
        for name, answer in found.items():
            source.keep(keys[name], answer, tokens)
        answers |= found
    prompt, answer_tokens = sum(a.prompt_tokens for a in asked), sum(a.answer_tokens for a in asked)
    return answers, Described(
        Dictionary(stream=shape.stream, rows=profile.rows, fields=()),
        llm_fields=len(answers),
        cached_fields=cached,
        calls=sum(a.calls for a in asked),
        tokens=prompt + answer_tokens,
        cost_usd=llm.cost_usd(prompt, answer_tokens),
        warnings=tuple(dict.fromkeys(w for a in asked for w in a.warnings)),
        interrupted=bool(asked) and llm.stopped,
    )


def _table_question(profile: Profile, shape: Shape, language: str) -> dict[str, Any]:
    return {
        "table": shape.stream,
        "comment": shape.comment,
        "language": language,
        "rows": bucket(profile.rows),
        "primary_key": list(shape.primary_key),
    }


def _question(column: ColumnProfile, shape: Shape) -> dict[str, Any]:
    """What is sent of a column, rounded so that a little more data asks the same question."""
    said: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "comment": shape.column_comments.get(column.name, ""),
        "null_share": round(column.null_share, 2),
        "distinct": bucket(column.distinct),
    }
    if column.sensitive:
        return {**said, "holds": column.sensitive}
    said |= {
        "low": bucket(column.low),
        "high": bucket(column.high),
        "mean": bucket(column.mean),
        "length": [column.length_min, column.length_max],
        "patterns": sorted(p for p, share in column.patterns if share >= 0.05),
        "values": sorted(v for v, _ in column.top[:_SHOWN_VALUES]),
    }
    return {k: v for k, v in said.items() if v not in (None, "", [], [None, None])}


def bucket(value: float | int | str | None) -> float | int | str | None:
    """Numbers to two significant digits, dates to their year."""
    if isinstance(value, str):
        found = re.match(r"-?\d+(?=-)", value)
        return found.group() if found else value
    if isinstance(value, float):
        return float(f"{value:.2g}")
    return int(float(f"{value:.2g}")) if value is not None else None


def _with_answer(field: Field, answer: Answer, profile: Profile) -> Field:
    """The LLM's words. It cannot lower a protection, nor replace a comment of the database."""
    sensitive = next(c.sensitive for c in profile.columns if c.name == field.name)
    commented = field.source == "db_comment"
    update: Mapping[str, Any] = {
        "display_name": answer.display_name or field.display_name,
        "description": field.description if commented or not answer.description else answer.description,
        "semantic_type": field.semantic_type if sensitive else answer.semantic_type,
        "unit": field.unit or answer.unit,
        "synonyms": tuple(dict.fromkeys(s for s in answer.synonyms if s))[:8],
        "sensitivity": max(field.sensitivity, answer.sensitivity, key=_PROTECTION.index),
        "source": field.source if commented else "llm",
        "confidence": field.confidence if commented else _LLM_CONFIDENCE,
    }
    return field.model_copy(update=update)


def _with_person(field: Field, said: FieldSpec) -> Field:
    update: dict[str, Any] = {k: v for k, v in said.model_dump().items() if v is not None}
    if said.description is not None:
        update |= {"source": "human", "confidence": 1.0}
    return field.model_copy(update=update)
