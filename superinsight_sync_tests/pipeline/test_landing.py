"""What was pushed lands exactly once, in order, with exact values; what is no record is kept with its reason."""

import hashlib
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.push import PushSourceSpec
from superinsight_sync.model.results import PullResult
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync.receive.parsing import ParseRules, parse
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.inbox_writer import Delivery

RAW = TableRef("acme", "till", "sales", "raw")


def declared(**stream: Any) -> PushSourceSpec:
    spec = {"name": "sales", "formats": ["json", "ndjson", "csv", "xml"], **stream}
    return PushSourceSpec.model_validate({"name": "till", "tenant": "acme", "streams": [spec]})


def inbox(engine: Engine) -> Inbox:
    return Inbox(engine.state.database, engine.settings.landing_dir)


def push(engine: Engine, body: Any, form: str = "json", stream: str = "sales") -> str:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    digest = hashlib.sha256(data).hexdigest()
    name = uuid.uuid4().hex
    delivery = Delivery(name, "acme", "till", stream, name, digest, form, "", data, len(data), 1)
    return inbox(engine).accept(delivery).id


def land(engine: Engine, spec: PushSourceSpec) -> PullResult:
    return pull_stream(engine, spec.landed, spec.landed.streams[0])


def rows(engine: Engine, *columns: str, table: TableRef = RAW) -> list[Any]:
    found = engine.lake.scan(table).read_all().to_pylist()
    found.sort(key=lambda r: r.get("_sis_seq", 0))
    return [tuple(r[c] for c in columns) if len(columns) > 1 else r[columns[0]] for r in found]


def aside(engine: Engine) -> list[tuple[str, str]]:
    return [(r, t) for r, t in rows(engine, "reason", "record", table=RAW.at("unreadable"))]


def test_deliveries_land_in_order_and_once(engine: Engine) -> None:
    spec = declared()
    first = push(engine, [{"id": 1, "note": "größe 😀"}, {"id": 2, "code": "007"}])
    push(engine, b'{"id": 3}\n\n{"id": 4, "amount": 0.1}\n', "ndjson")
    assert land(engine, spec).stats.rows == 4
    assert rows(engine, "id", "note", "code", "amount") == [
        (1, "größe 😀", None, None), (2, None, "007", None), (3, None, None, None), (4, None, None, 0.1),
    ]  # fmt: skip
    assert rows(engine, "_sis_delivery")[:2] == [first, first]
    assert {d.state for d in inbox(engine).list()} == {"landed"}
    assert land(engine, spec).unchanged
    push(engine, {"id": 5})
    assert land(engine, spec).stats.rows == 1
    assert rows(engine, "id") == [1, 2, 3, 4, 5]


def test_a_later_record_of_a_key_replaces_an_earlier_one(engine: Engine) -> None:
    spec = declared(primary_key=["id"])
    push(engine, [{"id": 1, "state": "new"}, {"id": 1, "state": "paid"}])
    push(engine, {"id": 1, "state": "sent"})
    land(engine, spec)
    assert rows(engine, "id", "state") == [(1, "sent")]
    push(engine, {"id": 1, "state": "back"})
    land(engine, spec)
    refine_stream(engine, spec.landed, spec.landed.streams[0])
    assert (
        rows(engine, "id", "state") == rows(engine, "id", "state", table=RAW.at("refined")) == [(1, "back")]
    )


def test_an_end_between_commit_and_note_repeats_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = declared()
    push(engine, [{"id": 1}, {"id": 2}])

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Inbox, "mark_landed", stop)
        with pytest.raises(KeyboardInterrupt):
            land(engine, spec)
    assert {d.state for d in inbox(engine).list()} == {"received"}
    assert land(engine, spec).unchanged
    assert {d.state for d in inbox(engine).list()} == {"landed"}
    assert rows(engine, "id") == [1, 2]


def test_numbers_that_happen_to_be_whole_or_absent_change_no_type(engine: Engine) -> None:
    spec = declared()
    push(engine, {"id": 1, "amount": 0.5, "n": 2**40})
    land(engine, spec)
    for record in (
        {"id": 2, "amount": 3},
        {"id": 3},
        {"id": 4, "amount": None, "n": None},
        {"id": 5, "n": 7},
    ):
        push(engine, record)
        assert land(engine, spec).schema_changes == ()
    assert rows(engine, "id", "amount", "n") == [
        (1, 0.5, 2**40), (2, 3.0, None), (3, None, None), (4, None, None), (5, None, 7),
    ]  # fmt: skip
    push(engine, {"id": "six", "amount": "free"})
    assert land(engine, spec).schema_changes
    assert rows(engine, "id")[-2:] == ["5", "six"]


