"""The `mask` step: what values become, and that quarantine hides them as well."""

import hashlib
import hmac
import json
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.security.mask_keys import Masking
from superinsight_sync.transform.protocol import StepContext
from superinsight_sync_tests.transform.conftest import Run

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIS_MASK_KEY", KEY)


def mask(**columns: Any) -> dict[str, Any]:
    return {"step": "mask", "columns": columns}


def by_python(text: str, tenant: str = "default", version: int = 1) -> str:
    key = hmac.digest(KEY.encode(), f"sis-mask/{version}/{tenant}/hmac".encode(), "sha256")
    return f"k{version}_" + hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]


def test_each_mask_hides_and_null_stays_null(run: Run) -> None:
    done = run(
        {
            "a": ["x@y.org", None],
            "b": ["x@y.org", None],
            "c": ["4111111111111111", None],
            "d": pa.array([date(2024, 5, 17), None]),
            "e": pa.array([37, None]),
            "f": ["94110-1234", None],
            "g": ["write to x@y.org or +49 151 23456789, card 4111 1111 1111 1111", None],
        },
        mask(
            a="redact",
            b=None,
            c={"how": "partial", "keep_last": 4},
            d={"how": "generalise", "to": "month"},
            e={"how": "generalise", "band": 10},
            f={"how": "generalise", "prefix": 3},
            g="text",
        ),
    )
    assert done.rows == [
        {
            "a": "***",
            "b": None,
            "c": "************1111",
            "d": date(2024, 5, 1),
            "e": "30-39",
            "f": "941*******",
            "g": "write to [email] or [phone], card [card]",
        },
        dict.fromkeys("abcdefg"),
    ]


@settings(max_examples=100)
@given(st.lists(st.one_of(st.none(), st.text(max_size=80)), min_size=1, max_size=8))
def test_a_digest_is_hmac_sha_256_of_every_text(run: Run, texts: list[str | None]) -> None:
    done = run({"t": pa.array(texts, pa.string())}, mask(t="hmac"))
    assert done.column("t") == [None if t is None else by_python(t) for t in texts]


@settings(max_examples=100)
@given(st.text(max_size=12), st.integers(0, 5), st.integers(0, 5))
def test_a_part_never_shows_more_than_it_hides(run: Run, text: str, first: int, last: int) -> None:
    done = run({"t": [text]}, mask(t={"how": "partial", "keep_first": first, "keep_last": last}))
    masked = done.column("t")[0]
    assert len(masked) == len(text)
    whole = len(text) - first - last < max(first + last, 1)
    assert masked == (
        "*" * len(text)
        if whole
        else text[:first] + "*" * (len(text) - first - last) + text[len(text) - last :]
    )


def test_what_is_written_otherwise_matches_and_tenants_differ(run: Run) -> None:
    rows = {"a": [" Ann@Example.org ", "ann@example.org"], "p": ["+86 138-0000-0000", "8613800000000"]}
    step = mask(a={"how": "hmac", "match": "email"}, p={"how": "hmac", "match": "code"})
    done = run(rows, step)
    assert len(set(done.column("a"))) == len(set(done.column("p"))) == 1
    other = run(rows, step, context=StepContext(masking=Masking("globex")))
    assert other.column("a")[0] == by_python("ann@example.org", "globex") != done.column("a")[0]


