"""Batches of one campaign, short to write down and short to compare."""

from __future__ import annotations

from datetime import timedelta

from reconciler.domain.batch import Outcome, PlannedBatch
from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.plan import NewFunding, NewPayout
from tests.support.decisions import NOW, oid, request, terms

MINUTE = timedelta(minutes=1)


def budget(major: int, **changes: object) -> CampaignTerms:
    """A campaign whose every payout is 100.00, with a budget of so many major units."""
    return terms(budget=major, payment_rate=100, target_impressions=1_000, **changes)


def asked(number: int, major: int, *, minutes: int = 0, streamer: int | None = None) -> PayoutRequest:
    """A payout of 100.00 for a participation, asked on facts so many minutes after NOW."""
    return request(number, budget(major), streamer=streamer, facts_at=NOW + minutes * MINUTE)


def outcomes(planned: PlannedBatch) -> dict[int, Outcome]:
    """By number of the participation."""
    return {int(key.split(":")[2], 16): outcome for key, outcome in planned.outcomes.items()}


def funded(planned: PlannedBatch) -> list[int]:
    return [item.amount_minor for item in planned.plan.posted if isinstance(item, NewFunding)]


def paid(planned: PlannedBatch) -> list[str]:
    return [item.entry.key for item in planned.plan.posted if isinstance(item, NewPayout)]


def holds(planned: PlannedBatch) -> list[tuple[str, str, str]]:
    return [(event.event, event.hold_key, event.reason) for event in planned.plan.hold_events]


def hold_key(number: int, n: int = 1) -> str:
    return f"hold:{oid(number).tagged}:{n}"
