"""Token buckets by a clock of the test's own, and whom a request is taken to come from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.rate_limits import BucketRate, Buckets, RateLimits, TrustedProxies, subscriber


class Hands:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _buckets(per_s_max: int, burst_max: int, buckets_max: int = 1000) -> tuple[Buckets, Hands]:
    hands = Hands()
    return Buckets(BucketRate(per_s_max=per_s_max, burst_max=burst_max), now=hands, buckets_max=buckets_max), hands


def test_a_burst_and_then_the_pace() -> None:
    buckets, hands = _buckets(2, 3)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    hands.now += 0.5
    assert [buckets.take("a") for _ in range(2)] == [0, 0.5]
    hands.now += 100
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_keys_do_not_share() -> None:
    buckets, _ = _buckets(1, 1)
    assert [buckets.take(key) for key in "abab"] == [0, 0, 1, 1]


def test_no_limit() -> None:
    buckets, _ = _buckets(0, 1)
    assert [buckets.take("a") for _ in range(5)] == [0] * 5
    assert len(buckets) == 0


def test_the_number_of_buckets_is_bounded_and_the_busiest_stay() -> None:
    buckets, hands = _buckets(1, 1, buckets_max=3)
    for key in "abcd":
        buckets.take(key)
        hands.now += 0.1
    assert len(buckets) == 3
    assert buckets.take("d") > 0
    assert buckets.take("a") == 0


@given(
    per_s_max=st.integers(1, 1000),
    burst_max=st.integers(1, 100),
    pauses=st.lists(st.floats(0, 3, allow_nan=False), max_size=200),
)
def test_never_more_than_the_burst_and_the_pace_allow(per_s_max: int, burst_max: int, pauses: list[float]) -> None:
    buckets, hands = _buckets(per_s_max, burst_max)
    started, taken = hands.now, 0
    for pause in pauses:
        hands.now += pause
        wait_s = buckets.take("a")
        assert wait_s <= 1 / per_s_max + 1e-6
        taken += wait_s == 0
        assert taken <= burst_max + (hands.now - started) * per_s_max + 1e-3


@given(per_s_max=st.integers(1, 1000), burst_max=st.integers(1, 20), takes=st.integers(1, 60))
def test_whoever_waits_as_told_is_let_in(per_s_max: int, burst_max: int, takes: int) -> None:
    buckets, hands = _buckets(per_s_max, burst_max)
    for _ in range(takes):
        hands.now += buckets.take("a") + 1e-6
    wait_s = buckets.take("a")
    hands.now += wait_s + 1e-6
    assert wait_s == 0 or buckets.take("a") == 0


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded_for", "wanted"),
    [
        ("", "192.0.2.1", None, "192.0.2.1"),
        ("", "192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1", "198.51.100.7", "198.51.100.7"),
        ("192.0.2.1", "192.0.2.9", "198.51.100.7", "192.0.2.9"),
        ("192.0.2.0/24", "192.0.2.1", "203.0.113.5, 198.51.100.7", "198.51.100.7"),
        ("192.0.2.0/24", "192.0.2.1", "203.0.113.5, 192.0.2.77", "203.0.113.5"),
        ("192.0.2.0/24", "192.0.2.1", "nonsense, 192.0.2.77", "192.0.2.77"),
        ("192.0.2.0/24", "192.0.2.1", "nonsense", "192.0.2.1"),
        ("192.0.2.0/24", "192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.0/24", "192.0.2.1", "198.51.100.7, ", "192.0.2.1"),
        ("192.0.2.0/24, 2001:db8::/32", "2001:db8::1", "198.51.100.7", "198.51.100.7"),
        ("192.0.2.0/24", "::ffff:192.0.2.1", "198.51.100.7", "198.51.100.7"),
        ("192.0.2.0/24", "unix socket", "198.51.100.7", "unix socket"),
    ],
)
def test_whom_a_request_comes_from(trusted: str, peer: str, forwarded_for: str | None, wanted: str) -> None:
    assert TrustedProxies(trusted).client(peer, forwarded_for) == wanted


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("not:an:address", "not:an:address"),
        ("", ""),
    ],
)
def test_one_subscriber(address: str, wanted: str) -> None:
    assert subscriber(address) == wanted


def test_the_address_is_asked_first_and_seconds_are_whole() -> None:
    tokens, _ = _buckets(1, 1)
    addresses, _ = _buckets(1000, 2)
    limits = RateLimits(tokens=tokens, addresses=addresses)
    assert [limits.wait_s("token", "192.0.2.1") for _ in range(3)] == [0, 1, 1]
    # Whoever is stopped by its address takes nothing of a token's bucket.
    assert limits.wait_s("another", "192.0.2.1") == 1
    assert limits.wait_s("another", "192.0.2.2") == 0
