"""How long to wait after a failure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.backoff import Backoff

BACKOFF = Backoff(first_s=5, max_s=60)


def test_the_first_is_exact_and_the_others_double_up_to_the_maximum() -> None:
    assert [BACKOFF.delay_s(n) for n in range(1, 7)] == [5, 10, 20, 40, 60, 60]
    assert BACKOFF.jittered_s(1, lambda low, high: low) == 5
    assert [BACKOFF.jittered_s(n, lambda low, high: low) for n in (2, 3, 5)] == [5, 10, 30]
    assert [BACKOFF.jittered_s(n, lambda low, high: high) for n in (2, 3, 5)] == [10, 20, 60]


@given(st.integers(0, 10**9))
def test_a_year_of_failures_is_no_number_of_many_digits(failures_count: int) -> None:
    assert 5 <= BACKOFF.delay_s(failures_count) <= 60
