"""Declarations of push sources: what is refused, by what words, and what the stages after `raw` get."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from superinsight_sync.model.push import PushSourceSpec
from superinsight_sync.pipeline.project import load_folder

STREAMS = [{"name": "orders", "events": ["order.*", "refund"]}, {"name": "others"}]


def spec(**changes: object) -> PushSourceSpec:
    return PushSourceSpec.model_validate(
        {"name": "shop", "event_type": "type", "streams": STREAMS, **changes}
    )


def test_an_event_finds_its_stream() -> None:
    shop = spec()
    found = {e: shop.stream_of(e) for e in ("order.paid", "refund", "refund.x", "orders", None)}
    assert {e: s.name if s else None for e, s in found.items()} == {
        "order.paid": "orders",
        "refund": "orders",
        "refund.x": "others",
        "orders": "others",
        None: "others",
    }
    assert spec(streams=STREAMS[:1]).stream_of("else") is None


def test_the_stages_after_raw_get_a_stream_read_by_position() -> None:
    streams = [
        {"name": "a", "primary_key": ["id"], "refine": [{"step": "dedupe"}]},
        {"name": "b", "schema_contract": "freeze"},
    ]
    shop = spec(event_type=None, streams=streams, defaults={"priority": 3})
    first, second = shop.landed.streams
    assert (first.disposition, second.disposition) == ("merge", "append")
    assert (first.sync.by, first.place, first.priority) == ("position", ("endpoint", "a"), 3)
    assert first.refine[0].step == "dedupe" and second.contract.columns == "freeze"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"streams": []}, "at least 1"),
        ({"streams": [STREAMS[0], STREAMS[0]]}, "twice: orders"),
        ({"event_type": None}, "where a webhook names its event"),
        ({"streams": [*STREAMS, {"name": "more"}]}, "only one stream may be without `events`"),
        ({"allow_ips": ["everybody"]}, "no address or network"),
        ({"limits": {"body": "a lot"}}, "not a size"),
        ({"limits": {"records": 0}}, "greater than or equal to 1"),
        ({"event_type": "$.type"}, "pattern"),
        ({"streams": [{"name": "a", "formats": ["yaml"]}]}, "'json', 'ndjson', 'csv' or 'xml'"),
        ({"typo": 1}, "Extra inputs"),
    ],
)
def test_wrong_declarations_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        spec(**changes)


def test_a_project_has_push_sources_and_names_their_problems(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "defs.yaml").write_text(
        "type: superinsight_sync.PushSource\n"
        "attributes:\n  name: shop\n  streams: [{name: orders}]\n"
        "---\n"
        "type: superinsight_sync.PushSource\n"
        "attributes:\n  name: shop\n  streams: [{name: orders}]\n"
        "---\n"
        "type: superinsight_sync.PushSource\n"
        "attributes:\n  name: bad\n  signature: {scheme: github, secrets: hunter2}\n  streams: [{name: a}]\n"
        "---\n"
        "type: superinsight_sync.Dataset\n"
        "attributes: {name: d, inputs: {o: shop/orders}, select: SELECT * FROM o}\n"
    )
    project = load_folder(tmp_path)
    assert list(project.push_sources) == ["shop"] and list(project.datasets) == ["d"]
    told = [str(p) for p in project.problems]
    assert any("source 'shop' is declared twice" in t for t in told)
    assert any("a secret is written as a reference" in t for t in told)


@pytest.mark.parametrize(
    "secrets",
    [
        "{{ env.A }}",
        ["{{ env.A }}", "{{ env.B }}"],
        [{"value": "{{ env.A }}", "not_after": "2027-01-31T00:00:00Z"}, "{{ env.B }}"],
    ],
)
def test_the_schema_that_editors_check_with_takes_every_way_to_write_secrets(secrets: object) -> None:
    import jsonschema

    spec = {"name": "x", "signature": {"scheme": "github", "secrets": secrets}, "streams": [{"name": "s"}]}
    jsonschema.validate(spec, PushSourceSpec.model_json_schema())
    assert PushSourceSpec.model_validate(spec).signature is not None