def test_objects_are_kept_as_text_whatever_their_shape(engine: Engine) -> None:
    spec = declared()
    push(engine, {"id": 1, "who": {"name": "Li", "age": 7}, "tags": ["a", 1]})
    land(engine, spec)
    push(engine, [{"id": 2, "who": {"name": ["x"]}}, {"id": 3, "who": []}])
    assert land(engine, spec).schema_changes == ()
    found = [json.loads(w) for w in rows(engine, "who")]
    assert found == [{"name": "Li", "age": 7}, {"name": ["x"]}, []]


def test_another_inbox_is_told_apart_and_nothing_of_it_is_passed_over(engine: Engine) -> None:
    spec = declared()
    push(engine, [{"id": 1}])
    push(engine, {"id": 2})
    land(engine, spec)
    engine.state.close()
    for file in engine.settings.home.glob("*.db*"):
        file.unlink()
    anew = open_engine("run-2", engine.settings)
    push(anew, {"id": 3})
    with pytest.raises(ConfigError, match="landed from another inbox.*sis state reset till.sales"):
        land(anew, spec)
    assert [d.state for d in inbox(anew).list()] == ["received"]
    anew.lake.set_checkpoint(RAW, None, "")
    land(anew, spec)
    assert sorted(rows(anew, "id")) == [1, 2, 3]


def test_an_inbox_from_an_older_backup_is_told_apart(engine: Engine) -> None:
    spec = declared()
    push(engine, {"id": 1})
    with engine.state.database.write() as connection:
        backup = connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = 'sis_inbox'")).scalar()
    push(engine, {"id": 2})
    land(engine, spec)
    with engine.state.database.write() as connection:
        connection.execute(text("DELETE FROM sis_inbox WHERE seq > :seq"), {"seq": backup})
        connection.execute(text("UPDATE sqlite_sequence SET seq = :seq"), {"seq": backup})
    with pytest.raises(ConfigError, match="before it was restored from a backup.*sis state reset till.sales"):
        land(engine, spec)
    assert sorted(rows(engine, "id")) == [1, 2]


BAD = [
    (b'[1, {"id": 7}]', "json", "1"),
    (b'{"id": 7}\n{"id": 8, "id": 9}\n', "ndjson", '{"id": 8, "id": 9}'),
    (b'[{"id": 7}, {"": 1}]', "json", '{"": 1}'),
    (b'[{"id": 7}, {"_sis_hash": 1}]', "json", '{"_sis_hash": 1}'),
    (b'[{"id": 7}, {"ID": 1}]', "json", '{"ID": 1}'),
    (b"id\n7\n8,9\n", "csv", "8,9"),
    (b"id\r7\r8,9\r", "csv", "8,9"),
    (b'id\n7\n"8\n8",9\n', "csv", '"8\n8",9'),
    (
        b'{"id": 7}\n{"id": 8, "a": "%s", "id": 8}' % (b"x" * 1_100_000),
        "ndjson",
        f'{{"id": 8, "a": "{"x" * 1_100_000}", "id": 8}}',
    ),
    (b'{"id": 7}\n{"id": "\\\\x\xff"}\n', "ndjson", '{"id": "\\\\\\\\x\\xff"}'),
]


@pytest.mark.parametrize(("body", "form", "kept"), BAD, ids=map(str, range(len(BAD))))
def test_what_is_no_record_is_kept_and_the_others_land(
    engine: Engine, body: bytes, form: str, kept: str
) -> None:
    spec = declared()
    assert (push(engine, body, form) and land(engine, spec)).unreadable == 1
    assert [str(i) for i in rows(engine, "id")] == ["7"]
    ((reason, record),) = aside(engine)
    assert record == kept and reason
    push(engine, {"id": 10})
    land(engine, spec)
    assert len(rows(engine, "id")) == 2 and len(aside(engine)) == 1