def test_a_new_version_of_the_key_is_in_the_prefix(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEW_KEY", KEY[::-1])
    keys = ((1, "{{ env.SIS_MASK_KEY }}"), (2, "{{ env.NEW_KEY }}"))
    done = run({"a": ["x"]}, mask(a="hmac"), context=StepContext(masking=Masking(keys=keys)))
    assert done.column("a")[0].startswith("k2_")


def test_dates_of_a_subject_move_together(run: Run) -> None:
    seen = [datetime(2024, 1, 1, 8), datetime(2024, 1, 11, 9), datetime(2024, 1, 1, 8), None]
    rows = {
        "who": ["a", "a", "b", "a"],
        "at": pa.array(seen, pa.timestamp("us")),
        "on": pa.array([None if s is None else s.date() for s in seen]),
    }
    shift = {"how": "shift", "subject": "who", "days": 100}
    done = run(rows, mask(who="hmac", at=shift, on=shift))
    at = done.column("at")
    assert at[1] - at[0] == datetime(2024, 1, 11, 9) - datetime(2024, 1, 1, 8)
    assert at[0].date() == done.column("on")[0]
    assert 0 < abs((at[0] - datetime(2024, 1, 1, 8)).days) <= 100
    assert at[3] is None
    assert done.lineage["at"] == ("at", "who")


def test_format_keeps_the_form(run: Run) -> None:
    done = run({"c": ["4111-1111-1111-1111", "12345", "١٢٣٤٥٦٧٨", None]}, mask(c="format"))
    masked = done.column("c")
    assert [c if c == "-" else "9" for c in masked[0]] == list("9999-9999-9999-9999")
    assert masked[0] != "4111-1111-1111-1111"
    assert masked[1:] == [None, None, None]


def test_quarantine_hides_what_any_later_step_masks(run: Run) -> None:
    """A record set aside before the mask, and after it, and by a column made of the masked one."""
    rows = {"id": [1, 2, 3], "mail": ["ann@x.org", "bob@x.org", "cy@x.org"], "n": ["1", "x", "-1"]}
    done = run(
        rows,
        {"step": "map", "rename": {"mail": "contact"}},
        {"step": "cast", "columns": {"n": "int"}},
        mask(contact="hmac"),
        {"step": "rule", "name": "positive", "check": "n > 0"},
    )
    assert done.rows_read == 3
    assert done.quarantined == {"cast_n": 1, "positive": 1}
    records = [json.loads(r["_sis_record"]) for r in done.records]
    assert [r["mail"] for r in records] == ["***", "***"]
    assert [r["id"] for r in records] == [2, 3]
    assert "@" not in str(done.records)


def test_rows_made_by_sql_hide_it_too(run: Run) -> None:
    done = run(
        {"mail": ["ann@x.org", "bob@x.org"], "n": [1, -1]},
        {"step": "sql", "select": "SELECT upper(mail) AS loud, n FROM input"},
        {"step": "rule", "name": "positive", "check": "n > 0"},
        mask(loud="redact"),
    )
    assert done.rows == [{"loud": "***", "n": 1}]
    assert json.loads(done.records[0]["_sis_record"]) == {"loud": "***", "n": -1}


def test_a_masked_key_is_a_digest_in_quarantine(run: Run) -> None:
    done = run(
        {"id": ["a7", "b8"], "n": [1, -1]},
        {"step": "rule", "name": "positive", "check": "n > 0"},
        mask(id="hmac"),
        context=StepContext(primary_key=("id",)),
    )
    assert json.loads(done.records[0]["_sis_record"])["id"].startswith("k1_")


@pytest.mark.parametrize(
    ("columns", "context", "says"),
    [
        ({"nope": "redact"}, StepContext(), "no column 'nope'"),
        ({"id": "redact"}, StepContext(primary_key=("id",)), "would make keys equal"),
        ({"f": "hmac"}, StepContext(), "cannot have this mask"),
        ({"f": {"how": "generalise", "to": "month"}}, StepContext(), "cannot have this mask"),
        ({"id": {"how": "generalise"}}, StepContext(), "exactly one of"),
        ({"id": "scramble"}, StepContext(), "scramble"),
        ({"id": "hmac"}, StepContext(masking=Masking(keys=((1, "{{ env.NO_KEY }}"),))), "NO_KEY is not set"),
        ({"id": "hmac"}, StepContext(masking=Masking(keys=((1, "plain"),))), "no reference"),
    ],
)
def test_what_is_wrong_is_said(run: Run, columns: dict[str, Any], context: StepContext, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        run({"id": ["a"], "f": [1.5]}, mask(**columns), context=context)


def test_a_short_key_is_refused_and_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIS_MASK_KEY", "tooshort")
    with pytest.raises(SisError, match="SIS_MASK_KEY is too short") as caught:
        run({"id": ["a"]}, mask(id="hmac"))
    assert "tooshort" not in str(caught.value)
