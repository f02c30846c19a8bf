"""The world goes on between reading and posting: from documents through sweeps, housekeeping and people's commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from bson.objectid import ObjectId
from sqlalchemy.engine import Engine

from jobs.payment.pools import PoolFreezer
from reconciler.domain.campaign import CampaignTerms
from reconciler.ledger import schema
from reconciler.ledger.journal.decisions import Adjustment, Signature
from reconciler.ports.journal import BatchStamp
from tests.support.ledger import balances, ledger_is_sound, rows_of
from tests.support.ledger_rows import paid_minor
from tests.support.platform import Platform
from tests.support.product import Product

SIGNED = ("--by", "asha", "--reason", "looked at it")
STAMP = BatchStamp(run_id="run", trigger="test")
LONG_AGO = datetime.now(UTC) - timedelta(days=8)


@dataclass(slots=True)
class Meanwhile:
    """Facts that are read as they are; then, once, something happens before whoever reads has the ledger's lock."""

    facts: Any
    after: str
    """The look-up after which it happens."""
    happens: Callable[[], object]
    has_happened: bool = False

    def __getattr__(self, name: str) -> Any:
        return self._look_up if name == self.after else getattr(self.facts, name)

    def _look_up(self, *asked: Any) -> Any:
        found = getattr(self.facts, self.after)(*asked)
        if not self.has_happened:
            self.has_happened = True
            self.happens()
        return found


def edit(platform: Platform, collection: str, document_id: Any, **fields: Any) -> None:
    platform.database[collection].update_one({"_id": document_id}, {"$set": fields})


def escrow(engine: Engine, campaign_id: Any) -> int:
    return balances(engine)[f"campaign:oid:{campaign_id}:escrow"]


