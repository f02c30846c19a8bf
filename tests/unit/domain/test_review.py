"""What a person looks at first: the pace in whole numbers, and how far an approval reaches while viewers go on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.accounts import Posting
from reconciler.domain.batch import Outcome
from reconciler.domain.decision import Due
from reconciler.domain.earnings import earnings
from reconciler.domain.entries import given_back
from reconciler.domain.ids import payout_key
from reconciler.domain.ledger_snapshot import HoldWithdrawal, PayoutRequest
from reconciler.domain.review import approved_part, pace_of
from tests.support import decisions
from tests.support.batches import MINUTE, holds, outcomes
from tests.support.decisions import CAMPAIGN_ID, CAP, NOW, PAY, oid, participation, terms
from tests.support.paper_ledger import RULES, PaperLedger

KEY = payout_key(oid(1), 1)
SLOW_DOWN = replace(RULES, impressions_per_minute_max=1000)


def counted(impressions: int, made_at: datetime | None = None, **of_campaign: object) -> Due:
    one = replace(participation(impressions=impressions), created_at=made_at)
    return decisions.due(one, terms(**of_campaign), PAY)


def asked_for(due: Due) -> PayoutRequest:
    return PayoutRequest(due=due, facts_at=NOW)


@pytest.mark.parametrize(
    ("impressions", "age", "is_too_fast"),
    [
        (2000, 2 * MINUTE, False),
        (2001, 2 * MINUTE, True),
        (2001, 2 * MINUTE + timedelta(microseconds=60_000), False),
        # A minute at least: a moment would make any count too fast, and a date that lies ahead would make none.
        (2000, timedelta(seconds=8), True),
        (259_000, timedelta(seconds=-3600), True),
        (10**12, timedelta(days=365_000), True),
    ],
)
def test_the_pace_is_impressions_by_minutes_since_it_was_made(
    impressions: int, age: timedelta, is_too_fast: bool
) -> None:
    pace = pace_of(counted(impressions, NOW - age), NOW)

    assert pace is not None
    assert pace.exceeds(1000) is is_too_fast


def test_nobody_is_judged_where_nothing_says_when_it_was_made_or_nothing_is_set() -> None:
    assert outcomes(PaperLedger(SLOW_DOWN).post([asked_for(counted(2000))], now=NOW)) == {1: Outcome.NEW}
    assert outcomes(PaperLedger().post([asked_for(counted(2000, NOW))], now=NOW)) == {1: Outcome.NEW}


def test_waiting_alone_does_not_let_it_through() -> None:
    """The pace falls with every minute. What was held for it waits for a person, also when its hold was withdrawn."""
    ledger, fast = PaperLedger(SLOW_DOWN), asked_for(counted(2000, NOW))
    assert outcomes(ledger.post([fast], now=NOW)) == {1: Outcome.OVER_PACE}
    [(event, _, reason)] = holds(ledger.post([], [paused()], now=NOW))
    assert (event, reason) == ("closed", "paused")

    later = replace(fast, facts_at=NOW + timedelta(days=1))
    assert outcomes(ledger.post([later], now=later.facts_at)) == {1: Outcome.OVER_PACE}

    ledger.approved_minor[KEY] = 330_000
    assert outcomes(ledger.post([later], now=later.facts_at)) == {1: Outcome.NEW}


def paused() -> HoldWithdrawal:
    return HoldWithdrawal(participation_id=oid(1), campaign_id=CAMPAIGN_ID, reason="paused")


@given(st.integers(2000, 10_000), st.integers(0, 5000), st.integers(1, 10**7))
def test_an_approval_pays_the_most_impressions_that_earn_no_more(seen: int, more: int, millionths: int) -> None:
    rate = Fraction(millionths, 10**4)
    of_terms = replace(terms(target_impressions=2000), rate=rate)
    approved = replace(counted(seen, target_impressions=2000), terms=of_terms)
    approved_minor = earnings(of_terms, seen, approved.overdelivery).gross_minor
    now = replace(approved, impressions=seen + more, earned=earnings(of_terms, seen + more, PAY.overdelivery))

    covered = approved_part(now, approved_minor)

    assert covered is not None
    assert covered.earned.gross_minor == approved_minor
    assert seen <= covered.impressions <= seen + more
    assert covered.earned == earnings(of_terms, covered.impressions, PAY.overdelivery)


def test_an_approval_does_not_cover_terms_that_were_changed() -> None:
    dearer = counted(2000, payment_rate=3300, target_impressions=2000)
    assert approved_part(dearer, 330_000) is None
    fixed = counted(2000, payment_type="fixed", payment_rate=200, target_impressions=2000)
    assert approved_part(fixed, 19_999) is None
    capped = decisions.due(participation(impressions=2500), terms(payment_rate=3300, target_impressions=2000), CAP)
    assert approved_part(capped, 330_000) is None
    assert approved_part(dearer, 660_001) == dearer
    assert approved_part(dearer, None) is None


A, B, C = "brand:str:a:funding", "brand:str:b:funding", "brand:str:c:funding"


@pytest.mark.parametrize(
    ("movements", "amount_minor", "legs"),
    [
        ([(A, 100)], 70, [(A, 70)]),
        ([(A, 100), (B, 50)], 70, [(B, 50), (A, 20)]),
        ([(A, 100), (B, 50), (A, 5)], 70, [(A, 70)]),
        ([(A, 100), (B, 50), (B, -50)], 70, [(A, 70)]),
        ([(A, 100), (B, 50)], 170, [(B, 50), (A, 100), (C, 20)]),
        ([(A, 100), (C, 50)], 170, [(C, 70), (A, 100)]),
        ([], 10, [(C, 10)]),
    ],
)
def test_who_funded_last_gets_back_first(
    movements: list[tuple[str, int]], amount_minor: int, legs: list[tuple[str, int]]
) -> None:
    assert given_back(movements, amount_minor, C) == [
        Posting(account=account, amount_minor=part) for account, part in legs
    ]