@pytest.mark.parametrize(
    ("form", "bad", "good"),
    [
        ("json", b'{"id": "1", "_sis_load_id": "mine"}', b'{"id": "2"}'),
        ("json", b'[{"id": "1", "_SIS_Hash": 5}]', b'[{"id": "2"}]'),
        ("ndjson", b'{"id": "1", "_sis_seq": 5}\n', b'{"id": "2"}\n'),
        ("csv", b"id,_sis_seq\n1,5\n", b"id,name\n2,b\n"),
    ],
)
def test_a_field_under_a_name_of_ours_is_set_aside_with_its_record(
    engine: Engine, form: str, bad: bytes, good: bytes
) -> None:
    spec = declared()
    for body in (bad, good):
        push(engine, body, form)
        land(engine, spec)
    assert rows(engine, "id") == ["2"]
    ((reason, record),) = aside(engine)
    assert reason == "a field's name begins with _sis_"
    assert ("1" in record and "5" in record) or "mine" in record


def test_a_delivery_that_cannot_be_taken_apart_holds_nothing_up_and_can_be_replayed(engine: Engine) -> None:
    spec = declared(primary_key=["id"], record="data.object")
    lost = push(engine, b'{"data": {"object": {"id": 1}}')
    push(engine, {"data": {}})
    push(engine, {"data": {"object": {"id": 2}}})
    assert land(engine, spec).unreadable == 2
    assert rows(engine, "id") == [2]
    assert {r for r, _ in aside(engine)} == {
        "it is no JSON object", "there is no record at 'data.object'",
    }  # fmt: skip
    assert inbox(engine).replay(lost)
    land(engine, spec)
    assert len(aside(engine)) == 3


def test_a_stream_that_nothing_was_pushed_to_has_no_table_until_its_first_record(engine: Engine) -> None:
    spec = declared(primary_key=["id"], columns={"amount": "decimal(12,2)"})
    assert land(engine, spec).nothing_yet
    push(engine, {"amount": 1})
    assert land(engine, spec).nothing_yet
    assert not engine.lake.exists(RAW) and not engine.lake.exists(RAW.at("unreadable"))
    push(engine, {"id": 1, "amount": 1})
    assert land(engine, spec).unreadable == 1
    assert aside(engine) == [("it has no 'id', which is of the primary key", '{"amount": 1}')]
    push(engine, {"id": None})
    assert land(engine, spec).unreadable == 1
    assert [str(a) for a in rows(engine, "amount")] == ["1.00"]


def test_only_bad_records_are_kept_too(engine: Engine) -> None:
    spec = declared(columns={"id": "int64"})
    push(engine, [1, 2])
    assert land(engine, spec).unreadable == 2
    assert len(aside(engine)) == 2 and rows(engine, "id") == []


def test_csv_and_xml_are_text_unless_declared(engine: Engine) -> None:
    spec = declared(columns={"amount": "decimal(12,2)"}, record="sale")
    push(engine, b"id,amount\n007,1.10\n8,abc\n", "csv")
    push(engine, b"<s><sale><id>9</id><amount>2.5</amount></sale></s>", "xml")
    assert land(engine, spec).unreadable == 1
    assert [(i, str(a)) for i, a in rows(engine, "id", "amount")] == [("007", "1.10"), ("9", "2.50")]


def test_a_big_body_whose_file_is_gone_is_told_and_the_rest_lands(engine: Engine) -> None:
    spec = declared()
    push(engine, [{"id": n, "note": "x" * 100} for n in range(1000)])
    push(engine, {"id": -1})
    (file,) = (f for f in engine.settings.landing_dir.rglob("*") if f.is_file())
    file.unlink()
    assert land(engine, spec).unreadable == 1
    assert rows(engine, "id") == [-1]


@given(st.lists(st.one_of(st.just("land"), st.lists(st.integers(0, 9), max_size=3)), max_size=7))
def test_any_interleaving_of_pushes_and_landings_gives_each_record_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, actions: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("landing")
    engine = open_engine("run", load_settings({"SIS_PROJECT_DIR": str(folder)}))
    spec, pushed = declared(columns={"n": "int64"}), list[int]()
    for action in [*actions, "land"]:
        if action != "land":
            push(engine, [{"n": n} for n in action])
            pushed += action
        elif pushed:
            land(engine, spec)
    if pushed:
        assert rows(engine, "n") == pushed


def test_why_a_delivery_could_not_be_landed_is_noted_with_it_until_it_is(engine: Engine) -> None:
    spec = declared(columns={"id": "int64"}, schema_contract={"columns": "freeze"})
    name = push(engine, {"id": 1})
    land(engine, spec)
    name = push(engine, {"id": 2, "new": 1})
    with pytest.raises(SisError):
        land(engine, spec)
    (failed,) = inbox(engine).list(failed=True)
    assert failed.id == name and failed.state == "received" and "new column new" in str(failed.error_text)
    assert land(engine, declared(columns={"id": "int64"})).of_source["deliveries"] == 1
    assert inbox(engine).list(failed=True) == ()


