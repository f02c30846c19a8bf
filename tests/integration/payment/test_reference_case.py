"""The reference case on real servers: rate 1650, budget 3300, so 2,000 impressions earn 3300.00, once."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from app.parts import Parts
from reconciler.ledger.schema import payouts
from tests.support.platform import Platform


def paid_minor(parts: Parts) -> dict[str, int]:
    with parts.engine.connect() as connection:
        rows = connection.execute(sa.select(payouts.c.participation_id, payouts.c.amount_minor))
        return {participation_id.removeprefix("oid:"): amount for participation_id, amount in rows}


@pytest.mark.parametrize("impressions", [2000, 2001, 2500])
def test_past_target_pays_the_whole_budget_once(platform: Platform, parts: Parts, impressions: int) -> None:
    participation_id = platform.participation(platform.campaign(), impressions)

    results = [parts.sweep.step("test") for _ in range(5)]

    assert [result.settled.paid for result in results] == [1, 0, 0, 0, 0]
    assert results[0].settled.paid_minor == {"INR": 330_000}
    assert paid_minor(parts) == {str(participation_id): 330_000}
    wallet = platform.wallet_of(participation_id)
    assert (wallet["balance"], wallet["withdrawableBalance"], wallet["totalEarnings"]) == (3450.25, 3400.25, 4200.5)


def test_below_target_pays_nothing(platform: Platform, parts: Parts) -> None:
    participation_id = platform.participation(platform.campaign(), 1999)

    result = parts.sweep.step("test")

    assert result.settled.paid == 0
    assert paid_minor(parts) == {}
    assert platform.wallet_of(participation_id)["balance"] == 150.25


def test_derived_target_is_rounded_down_and_paid_to_the_paisa(platform: Platform, parts: Parts) -> None:
    participation_id = platform.participation(platform.campaign(budget=1000), 606)

    parts.sweep.step("test")

    assert paid_minor(parts) == {str(participation_id): 99_990}


def test_all_effects_arrive(platform: Platform, parts: Parts) -> None:
    campaign_id = platform.campaign()
    participation_id = platform.participation(campaign_id, 2000)

    parts.sweep.step("test")

    participation = platform.read("campaignparticipations", participation_id)
    assert participation["status"] == "completed"
    assert participation["completionReason"] == "impressions_target_reached"
    assert participation["finalEarnings"] == 3300.0
    assert participation["finalEarningsTransferred"] is True
    line = platform.database["transactions"].find_one({"campaignId": campaign_id})
    assert line is not None
    assert (line["transactionType"], line["amount"], line["currency"]) == ("earnings_credit", 3300.0, "INR")
    key = platform.database["gkeys"].find_one({"lockedWith": str(campaign_id)})
    assert key is not None
    assert (key["status"], key["usageCount"], key["lastBrandCooloffHours"]) == ("cooloff", 5, 720)
    assert (key["cooloffEndsAt"] - participation["completedAt"]).total_seconds() == 720 * 3600
    campaign = platform.read("campaigns", campaign_id)
    assert (campaign["status"], campaign["finalEarningsTransferred"]) == ("completed", 3300.0)


def test_a_sweep_gets_somewhere_while_its_statements_are_answered(parts: Parts) -> None:
    """Or else the daemon's /livez would call a sweep dead that is only long."""
    before = parts.pulse.last_s(threading.get_ident())

    parts.sweep.step("test")

    assert parts.pulse.last_s(threading.get_ident()) > before
