"""Histories of batches, as sweeps and watches would bring them: late, twice, in any order, while budgets change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import strategies as st

from reconciler.domain.ledger_snapshot import HoldWithdrawal, PayoutRequest
from tests.support.decisions import NOW, of_amount, oid, request, terms

MINUTE = timedelta(minutes=1)
CAMPAIGNS = (oid(0xCA), oid(0xCB))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Requests and withdrawals as one sweep or watch would bring them."""

    now: datetime
    requests: list[PayoutRequest]
    withdrawals: list[HoldWithdrawal]


@st.composite
def requests_of(draw: st.DrawFn, now: datetime, *, one_reading: bool) -> list[PayoutRequest]:
    """Payouts of up to ten participations in two campaigns; every streamer has two of them.

    ``one_reading``: all were decided on documents read at one time, as a page is. Otherwise each on its own reading,
    older ones with another budget and now and then another currency, and a participation may be asked for twice.
    """
    readings = st.tuples(st.integers(0, 6), st.integers(1, 12), st.sampled_from(["INR", "INR", "INR", "USD"]))
    common = draw(readings)
    numbers = draw(st.lists(st.integers(1, 10), max_size=8, unique=one_reading))
    requests: dict[tuple[int, int], PayoutRequest] = {}
    for number in numbers:
        lag, budget, currency = common if one_reading else draw(readings)
        campaign = terms(CAMPAIGNS[number % 2], budget=budget, currency=currency, target_impressions=1)
        asked = request(number, campaign, streamer=number % 5, facts_at=now - lag * MINUTE)
        # Two of the same participation differ in the time of their reading: one reading has one answer.
        requests[number, lag] = of_amount(asked, draw(st.integers(0, 500)))
    return list(requests.values())


@st.composite
def histories(draw: st.DrawFn, *, one_reading: bool = False) -> list[Batch]:
    """Up to eight batches, a minute or more apart."""
    now, batches = NOW, []
    for _ in range(draw(st.integers(1, 8))):
        now += draw(st.integers(1, 3)) * MINUTE
        requests = draw(requests_of(now, one_reading=one_reading))
        asked = {one.due.participation.participation_id for one in requests}
        withdrawn = [oid(number) for number in draw(st.sets(st.integers(1, 10), max_size=2))]
        withdrawals = [
            HoldWithdrawal(participation_id=one, campaign_id=CAMPAIGNS[int(one.value, 16) % 2], reason="forfeited")
            for one in withdrawn
            if one not in asked
        ]
        batches.append(Batch(now=now, requests=requests, withdrawals=withdrawals))
    return batches
