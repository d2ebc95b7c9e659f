"""Detectors of official numbers, names and keys, and how sure a column is judged."""

import random
from pathlib import Path

import duckdb
import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.columns import judge
from superinsight_sync.security.detection import DETECTORS
from superinsight_sync.security.digit_cipher import DigitCipher
from superinsight_sync.security.sensitive import builtin_rules, kind_of_value, rule_of_value
from superinsight_sync.security.sensitive_file import load_sensitive_file
from superinsight_sync.security.text_masks import masked_text


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("11010519491231002X", "chinese_id_card"),
        ("110105194912310021", None),
        ("91350100M000100Y43", "unified_social_credit_code"),
        ("91350100M000100Y44", None),
        ("A123456(3)", "hong_kong_id"),
        ("A123456(4)", None),
        ("A123456789", "taiwan_id"),
        ("A123456788", None),
        ("1/123456/7", "macau_id"),
        ("123-45-6789", "us_ssn"),
        ("京A12345", "plate"),
        ("粤B·D12345", "plate"),
        ("ghp_abcdefghijklmnopqrstuvwx", "secret"),
        ("AKIAIOSFODNN7EXAMPLE", "secret"),
        ("Mary Smith", "person_name"),
        ("Smith, Mary", "person_name"),
        ("Fixed Wing", None),
        ("12 Baker Street", "street_address"),
        ("北京市朝阳区建国路88号", "street_address"),
        ("E12345678", None),
    ],
)
def test_a_value_is_known_by_form_and_check_digit(value: str, rule: str | None) -> None:
    found = rule_of_value(value)
    assert (found.name if found else None) == rule


def test_what_proves_nothing_alone_counts_where_the_name_agrees() -> None:
    values = [f"E{n:08}" for n in range(20)]
    assert all(kind_of_value(v) is None for v in values)
    passport = judge("passport_no", "", values, builtin_rules())
    assert passport is not None
    assert (passport.rule, passport.evidence, passport.confidence, passport.matched) == (
        "passport",
        "name and values",
        "high",
        20,
    )
    assert judge("order_no", "", values, builtin_rules()) is None


def test_confidence_says_what_is_behind_it() -> None:
    rules = builtin_rules()

    def confidence(name: str, values: list[str]) -> str | None:
        found = judge(name, "", values, rules)
        return found.confidence if found else None

    mails = [f"p{n}@example.org" for n in range(20)]
    assert confidence("c", mails) == "high"
    assert confidence("c", mails[:3]) == "medium"
    assert confidence("email", mails) == "high"
    assert confidence("email", ["yes", "no"] * 10) == "low"
    assert confidence("salary", ["1", "2"]) == "medium"
    assert confidence("note", ["nothing"] * 50 + ["write to p@example.org"]) == "low"
    dice = random.Random(1)
    numbers = [f"6{dice.randrange(10**15):015}" for _ in range(400)]
    assert confidence("order_no", numbers) is None, "one random number in ten has Luhn's check digit"


def test_every_pattern_is_one_of_duckdb_too() -> None:
    with duckdb.connect() as connection:
        for name in DETECTORS.names():
            if name != "pattern":
                for rule in DETECTORS.load(name)(DETECTORS.config(name)()).rules():
                    connection.execute("SELECT regexp_matches('x', ?)", [rule.inside]).fetchall()
        text = "身份证11010519491231002X，电话13800000000，Mr. John Smith lives at 12 Baker Street"
        masked = connection.execute(f"SELECT {masked_text('?')}", [text]).fetchall()[0][0]
    assert masked == "身份证[national_id]，电话[phone]，[person_name] lives at [address]"


def test_format_is_ff1_as_nist_has_it() -> None:
    """Sample 1 of the examples to SP 800-38G."""
    cipher = DigitCipher(bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"))
    assert cipher.encipher(["0123456789", "+0123 456-789 x"]) == ["2433477484", "+2433 477-484 x"]


def test_a_detector_of_your_own_is_asked_first(tmp_path: Path) -> None:
    file = tmp_path / "sensitive.yaml"
    file.write_text(
        "keys: {1: '{{ env.OLD }}', 3: '{{ env.NEW }}'}\ntenants: {acme: {1: '{{ env.ACME }}'}}\n"
        "detectors: [{detector: pattern, name: member, kind: national_id, columns: [member_no], values: 'M-[0-9]{6}'}]\n"
    )
    found = load_sensitive_file(tmp_path)
    judged = judge("c", "", [f"M-{n:06}" for n in range(12)], found.rules())
    assert judged is not None
    assert (judged.rule, judged.confidence) == ("member", "high")
    assert (found.masking("globex").version, found.masking("acme").version) == (3, 1)
    assert "member" in {r.name for r in found.masking("acme").rules or ()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("keys: {1: my-literal-secret}", "key 1 is no reference"),
        ("keyz: {}", "keyz"),
        ("detectors: [{detector: patern}]", "Did you mean 'pattern'"),
        ("detectors: [{detector: pattern, name: m, kind: email, values: '(?=x)'}]", "look-around"),
        ("a: [", "no valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_without_its_values(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "sensitive.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_sensitive_file(tmp_path)
    assert "my-literal-secret" not in str(caught.value)
