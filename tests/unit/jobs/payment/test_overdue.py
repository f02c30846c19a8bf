"""Who is due and could not be paid, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobs.payment import overdue
from jobs.payment.overdue import Overdue
from reconciler.domain.ids import DocumentId

ONE, TWO, THREE = (DocumentId.from_tagged(f"str:{name}") for name in ("one", "two", "three"))


class Now:
    """A clock that goes on when told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def test_the_age_is_that_of_the_first_look_and_ends_with_an_answer() -> None:
    clock = Now()
    due = Overdue(clock)
    assert due.shown() == {"overdue_count": 0, "overdue_oldest_age_s": 0.0}
    due.saw([ONE])
    clock.pass_by(60)
    due.saw([ONE, TWO])
    assert due.shown() == {"overdue_count": 2, "overdue_oldest_age_s": 60.0}
    due.answered([ONE, THREE])
    clock.pass_by(5)
    assert due.shown() == {"overdue_count": 1, "overdue_oldest_age_s": 5.0}
    clock.pass_by(-10)
    assert due.oldest_age_s() == 0


def test_whoever_a_whole_look_did_not_meet_is_forgotten() -> None:
    due = Overdue(Now())
    due.saw([ONE, TWO])
    due.begin_round()
    due.saw([TWO, THREE])
    assert due.shown()["overdue_count"] == 3
    due.end_round()
    assert due.shown()["overdue_count"] == 2


def test_a_stand_by_shows_nobody() -> None:
    clock = Now()
    due, leads = Overdue(clock), [True]
    due.count_while(lambda: leads[0])
    due.saw([ONE])
    clock.pass_by(7)
    leads[0] = False
    assert (due.shown()["overdue_count"], due.oldest_age_s()) == (0, 0)
    leads[0] = True
    assert due.oldest_age_s() == 7


def test_what_is_remembered_is_limited_to_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overdue, "REMEMBERED_MAX", 2)
    due = Overdue(Now())
    due.saw([ONE, TWO])
    due.saw([THREE])
    due.answered([THREE])
    assert due.shown()["overdue_count"] == 2
