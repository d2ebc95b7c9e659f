import pytest

from superinsight_sync.security.sensitive import (
    kind_of_name,
    kind_of_value,
    kind_of_values,
    names_a_person,
    sensitivity_of,
)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("jane.doe+x@mail.example.com", "email"),
        ("4111 1111 1111 1111", "card"),
        ("4111 1111 1111 1112", None),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("DE88 3704 0044 0532 0130 00", None),
        ("123-45-6789", "national_id"),
        ("11010519491231002X", "national_id"),
        ("110105194912310021", None),
        ("+49 151 23456789", "phone"),
        ("(212) 555-0100", "phone"),
        ("13812345678", "phone"),
        ("192.168.0.1", "ip"),
        ("2001:db8::1", "ip"),
        ("sk-abcdefghijklmnop1234", "secret"),
        ("2024-01-02", None),
        ("2024-01-02 10:00:00", None),
        ("N12345", None),
        ("EWR", None),
        ("999.1.1.1", None),
        ("12:30", None),
        ("", None),
    ],
)
def test_values_are_told_by_shape_and_checksum(value: str, kind: str | None) -> None:
    assert kind_of_value(value) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("email", "email"),
        ("CustomerEmail", "email"),
        ("phone_2", "phone"),
        ("home_phone", "phone"),
        ("first_name", "person_name"),
        ("lastName", "person_name"),
        ("SSN", "national_id"),
        ("card_number", "card"),
        ("iban", "iban"),
        ("ip_address", "ip"),
        ("billing_address", "address"),
        ("zip", "address"),
        ("dob", "birth_date"),
        ("password_hash", "secret"),
        ("手机号", "phone"),
        ("tailnum", None),
        ("ship_date", None),
        ("description", None),
        ("name", None),
        ("origin", None),
        ("tip_amount", None),
        ("hotel", None),
    ],
)
def test_columns_are_told_by_name(name: str, kind: str | None) -> None:
    assert kind_of_name(name) == kind


def test_a_bare_name_is_a_person_s_only_in_a_table_of_people() -> None:
    assert kind_of_name("name", "customers") == "person_name"
    assert kind_of_name("name", "airlines") is None


def test_a_column_is_sensitive_when_a_third_of_it_looks_so() -> None:
    assert kind_of_values(["a@b.com", "n/a", "none"]) == "email"
    assert kind_of_values(["a@b.com", "x", "y", "z"]) is None
    assert kind_of_values([]) is None


def test_something_sensitive_inside_a_text_is_seen() -> None:
    assert names_a_person("call +4915123456789 now")
    assert names_a_person("mail bob@acme.com")
    assert not names_a_person("Fixed wing multi engine")


@pytest.mark.parametrize(
    ("text", "is_personal"),
    [
        ("please write to jane@example.com, thanks", True),
        ("call 0171 2345678 after six", True),
        ("ring (212) 555-0100", True),
        ("call +49 151 23456789", True),
        ("请联系13812345678谢谢", True),
        ("her number is 123-45-6789", True),
        ("order 555 of 2024-01-05 shipped", False),
        ("Mon Sep 24 03:35:21 +0000 2012", False),
        ("SKU-123-456-7890", False),
        ("15112345678901234", False),
    ],
)
def test_one_address_or_telephone_makes_free_text_personal(text: str, is_personal: bool) -> None:
    assert names_a_person(text) == is_personal


@pytest.mark.parametrize(
    "name", ["salary", "base_salary", "BasePay", "net_pay", "bonus", "hourlyRate", "gehalt", "工资"]
)
def test_pay_is_personal(name: str) -> None:
    assert kind_of_name(name) == "pay"
    assert sensitivity_of("pay") == "personal"


@pytest.mark.parametrize("name", ["payment_id", "pay_method", "payload", "bonus_points", "repay_date"])
def test_what_only_begins_like_pay_is_not(name: str) -> None:
    assert kind_of_name(name) is None