def test_what_the_answer_told_as_set_aside_is_set_aside_by_the_same_numbers(engine: Engine) -> None:
    """Else a sender who mends a record and sends it again has it twice."""
    spec = PushSourceSpec.model_validate(
        {
            "name": "till",
            "tenant": "acme",
            "limits": {"nesting": 5, "record": 2_000},
            "streams": [{"name": "sales"}],
        }
    )
    lines = [
        b'{"id": 1}',
        b"",
        b'{"id": 3, "a": [[[[[[1]]]]]]}',
        b'{"id": 4, "a": "x\\u0000y"}',
        b'{"id": 5, "a": "%s"}' % (b"x" * 3_000),
        b"broken",
        b'{"id": 7, "a": "[[[[[[1]]]]]]"}',
    ]
    body = b"\n".join(lines)
    limits = spec.limits
    told = parse(body, "ndjson", ParseRules(nesting=limits.nesting, record_bytes=limits.record))
    assert [r.place for r in told.rejected] == [3, 4, 5, 6]
    push(engine, body, "ndjson")
    land(engine, spec)
    assert rows(engine, "id") == [1, 7]
    assert rows(engine, "line", table=RAW.at("unreadable")) == [3, 4, 5, 6]


MIXED: list[list[dict[str, Any]]] = [
    [{"x": 1, "y": "plain", "z": "[urgent]"}, {"x": 1.5, "y": None}],
    [{"x": True, "y": '{"a": 1}', "w": 2**60}],
    [{"x": "1", "y": {"a": 1}, "z": ["urgent"]}, {"y": 7, "w": 0.5}],
    [{"x": [1], "y": "again", "Y": 1}, {"x": "[1]"}],
]


@pytest.mark.parametrize("keys", [(), ("id",)])
@pytest.mark.parametrize("cuts", [(), (0,), (0, 1, 2)])
def test_wherever_loads_are_cut_the_table_is_the_same(
    engine: Engine, keys: tuple[str, ...], cuts: tuple[int, ...]
) -> None:
    spec = declared(primary_key=keys)
    for place, records in enumerate(MIXED):
        push(engine, [{"id": 10 * place + n, **record} for n, record in enumerate(records)])
        if place in (*cuts, 3):
            land(engine, spec)
    assert sorted(rows(engine, "id", "x", "y", "z", "w")) == [
        (0, "1", "plain", '"[urgent]"', None),
        (1, "1.5", None, None, None),
        (10, "true", '"{\\"a\\": 1}"', None, "1152921504606846976"),
        (20, "1", '{"a": 1}', '["urgent"]', None),
        (21, None, "7", None, "0.5"),
        (31, "[1]", None, None, None),
    ]
    assert [r for _, r in aside(engine)] == ['{"id": 30, "x": [1], "y": "again", "Y": 1}']
    assert {d.state for d in inbox(engine).list()} == {"landed"}


def test_an_end_between_the_rewriting_of_a_column_and_its_rows_marks_no_text_twice(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = declared()
    push(engine, [{"id": 1, "x": '{"a": 1}', "n": 1}])
    land(engine, spec)
    push(engine, [{"id": 2, "x": {"a": 1}, "n": "one"}])
    with monkeypatch.context() as patch:
        patch.setattr("superinsight_sync.pipeline.pull._land_increment", stopped)
        with pytest.raises(KeyboardInterrupt):
            land(engine, spec)
    land(engine, spec)
    assert rows(engine, "x", "n") == [('"{\\"a\\": 1}"', "1"), ('{"a": 1}', "one")]


def stopped(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_table_from_before_kinds_were_kept_goes_on_as_it_was(engine: Engine) -> None:
    spec = declared()
    push(engine, [{"id": 1, "x": {"a": 1}, "t": "[a]"}])
    land(engine, spec)
    (point,) = engine.lake.checkpoints(RAW).values()
    position = {k: v for k, v in point.detail["position"].items() if k != "kinds"}
    engine.lake.set_checkpoint(RAW, replace(point, detail={**point.detail, "position": position}), "")
    push(engine, [{"id": 2, "x": {"a": 2}, "t": "[b]"}, {"id": 3, "x": "c", "t": [1]}])
    assert land(engine, spec).schema_changes == ()
    assert rows(engine, "x", "t") == [('{"a": 1}', "[a]"), ('{"a": 2}', "[b]"), ("c", "[1]")]
