"""Campaigns settled as a whole, and what is left of them: from documents through sweeps and housekeeping."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from reconciler.ledger import schema
from tests.support.ledger import balances, everything, ledger_is_sound, rows_of
from tests.support.ledger_rows import paid_minor
from tests.support.platform import Platform
from tests.support.product import Product

SIGNED = ("--by", "asha", "--reason", "counted twice")
POOL = 330_000
"""The whole budget of the reference case: 2,000 impressions at 1650 a thousand."""


@pytest.fixture
def pooled(product: Product) -> Product:
    product.settings["completion.scope"] = "campaign"
    return product


def members(platform: Platform, campaign_id: Any, impressions: Sequence[int], **fields: Any) -> list[Any]:
    return [platform.participation(campaign_id, count, **fields) for count in impressions]


def shares(engine: Engine) -> dict[str, int]:
    """Plain participation → its frozen share."""
    found = rows_of(engine, schema.settlement_lines)
    return {row["participation_id"].partition(":")[2]: row["share_minor"] for row in found}


def test_a_campaign_is_paid_when_all_together_reach_the_target(
    pooled: Product, platform: Platform, engine: Engine
) -> None:
    campaign_id = platform.campaign()
    ids = members(platform, campaign_id, [700, 700, 599])
    assert (pooled.sweep().paid, rows_of(engine, schema.settlements)) == (0, [])

    platform.database["campaignparticipations"].update_one({"_id": ids[2]}, {"$inc": {"impressions": 2}})

    assert pooled.sweep().paid == 3
    # 330000 · 700 / 2001 = 115442.278…, and · 601 / 2001 = 99115.442…: the missing paisa goes to the last.
    assert paid_minor(engine) == {str(ids[0]): 115_442, str(ids[1]): 115_442, str(ids[2]): 99_116}
    assert sum(shares(engine).values()) == POOL
    assert platform.read("campaigns", campaign_id)["status"] == "completed"
    assert platform.read("campaignparticipations", ids[2])["finalEarnings"] == 991.16
    assert round(platform.wallet_of(ids[2])["balance"] - 150.25, 6) == 991.16
    assert pooled.sweep().paid == 0
    ledger_is_sound(engine)


def test_a_fee_is_taken_from_each_share(pooled: Product, platform: Platform, engine: Engine) -> None:
    pooled.settings["payout.platform_fee_bps"] = 333
    members(platform, platform.campaign(), [700, 700, 601])
    assert pooled.sweep().paid == 3
    payouts = rows_of(engine, schema.payouts)
    assert sum(row["gross_minor"] for row in payouts) == POOL
    assert [row["fee_minor"] for row in payouts] == [round(row["gross_minor"] * 333 / 10_000) for row in payouts]
    assert balances(engine)["platform:fees"] == sum(row["fee_minor"] for row in payouts)
    ledger_is_sound(engine)


def test_a_fixed_rate_is_shared_too(pooled: Product, platform: Platform, engine: Engine) -> None:
    campaign_id = platform.campaign(paymentType="fixed", paymentRate=100, budget=100, targetImpressions=30)
    ids = members(platform, campaign_id, [10, 10, 10])
    assert pooled.sweep().paid == 3
    assert paid_minor(engine) == {str(ids[0]): 3334, str(ids[1]): 3333, str(ids[2]): 3333}


def test_a_malformed_member_holds_the_settlement(pooled: Product, platform: Platform, engine: Engine) -> None:
    campaign_id = platform.campaign()
    [bad] = members(platform, campaign_id, [float("nan")])  # type: ignore[list-item]
    members(platform, campaign_id, [2000])
    assert (pooled.sweep().paid, rows_of(engine, schema.settlements)) == (0, [])
    platform.database["campaignparticipations"].update_one({"_id": bad}, {"$set": {"impressions": 0}})
    assert pooled.sweep().paid == 2
    assert paid_minor(engine)[str(bad)] == 0


def test_who_joins_later_is_too_late_and_who_counts_on_changes_nothing(
    pooled: Product, platform: Platform, engine: Engine
) -> None:
    # The second is held, so that its share is posted by a later sweep.
    pooled.settings["payout.approval_threshold"] = "INR=1000"
    campaign_id = platform.campaign()
    small, large = members(platform, campaign_id, [500, 1500])
    sweep = pooled.sweep()
    assert (sweep.paid, sweep.held, paid_minor(engine)) == (1, 1, {str(small): 82_500})
    members(platform, campaign_id, [90_000])
    platform.database["campaignparticipations"].update_one({"_id": large}, {"$set": {"impressions": 70_000}})
    del pooled.settings["payout.approval_threshold"]

    assert pooled.sweep().paid == 1

    assert paid_minor(engine) == {str(small): 82_500, str(large): 247_500}
    assert len(rows_of(engine, schema.settlements)) == 1
    ledger_is_sound(engine)


def test_a_share_forfeited_before_it_was_posted_is_void(pooled: Product, platform: Platform, engine: Engine) -> None:
    pooled.settings["payout.approval_threshold"] = "INR=1000"
    campaign_id = platform.campaign()
    _, large = members(platform, campaign_id, [500, 1500])
    pooled.sweep()
    platform.database["campaignparticipations"].update_one({"_id": large}, {"$set": {"earningsForfeited": True}})
    del pooled.settings["payout.approval_threshold"]
    assert pooled.sweep().paid == 0
    assert [row["kind"] for row in rows_of(engine, schema.decisions)] == ["void"]
    platform.database["campaignparticipations"].update_one({"_id": large}, {"$set": {"earningsForfeited": False}})
    assert pooled.sweep().paid == 0
    assert balances(engine)[f"campaign:oid:{campaign_id}:escrow"] == 247_500
    ledger_is_sound(engine)


def test_an_unpaid_share_of_one_who_left_is_a_break_and_not_silent(pooled: Product, platform: Platform) -> None:
    pooled.settings["payout.approval_threshold"] = "INR=1000"
    _, large = members(platform, platform.campaign(), [500, 1500])
    pooled.sweep()
    platform.database["campaignparticipations"].update_one({"_id": large}, {"$set": {"status": "removed"}})

    report = pooled.run("--full-check", "--dry-run", "--json").json()

    named = [one for one in report["breaks"] if one["kind"] == "due_but_ineligible"]
    assert [(one["participation_id"], one["reason"]) for one in named] == [(str(large), "participation_not_active")]
    assert "247500 minor units" in named[0]["detail"]


def test_a_reversed_share_can_be_repaid(pooled: Product, platform: Platform, engine: Engine) -> None:
    [one, _] = members(platform, platform.campaign(), [500, 1500])
    pooled.sweep()
    assert pooled.run("payouts", "reverse", f"payout:oid:{one}:1", *SIGNED).code == 0
    assert pooled.sweep().paid == 0

    repaid = pooled.run("payouts", "repay", str(one), *SIGNED)

    assert repaid.code == 0, repaid.stderr
    found = [row for row in rows_of(engine, schema.payouts) if row["participation_id"] == f"oid:{one}"]
    assert sorted(row["amount_minor"] for row in found) == [-82_500, 82_500, 82_500]
    ledger_is_sound(engine)


LONG_AGO = datetime.now(UTC) - timedelta(days=8)
RULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "budget_exhausted": ({}, {}),
    "campaign_ended": ({"endDate": LONG_AGO, "budget": 9900, "targetImpressions": 90_000}, {}),
    "campaign_inactive": ({"budget": 9900, "targetImpressions": 90_000}, {"lastStreamDate": LONG_AGO}),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_settle_all_rule_pays_only_when_it_is_switched_on(
    product: Product, platform: Platform, engine: Engine, rule: str
) -> None:
    of_campaign, of_members = RULES[rule]
    campaign_id = platform.campaign(**of_campaign)
    # Together 1,900 of the 2,000 impressions that the budget pays: 95 percent of it.
    ids = members(platform, campaign_id, [1000, 900], **of_members)
    assert (product.sweep().paid, rows_of(engine, schema.settlements)) == (0, [])
    for other in RULES.keys() - {rule}:
        product.settings[f"completion.{other}"] = "true"
    assert product.sweep().paid == 0
    product.settings = {f"completion.{rule}": "true"}

    assert product.sweep().paid == 2

    assert paid_minor(engine) == {str(ids[0]): 165_000, str(ids[1]): 148_500}
    [frozen] = rows_of(engine, schema.settlements)
    assert (frozen["rule"], frozen["pool_minor"], frozen["impressions"]) == (rule, 313_500, 1900)
    assert platform.read("campaignparticipations", ids[0])["completionReason"] == rule
    assert platform.read("campaigns", campaign_id)["status"] == "completed"
    ledger_is_sound(engine)


def escrow(engine: Engine, campaign_id: Any) -> int:
    return balances(engine)[f"campaign:oid:{campaign_id}:escrow"]


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_the_rest_is_refunded_after_the_grace(
    product: Product, platform: Platform, engine: Engine, status: str
) -> None:
    campaign_id = platform.campaign(budget=9900, targetImpressions=2000)
    members(platform, campaign_id, [2000, 10])
    product.sweep()
    assert (escrow(engine, campaign_id), product.keep_house().refunded) == (660_000, 0)
    platform.database["campaigns"].update_one({"_id": campaign_id}, {"$set": {"status": status}})
    # Seen over now; the grace of seven days begins.
    assert product.keep_house().refunded == 0
    product.days = 6
    assert product.keep_house().refunded == 0

    product.days = 8
    assert product.keep_house().refunded == 1

    assert escrow(engine, campaign_id) == 0
    before = everything(engine)
    assert product.keep_house().refunded == 0
    assert everything(engine) == before
    ledger_is_sound(engine)


def test_what_is_due_or_malformed_keeps_the_rest(product: Product, platform: Platform, engine: Engine) -> None:
    campaign_id = platform.campaign(budget=9900, targetImpressions=2000)
    members(platform, campaign_id, [2000])
    product.sweep()
    platform.database["campaigns"].update_one({"_id": campaign_id}, {"$set": {"status": "completed"}})
    late, bad = members(platform, campaign_id, [2000, float("nan")])  # type: ignore[list-item]
    product.keep_house()
    product.days = 8
    assert product.keep_house().refunded == 0
    assert product.sweep().paid == 1
    assert paid_minor(engine)[str(late)] == POOL
    assert product.keep_house().refunded == 0

    # One whose streamer cannot be read either: not even a decision can be made about it.
    participations = platform.database["campaignparticipations"]
    participations.update_one({"_id": bad}, {"$set": {"impressions": 3}, "$rename": {"streamerId": "lost"}})
    assert product.keep_house().refunded == 0

    participations.update_one({"_id": bad}, {"$rename": {"lost": "streamerId"}})

    assert product.keep_house().refunded == 1
    assert escrow(engine, campaign_id) == 0
    ledger_is_sound(engine)
