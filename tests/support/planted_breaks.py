"""Every kind of break, planted into a platform that is in order, with what a check must say of each."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bson.objectid import ObjectId
from pymongo.database import Database

from reconciler.domain.ids import statement_line_id
from tests.support.platform import LOCKED_AT, Platform

Document = dict[str, Any]

FULL = 330_000
"""What a participation of the reference case is paid, in minor units."""
MANY: Document = {"budget": 33_000, "targetImpressions": 2_000}
"""The reference case with room for ten."""


class Found(NamedTuple):
    """What identifies a break in the report, and its amounts."""

    kind: str
    reason: str
    about: str
    """The participation, or the campaign where there is none."""
    expected_minor: int | None
    actual_minor: int | None
    repaired: bool


@dataclass(slots=True, kw_only=True)
class PlantedBreaks:
    """Plants in two rounds: ``before`` the sweep that pays, ``after`` it. ``paid``: whom that sweep paid, of others."""

    database: Database[Document]
    seed: int
    expected: set[Found] = field(default_factory=set)
    platform: Platform = field(init=False)
    _open: dict[str, Any] = field(default_factory=dict)
    _amounts: dict[ObjectId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.platform = Platform(self.database)

    def before(self) -> None:
        """What is wrong before anybody is paid, and the hosts of what goes wrong later."""
        platform, held = self.platform, self.platform.campaign()
        platform.participation(held)
        for _ in range(2):
            self._expect("held", "over_budget", platform.participation(held), FULL, 0)
        twice = platform.campaign(**MANY)
        first = platform.participation(twice)
        streamer = platform.read("campaignparticipations", first)["streamerId"]
        duplicate = platform.participation(twice, streamerId=streamer)
        self._expect("duplicate_participation", "duplicate_participation", duplicate)
        missing = platform.participation(ObjectId())
        self._expect("campaign_missing", "campaign_missing", missing)
        self._expect("campaign_missing", "campaign_missing", platform.participation(str(platform.campaign())))
        for value in (float("nan"), "many", -5, None):
            self._expect("malformed", "participation", platform.participation(platform.campaign(), value))
        no_streamer = platform.participation(platform.campaign())
        self.database["campaignparticipations"].update_one({"_id": no_streamer}, {"$set": {"streamerId": 5}})
        self._expect("malformed", "participation", no_streamer)
        malformed = platform.campaign(budget=float("nan"))
        platform.participation(malformed)
        self._expect("malformed", "campaign", malformed)
        marked = platform.participation(platform.campaign(), finalEarningsTransferred=True)
        self._expect("marked_paid_elsewhere", "marked_paid_elsewhere", marked)
        self._credited()
        ended = platform.campaign(endDate=datetime(2026, 1, 1, tzinfo=UTC))
        platform.participation(ended, 10)
        self._expect("stranded", "campaign_ended", ended, 1_650, 0)
        blocked = platform.participation(platform.campaign(**MANY))
        platform.database["wallets"].delete_one({"userId": self._streamer(blocked)})
        self._expect("effect_blocked", "wallet_missing", blocked, FULL, FULL)
        for name in _AFTER:
            # One more that stays below its target, so that the campaign is not over and says nothing by itself.
            campaign = platform.campaign(**MANY)
            platform.participation(campaign, 0)
            self._open[name] = (campaign, platform.participation(campaign))
        alone = platform.campaign()
        self._open["completed"] = (alone, platform.participation(alone))

    def _credited(self) -> None:
        campaign = self.platform.campaign()
        credited = self.platform.participation(campaign)
        line = {"userId": self._streamer(credited), "campaignId": campaign, "transactionType": "earnings_credit"}
        self.database["transactions"].insert_one(line | {"amount": 3300.0, "createdBy": "support"})
        self._expect("marked_paid_elsewhere", "marked_paid_elsewhere", credited)

    def after(self, paid: list[ObjectId]) -> None:
        """What goes wrong with payments that were made: with those of the hosts, and with some drawn from ``paid``."""
        drawn = iter(random.Random(self.seed).sample(sorted(paid), 12))
        participations, wallets = self.database["campaignparticipations"], self.database["wallets"]
        for update in (
            {"status": "paused"},
            {"finalEarnings": 1.0},
            {"finalEarningsTransferred": False},
            {"completionReason": "by hand"},
        ):
            victim = next(drawn)
            participations.update_one({"_id": victim}, {"$set": update})
            self._expect_paid("projection_stale", "participation", victim, repaired=True)
        victim = next(drawn)
        self.database["transactions"].delete_one({"_id": self._line(victim)})
        self._expect_paid("projection_stale", "transaction", victim, repaired=True)
        victim = next(drawn)
        self.database["transactions"].update_one({"_id": self._line(victim)}, {"$set": {"amount": 0.01}})
        self._expect_paid("projection_stale", "transaction", victim, repaired=False)
        victim = next(drawn)
        campaign = self.platform.read("campaignparticipations", victim)["campaignId"]
        self.platform.gkey(self._streamer(victim), campaign, lockedAt=LOCKED_AT)
        self._expect_paid("projection_stale", "gkey", victim, repaired=True)
        self._of_hosts()
        for reached in (2_000, 2_500):
            due = self.platform.participation(self.platform.campaign(), reached)
            self._expect("due_but_unpaid", "impressions_target_reached", due, FULL, FULL, repaired=True)
        _, victim = self._open["drift"]
        wallets.update_one({"userId": self._streamer(victim)}, {"$set": {"ledger.INR.version": 0}})
        self._expect("wallet_drift", "INR", victim, FULL, FULL, repaired=True)
        _, victim = self._open["negative"]
        wallets.update_one({"userId": self._streamer(victim)}, {"$set": {"withdrawableBalance": -5.0}})
        self._expect("wallet_negative", "below_zero", victim)

    def _of_hosts(self) -> None:
        participations, campaigns = self.database["campaignparticipations"], self.database["campaigns"]
        _, victim = self._open["gone"]
        participations.delete_one({"_id": victim})
        self._expect("paid_without_participation", "", victim, 0, FULL)
        _, victim = self._open["other_streamer"]
        participations.update_one({"_id": victim}, {"$set": {"streamerId": ObjectId()}})
        self._expect("exists_different", "identity_changed", victim)
        _, victim = self._open["fewer"]
        participations.update_one({"_id": victim}, {"$set": {"impressions": 10}})
        self._expect("facts_changed", "below_target", victim, 0, FULL)
        _, victim = self._open["forfeited"]
        participations.update_one({"_id": victim}, {"$set": {"earningsForfeited": True}})
        self._expect("facts_changed", "forfeited", victim, 0, FULL)
        campaign, victim = self._open["rate"]
        campaigns.update_one({"_id": campaign}, {"$set": {"paymentRate": 1_651}})
        self._expect("facts_changed", "amount", victim, 330_200, FULL)
        campaign, _ = self._open["budget"]
        campaigns.update_one({"_id": campaign}, {"$set": {"budget": 1_000, "remainingBudget": 0}})
        self._expect("budget_below_paid", "", campaign, 100_000, FULL)
        campaign, _ = self._open["counter"]
        campaigns.update_one({"_id": campaign}, {"$set": {"remainingBudget": -5}})
        self._expect("budget_drift", "remaining_negative", campaign, 3_300_000, -500)
        campaign, victim = self._open["currency"]
        campaigns.update_one({"_id": campaign}, {"$set": {"currency": "USD"}})
        self._expect("facts_changed", "currency", victim)
        self._expect("due_but_ineligible", "currency_changed", self.platform.participation(campaign))
        campaign, _ = self._open["completed"]
        campaigns.update_one({"_id": campaign}, {"$set": {"status": "active"}})
        self._expect("projection_stale", "campaign", campaign, repaired=True)

    def _expect(
        self,
        kind: str,
        reason: str,
        about: Any,
        expected: int | None = None,
        actual: int | None = None,
        *,
        repaired: bool = False,
    ) -> None:
        self.expected.add(Found(kind, reason, str(about), expected, actual, repaired))

    def _expect_paid(self, kind: str, reason: str, victim: ObjectId, *, repaired: bool) -> None:
        amount = self._amounts[victim]
        self.expected.add(Found(kind, reason, str(victim), amount, amount, repaired))

    def know(self, amounts: dict[ObjectId, int]) -> None:
        """What participations were paid, in minor units."""
        self._amounts = amounts

    def _streamer(self, participation: Any) -> str:
        return str(self.platform.read("campaignparticipations", participation)["streamerId"])

    @staticmethod
    def _line(participation: ObjectId) -> ObjectId:
        return ObjectId(statement_line_id(f"payout:oid:{participation}:1"))


_AFTER = (
    "drift", "negative", "gone", "other_streamer", "fewer", "forfeited", "rate", "budget", "counter", "currency",
)  # fmt: skip
