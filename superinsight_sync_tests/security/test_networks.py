"""Where requests come from: what proxies say and what clients make up; countries; rates."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.networks import Address, Countries, Networks, address_of, client_address
from superinsight_sync.security.rate_limits import RateLimit
from superinsight_sync_tests.security.doors import Watch

PROXIES = Networks(["10.0.0.0/24", "fd00::/8"])


def at(text: str) -> Address:
    found = address_of(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["10.1.1.1"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["", " , "], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["203.0.113.5, 192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["203.0.113.5", "192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["203.0.113.5, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        ("::ffff:10.0.0.1", ["192.0.2.1:5050"], "192.0.2.1"),
        ("fd00::1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("10.0.0.1", ["192.0.2.1, unknown"], None),
        ("10.0.0.1", ["192.0.2.1, 010.0.0.1"], None),
        ("10.0.0.1", [",".join(["x"] * 100_000 + ["10.0.0.2"] * 60)], None),
        ("testclient", ["192.0.2.1"], None),
    ],
)
def test_only_what_a_trusted_proxy_wrote_is_believed(
    peer: str, forwarded: list[str], client: str | None
) -> None:
    assert client_address(peer, forwarded, PROXIES) == (at(client) if client else None)


@given(st.text(max_size=60), st.ip_addresses())
def test_what_a_client_writes_itself_changes_nothing(written: str, real: Address) -> None:
    real = at(str(real))
    if real not in PROXIES:
        assert client_address("10.0.0.1", [written, str(real)], PROXIES) == real
        assert client_address(str(real), [written], PROXIES) == real


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0", "", "example.org", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no network"):
        Networks([text])


def test_a_wrapped_address_is_the_address() -> None:
    assert at("::ffff:10.0.0.9") in PROXIES and at("10.0.1.0") not in PROXIES
    assert at("::1") not in Networks(["0.0.0.0/0"]) and not Networks()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("geo") / "countries.mmdb"
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Country")
    for network, code in (("192.0.2.0/24", "AT"), ("2001:db8::/32", "CH"), ("203.0.113.0/24", "KP")):
        writer.insert_network(IPSet([network]), {"country": {"iso_code": code}})
    writer.insert_network(IPSet(["198.51.100.0/24"]), {"country": "broken"})
    writer.to_db_file(str(path))
    return path


def test_countries_let_in_and_keep_out_and_the_unknown_stays_out(database: Path) -> None:
    allowed = Countries(database, allow=["at", "CH"], exempt=Networks(["10.0.0.0/8"]))
    denied = Countries(database, deny=["KP"])
    known = {"192.0.2.7": (True, True), "2001:db8::7": (True, True), "203.0.113.7": (False, False)}
    unknown = {"198.51.100.7": (False, False), "8.8.8.8": (False, False), "10.0.0.1": (True, False)}
    for text, (first, second) in (known | unknown).items():
        assert (at(text) in allowed, at(text) in denied) == (first, second), text


def test_a_country_rule_without_its_database_stops_the_start(tmp_path: Path, database: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Countries(tmp_path / "missing.mmdb", allow=["AT"])
    (tmp_path / "bad.mmdb").write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match="cannot be read"):
        Countries(tmp_path / "bad.mmdb", allow=["AT"])
    with pytest.raises(ConfigError, match="names no country"):
        Countries(database)


@given(st.lists(st.floats(0, 10), max_size=60), st.floats(0.1, 100), st.integers(1, 20))
def test_a_limit_lets_through_what_it_says_and_its_wait_is_enough(
    pauses: list[float], per_s: float, burst: int
) -> None:
    watch = Watch()
    limit, passed = RateLimit(per_s, burst, clock_s=watch), 0
    for pause in pauses:
        watch.now_s += pause
        wait_s = limit.take("k")
        passed += wait_s == 0
        if wait_s:
            watch.now_s += wait_s + 1e-6
            assert limit.take("k") == 0.0
            passed += 1
    assert passed <= burst + per_s * (watch.now_s - 1_000.0) + 1e-6


def test_a_clock_that_goes_back_gives_nothing_and_breaks_nothing() -> None:
    watch = Watch()
    limit = RateLimit(1, 1, clock_s=watch)
    assert limit.take("k") == 0.0
    watch.now_s -= 500
    assert limit.take("k") == 1.0
    watch.now_s += 501
    assert limit.take("k") == 0.0


def test_buckets_do_not_grow_without_end() -> None:
    limit = RateLimit(1, 1, most=10)
    for n in range(1_000):
        limit.take(n)
    assert len(limit._buckets) == 10
    for rate, burst in ((0, 1), (-1, 1), (float("nan"), 1), (1, 0)):
        with pytest.raises(ValueError, match="rate limit"):
            RateLimit(rate, burst)
