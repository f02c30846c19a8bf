"""How long is waited for an endpoint, and what its answers mean."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.backoff import Backoff
from reconciler.domain.deliveries import Answer, RetryPolicy, answer_of_status

DEFAULT = RetryPolicy(backoff=Backoff(first_s=5, max_s=43_200), attempts_max=20)


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        (1, timedelta(seconds=5)),
        (2, timedelta(seconds=10)),
        (13, timedelta(seconds=20_480)),
        (14, timedelta(seconds=40_960)),
        (15, timedelta(hours=12)),
        (19, timedelta(hours=12)),
        (20, None),
        (21, None),
    ],
)
def test_waits_double_up_to_the_longest_and_end(attempts: int, expected: timedelta | None) -> None:
    assert DEFAULT.wait(attempts, 0.0) == expected


def test_all_waits_are_some_three_days() -> None:
    waits = [DEFAULT.wait(attempts, 0.0) or timedelta() for attempts in range(1, 21)]
    assert timedelta(days=3) < sum(waits, timedelta()) < timedelta(days=4)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_chance_takes_up_to_a_quarter_off(attempts: int, chance: float) -> None:
    patient = RetryPolicy(backoff=Backoff(first_s=1, max_s=604_800), attempts_max=20_000)
    longest, wait = patient.wait(attempts, 0.0), patient.wait(attempts, chance)
    assert longest is not None
    assert wait is not None
    assert longest * 3 / 4 <= wait <= longest
    assert wait.microseconds % 1000 == 0


@pytest.mark.parametrize(
    ("status_code", "answer"),
    [
        (199, Answer.REFUSED),
        (200, Answer.DELIVERED),
        (204, Answer.DELIVERED),
        (299, Answer.DELIVERED),
        (301, Answer.REDIRECTED),
        (399, Answer.REDIRECTED),
        (400, Answer.REFUSED),
        (410, Answer.GONE),
        (503, Answer.REFUSED),
    ],
)
def test_what_a_status_means(status_code: int, answer: Answer) -> None:
    assert answer_of_status(status_code) is answer