EDITS: dict[str, tuple[str, Callable[[Platform, Any], object]]] = {
    "unreadable streamer": (
        "malformed",
        lambda platform, one: edit(platform, "campaignparticipations", one, streamerId=12345),
    ),
    "no campaign": ("malformed", lambda platform, one: edit(platform, "campaignparticipations", one, campaignId=None)),
    "another campaign": (
        "campaign_changed",
        lambda platform, one: edit(platform, "campaignparticipations", one, campaignId=platform.campaign()),
    ),
    "a campaign that is none": (
        "campaign_missing",
        lambda platform, one: edit(platform, "campaignparticipations", one, campaignId=ObjectId()),
    ),
    "deleted": (
        "participation_missing",
        lambda platform, one: platform.database["campaignparticipations"].delete_one({"_id": one}),
    ),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_held_one_that_is_no_longer_due_there_leaves_its_turn_to_the_next(
    product: Product, platform: Platform, engine: Engine, what: str
) -> None:
    reason, change = EDITS[what]
    campaign_id = platform.campaign(budget=100, targetImpressions=2000)
    first, second = platform.participation(campaign_id), platform.participation(campaign_id)
    assert product.sweep().held == 2
    change(platform, first)
    edit(platform, "campaigns", campaign_id, budget=3400)

    product.sweep()

    assert paid_minor(engine)[str(second)] == 330_000
    [why] = [
        row["reason"]
        for row in rows_of(engine, schema.hold_events)
        if row["participation_id"] == f"oid:{first}" and row["event"] == "closed"
    ]
    assert why == reason
    ledger_is_sound(engine)


def test_a_member_who_is_paid_before_the_pool_is_frozen_takes_no_share_of_it(
    product: Product, platform: Platform, engine: Engine
) -> None:
    campaign_id = platform.campaign(budget=9900, targetImpressions=2000, endDate=LONG_AGO)
    fast, *others = [platform.participation(campaign_id, count) for count in (1999, 1000, 1000)]

    def crosses_and_is_paid() -> None:
        edit(platform, "campaignparticipations", fast, impressions=2000)
        assert product.sweep().paid == 1

    with product.open({"completion.campaign_ended": "true"}) as parts:
        facts: Any = Meanwhile(parts.facts, "credited_elsewhere", crosses_and_is_paid)
        deciding = replace(parts.deciding, facts=facts)
        freezer = PoolFreezer(deciding=deciding, poster=parts.journal, clock=parts.clock)
        [[terms]] = parts.facts.paying_campaigns()
        assert isinstance(terms, CampaignTerms)
        assert freezer.freeze_due([terms], STAMP).count == 0
        assert parts.sweep.step("test").settled.paid == 2

    assert paid_minor(engine) == {str(fast): 330_000, **dict.fromkeys(map(str, others), 165_000)}
    ledger_is_sound(engine)


def test_who_crosses_the_target_while_the_rest_is_refunded_is_paid_after_a_command(
    product: Product, platform: Platform, engine: Engine
) -> None:
    campaign_id = platform.campaign(budget=9900, targetImpressions=2000)
    platform.participation(campaign_id)
    late = platform.participation(campaign_id, 1999)
    product.sweep()
    edit(platform, "campaigns", campaign_id, status="cancelled")
    product.keep_house()
    product.days = 8

    with product.open() as parts:
        crosses = partial(edit, platform, "campaignparticipations", late, impressions=2000)
        facts: Any = Meanwhile(parts.facts, "read_campaign", crosses)
        deciding = replace(parts.deciding, facts=facts)
        assert replace(parts.housekeeping.refunds, deciding=deciding).step(STAMP) == 1
    edit(platform, "campaigns", campaign_id, status="completed", budget=99_000)
    assert product.sweep().held == 1
    [held] = [row for row in rows_of(engine, schema.hold_events) if row["event"] == "opened"]
    brand_id = platform.read("campaigns", campaign_id)["brandId"]
    source, target = f"brand:oid:{brand_id}:funding", f"campaign:oid:{campaign_id}:escrow"
    assert f"only `ledger adjust --from {source} --to {target}` funds it again" in held["detail"]

    with product.open() as parts:
        by_hand = Adjustment(key="late", from_account=source, to_account=target, amount_minor=330_000, currency="INR")
        parts.decisions.adjust(by_hand, Signature(by="asha", reason="it is owed"))

    assert product.sweep().paid == 1
    ledger_is_sound(engine)


def test_a_member_who_moved_to_another_campaign_is_named_and_not_paid_out_of_it(
    product: Product, platform: Platform, engine: Engine
) -> None:
    product.settings |= {"completion.scope": "campaign", "payout.approval_threshold": "INR=1000"}
    campaign_id = platform.campaign()
    _, large = [platform.participation(campaign_id, count) for count in (500, 1500)]
    product.sweep()
    elsewhere = platform.campaign(budget=9900, targetImpressions=2000)
    edit(platform, "campaignparticipations", large, campaignId=elsewhere)
    del product.settings["payout.approval_threshold"]

    assert (product.sweep().paid, product.sweep().skipped["pool_member_changed"]) == (0, 1)

    report = product.run("--full-check", "--dry-run", "--json").json()
    named = [one for one in report["breaks"] if one["kind"] == "due_but_ineligible"]
    assert [(one["participation_id"], one["reason"]) for one in named] == [(str(large), "pool_member_changed")]
    assert f"campaign:oid:{elsewhere}:escrow" not in balances(engine)
    repaid = product.run("payouts", "repay", str(large), *SIGNED)
    assert (repaid.code, "pool_member_changed" in repaid.stderr) == (2, True)

    edit(platform, "campaignparticipations", large, campaignId=campaign_id)
    assert product.sweep().paid == 1
    ledger_is_sound(engine)


def test_the_rest_and_a_cut_go_back_to_the_brand_that_funded(
    product: Product, platform: Platform, engine: Engine
) -> None:
    campaign_id = platform.campaign(budget=9900, targetImpressions=2000)
    funder = platform.read("campaigns", campaign_id)["brandId"]
    platform.participation(campaign_id)
    product.sweep()
    edit(platform, "campaigns", campaign_id, brandId=ObjectId(), budget=6600)
    platform.participation(campaign_id)
    assert product.sweep().paid == 1
    assert balances(engine)[f"brand:oid:{funder}:funding"] == -660_000

    product.run(
        "payouts", "reverse", f"payout:oid:{rows_of(engine, schema.payouts)[0]['participation_id'][4:]}:1", *SIGNED
    )
    edit(platform, "campaigns", campaign_id, status="completed")
    product.keep_house()
    product.days = 8
    assert product.keep_house().refunded == 1

    brands = {name: held for name, held in balances(engine).items() if name.startswith("brand:")}
    assert brands == {f"brand:oid:{funder}:funding": -330_000}
    ledger_is_sound(engine)


def test_the_escrow_of_a_campaign_that_is_gone_or_rejected_is_ended_by_a_command(
    product: Product, platform: Platform, engine: Engine
) -> None:
    gone, rejected = [platform.campaign(budget=9900, targetImpressions=2000) for _ in range(2)]
    for campaign_id in (gone, rejected):
        platform.participation(campaign_id)
        platform.participation(campaign_id, 10)
    assert product.sweep().paid == 2
    refused = product.run("ledger", "refund", str(gone), *SIGNED)
    assert (refused.code, refused.stderr) == (
        2,
        f"campaign {gone} is active: what it holds is there to be paid.\n",
    )
    platform.database["campaigns"].delete_one({"_id": gone})
    edit(platform, "campaigns", rejected, status="rejected")

    answer = product.run("ledger", "refund", str(gone), *SIGNED, "--json")
    assert answer.code == 0, answer.stderr
    assert answer.json() == {
        "subject": str(gone),
        "result": "refunded",
        "refunded": [{"amount_minor": 660_000, "currency": "INR"}],
    }
    assert product.run("ledger", "refund", f"oid:{rejected}", *SIGNED).code == 0

    assert (escrow(engine, gone), escrow(engine, rejected)) == (0, 0)
    assert [row["decided_by"] for row in rows_of(engine, schema.decisions)] == ["asha", "asha"]
    again = product.run("ledger", "refund", str(gone), *SIGNED)
    assert (again.code, again.stderr) == (2, f"no escrow of a campaign {gone} holds anything.\n")
    ledger_is_sound(engine)


def test_a_person_does_not_refund_what_somebody_is_owed(product: Product, platform: Platform) -> None:
    campaign_id = platform.campaign(budget=9900, targetImpressions=2000)
    platform.participation(campaign_id)
    product.sweep()
    edit(platform, "campaigns", campaign_id, status="completed")
    late = platform.participation(campaign_id)
    refused = product.run("ledger", "refund", str(campaign_id), *SIGNED)
    assert (refused.code, "is due, or cannot be read" in refused.stderr) == (2, True)
    edit(platform, "campaignparticipations", late, impressions=1)
    assert product.run("ledger", "refund", str(campaign_id), *SIGNED).code == 0


def test_what_was_approved_is_paid_although_viewers_go_on(product: Product, platform: Platform, engine: Engine) -> None:
    product.settings |= {"payout.overdelivery": "pay", "payout.approval_threshold": "INR=1000"}
    one = platform.participation(platform.campaign(budget=99_000, targetImpressions=2000))
    assert product.sweep().held == 1
    edit(platform, "campaignparticipations", one, impressions=2007)
    product.sweep()

    key = f"payout:oid:{one}:1"
    too_much = product.run("payouts", "approve", key, "--amount", "9999", *SIGNED)
    assert (too_much.code, "waits for 3300.00 INR now" in too_much.stderr) == (2, True)
    approved = product.run("payouts", "approve", key, "--amount", "3300.00", *SIGNED, "--json")
    assert approved.json() == {"subject": key, "result": "approved", "at_most": "3300.00", "currency": "INR"}
    edit(platform, "campaignparticipations", one, impressions=2014)

    assert product.sweep().paid == 1

    assert paid_minor(engine) == {str(one): 330_000}
    assert platform.read("campaignparticipations", one)["finalEarnings"] == 3300
    report = product.run("--full-check", "--dry-run", "--json").json()
    assert [(item["kind"], item["severity"]) for item in report["breaks"]] == [("facts_changed", "info")]
    ledger_is_sound(engine)


def test_a_participation_that_was_made_anew_after_a_reversal_is_repaid_by_name(
    product: Product, platform: Platform, engine: Engine
) -> None:
    campaign_id = platform.campaign(budget=9900, targetImpressions=2000)
    old = platform.participation(campaign_id)
    product.sweep()
    product.run("payouts", "reverse", f"payout:oid:{old}:1", *SIGNED)
    streamer_id = platform.read("campaignparticipations", old)["streamerId"]
    platform.database["campaignparticipations"].delete_one({"_id": old})
    new = platform.participation(campaign_id, streamerId=streamer_id)
    assert product.sweep().skipped["duplicate_participation"] == 1

    answer = product.run("payouts", "repay", str(new), *SIGNED, "--json")

    assert answer.code == 0, answer.stderr
    assert answer.json() == {"key": f"payout:oid:{new}:2", "result": "paid"}
    assert platform.read("campaignparticipations", new)["finalEarningsTransferred"] is True
    assert product.run("payouts", "repay", str(new), *SIGNED).code == 2
    ledger_is_sound(engine)


def test_who_reached_the_target_faster_than_people_watch_waits_for_a_person(
    product: Product, platform: Platform, engine: Engine
) -> None:
    product.settings["safety.impressions_per_minute_max"] = "100"
    campaign_id = platform.campaign(budget=99_000, targetImpressions=2000)
    fast = platform.participation(campaign_id)
    slow = platform.participation(campaign_id, createdAt=LONG_AGO)
    silent = platform.participation(campaign_id, _id="made by hand")

    sweep = product.sweep()

    assert (sweep.paid, sweep.held) == (2, 1)
    assert set(paid_minor(engine)) == {str(slow), silent}
    [hold] = product.run("holds", "list", "--json").json()["holds"]
    assert (hold["participation_id"], hold["reason"]) == (str(fast), "over_pace")
    rules = {one["rule"]: one for one in product.run("explain", str(fast), "--json").json()["rules"]}
    made_at = fast.generation_time
    assert rules["pace"]["verdict"] == "stopped"
    assert "impressions a minute: 2000 in " in rules["pace"]["finding"]
    assert f"since it was made at {made_at:%Y-%m-%d %H:%M:%S} UTC" in rules["pace"]["finding"]
    report = product.run("--full-check", "--dry-run", "--json").json()
    assert report["completeness"]["held"] == 1
    assert [(one["kind"], one["reason"]) for one in report["breaks"]] == [("held", "over_pace")]

    assert product.run("payouts", "approve", hold["approve_with"], *SIGNED).code == 0
    assert product.sweep().paid == 1
    ledger_is_sound(engine)


def test_explain_says_that_a_pace_is_not_judged_where_nothing_says_when_it_was_made(
    product: Product, platform: Platform
) -> None:
    product.settings |= {"safety.impressions_per_minute_max": "1000", "payout.enabled": "false"}
    platform.participation(platform.campaign(), _id="made by hand")
    rules = {one["rule"]: one for one in product.run("explain", "made by hand", "--json").json()["rules"]}
    assert rules["pace"] == {
        "rule": "pace",
        "verdict": "passed",
        "finding": "nothing says when it was made: its pace is not judged",
        "formula": "",
        "rounding": "",
    }
