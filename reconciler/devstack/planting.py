"""The sample's ugly part: one case of everything that has gone wrong on a real platform, each under a name.

`EXPECTED` says what must become of each: a reason of the decision, `paid`, or `effect_blocked` (paid in the ledger,
while the streamer's wallet cannot be told). The hosts are campaigns with room for all their cases, so that one case
never hides another.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bson import Decimal128, Int64, ObjectId

from reconciler.devstack.documents import Document, Forge

if TYPE_CHECKING:
    from collections.abc import Mapping

MISSING = object()  # a field given as this is left out

# Hosts order 2,000 impressions at 100.00 per thousand: each due participation is paid 200.00.
HOST = MappingProxyType({"paymentRate": 100, "targetImpressions": 2_000, "budget": 20_000})
HOST_PAYMENT_MINOR = 20_000
DUE_IMPRESSIONS = 2_500

# name → (impressions, what becomes of it)
IMPRESSIONS: Mapping[str, tuple[Any, str]] = MappingProxyType(
    {
        "impressions_nan": (float("nan"), "malformed"),
        "impressions_infinity": (float("inf"), "malformed"),
        "impressions_minus_infinity": (float("-inf"), "malformed"),
        "impressions_negative": (-5, "malformed"),
        "impressions_fraction": (2_500.5, "malformed"),
        "impressions_text": ("many", "malformed"),
        "impressions_null": (None, "malformed"),
        "impressions_missing": (MISSING, "malformed"),
        "impressions_beyond_limit": (Int64(10**12 + 1), "malformed"),
        "impressions_numeric_text": ("2500", "paid"),
        "impressions_decimal128": (Decimal128("2500"), "paid"),
        "impressions_int64": (Int64(2_500), "paid"),
        "impressions_whole_double": (2_500.0, "paid"),
    }
)

PARTICIPATIONS: Mapping[str, tuple[Mapping[str, Any], str]] = MappingProxyType(
    {
        "forfeited": ({"earningsForfeited": True}, "forfeited"),
        "participation_removed": ({"status": "removed"}, "participation_not_active"),
        "participation_left_early": ({"status": "left_early"}, "participation_not_active"),
        "participation_rejected": ({"status": "rejected"}, "participation_not_active"),
        "participation_status_unknown": ({"status": "running"}, "status_unknown"),
        "participation_paused": ({"status": "paused"}, "participation_not_active"),
        "participation_paused_by_streamer": ({"status": "participation_paused"}, "participation_not_active"),
        "marked_elsewhere": ({"status": "completed", "finalEarningsTransferred": True}, "marked_paid_elsewhere"),
        "completed_by_hand": ({"status": "completed"}, "paid"),
    }
)

# The payment is posted whatever the wallet is like; only its projection is blocked.
WALLETS: Mapping[str, Mapping[str, Any] | None] = MappingProxyType(
    {
        "wallet_missing": None,
        "wallet_text_balance": {"balance": "100.00"},
        "wallet_null_balance": {"balance": None},
        "wallet_inactive": {"isActive": False},
        "wallet_other_currency": {"currency": "USD"},
        "wallet_of_brand": {"walletType": "brand"},
    }
)

CAMPAIGNS: Mapping[str, tuple[Mapping[str, Any], str]] = MappingProxyType(
    {
        "campaign_budget_nan": ({"budget": float("nan")}, "malformed"),
        "campaign_budget_negative": ({"budget": -100}, "malformed"),
        "campaign_rate_zero": ({"paymentRate": 0}, "malformed"),
        "campaign_payment_type_unknown": ({"paymentType": "barter"}, "malformed"),
        "campaign_currency_unknown": ({"currency": "ZZZ"}, "malformed"),
        "campaign_draft": ({"status": "draft"}, "campaign_not_active"),
        "campaign_paused": ({"status": "paused"}, "campaign_not_active"),
        "campaign_cancelled": ({"status": "cancelled"}, "campaign_not_active"),
        "campaign_cooloff_out_of_range": ({"gKeyCooloffHours": 9_000}, "paid"),
        "campaign_status_in_capitals": ({"status": "ACTIVE"}, "status_unknown"),
    }
)

# name → (budget, impressions, payment in minor units or None); cpm, rate 1650, target derived, each in a campaign
# of its own: the budget of 3300 pays one streamer.
REFERENCES: Mapping[str, tuple[float, int, int | None]] = MappingProxyType(
    {
        "reference_1999": (3_300, 1_999, None),
        "reference_2000": (3_300, 2_000, 330_000),
        "reference_2001": (3_300, 2_001, 330_000),
        "reference_2500": (3_300, 2_500, 330_000),
        "reference_606": (1_000, 606, 99_990),
        "budget_float_noise": (3_299.9999999999995, 2_000, 330_000),
    }
)

EXPECTED: Mapping[str, str] = MappingProxyType(
    {name: outcome for name, (_, outcome) in IMPRESSIONS.items()}
    | {name: outcome for name, (_, outcome) in PARTICIPATIONS.items()}
    | dict.fromkeys(WALLETS, "effect_blocked")
    | {name: outcome for name, (_, outcome) in CAMPAIGNS.items()}
    | {name: "below_target" if payment is None else "paid" for name, (_, _, payment) in REFERENCES.items()}
    | {
        "campaign_missing": "campaign_missing",
        "campaign_id_as_text": "campaign_missing",
        "foreign_credit": "marked_paid_elsewhere",
        "gkey_locked_later": "paid",
        # Of three due participations the budget pays the one that comes first by `_id`, of a pair the first that is
        # posted.
        "over_budget_first": "paid",
        "over_budget_rest": "over_budget",
        "duplicate_first": "paid",
        "duplicate_second": "duplicate_participation",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """Documents by collection, participation ids by name of the case, and what the paid ones come to by currency."""

    campaigns: list[Document] = field(default_factory=list)
    participations: list[Document] = field(default_factory=list)
    wallets: list[Document] = field(default_factory=list)
    transactions: list[Document] = field(default_factory=list)
    gkeys: list[Document] = field(default_factory=list)
    ids: dict[str, list[ObjectId]] = field(default_factory=dict)
    paid_minor: Counter[str] = field(default_factory=Counter)


def plant(forge: Forge) -> Planted:
    """All cases, once each."""
    gardener = _Gardener(forge)
    gardener.plant_counters()
    gardener.plant_participations()
    gardener.plant_wallets()
    gardener.plant_campaigns()
    gardener.plant_references()
    gardener.plant_missing_campaigns()
    gardener.plant_foreign_credit()
    gardener.plant_locked_later()
    gardener.plant_over_budget()
    gardener.plant_duplicate()
    return gardener.planted


class _Gardener:
    """Numbers what it plants, and remembers it under the name of its case."""

    def __init__(self, forge: Forge) -> None:
        self.forge = forge
        self.planted = Planted()

    def plant_counters(self) -> None:
        host = self._campaign("Untidy counters")
        for name, (impressions, _) in IMPRESSIONS.items():
            self._due(name, host, impressions=impressions)

    def plant_participations(self) -> None:
        host = self._campaign("Untidy people")
        for name, (fields, _) in PARTICIPATIONS.items():
            self._due(name, host, **fields)

    def plant_wallets(self) -> None:
        host = self._campaign("Untidy wallets")
        for name, fields in WALLETS.items():
            participation = self._participation(name, host)
            if fields is not None:
                self._wallet(participation["streamerId"], **fields)

    def plant_campaigns(self) -> None:
        for name, (fields, _) in CAMPAIGNS.items():
            self._due(name, self._campaign(name.replace("_", " ").capitalize(), **fields))

    def plant_references(self) -> None:
        for name, (budget, impressions, payment_minor) in REFERENCES.items():
            title = name.replace("_", " ").capitalize()
            # The target is absent here, as in the campaign the case was reported from.
            host = self._campaign(title, paymentRate=1_650, budget=budget, targetImpressions=MISSING)
            self._due(name, host, impressions=impressions, pays_minor=payment_minor or 0)

    def plant_missing_campaigns(self) -> None:
        host = self._campaign("Named by its text")
        self._due("campaign_missing", host, campaignId=self.forge.object_id("campaign-never-was", 0))
        self._due("campaign_id_as_text", host, campaignId=str(host["_id"]))

    def plant_foreign_credit(self) -> None:
        host = self._campaign("Paid by support")
        participation = self._due("foreign_credit", host)
        wallet = self.planted.wallets[-1]
        line = self.forge.transaction(
            self.forge.object_id("planted-transaction", 0),
            wallet["_id"],
            participation["streamerId"],
            transactionType="earnings_credit",
            amount=200.0,
            campaignId=host["_id"],
            description="Paid by hand",
            createdBy="support",
        )
        self.planted.transactions.append(line)

    def plant_locked_later(self) -> None:
        """A key locked after any payment of today must stay locked: it is not of this payment."""
        host = self._campaign("Locks again tomorrow")
        participation = self._due("gkey_locked_later", host)
        fields = self.forge.locked_by(host["_id"]) | {"lockedAt": self.forge.now + timedelta(days=3650)}
        self._gkey(participation["streamerId"], category="retro", **fields)

    def plant_over_budget(self) -> None:
        host = self._campaign("Ordered too much", budget=300)
        self._due("over_budget_first", host)
        self._due("over_budget_rest", host)
        self._due("over_budget_rest", host)

    def plant_duplicate(self) -> None:
        host = self._campaign("Joined twice")
        first = self._due("duplicate_first", host)
        self._participation("duplicate_second", host, streamerId=first["streamerId"])

    def _campaign(self, title: str, **fields: Any) -> Document:
        number = len(self.planted.campaigns)
        document = self.forge.campaign(
            self.forge.object_id("planted-campaign", number),
            **{"title": title, "brandId": self.forge.object_id("brand", number % 12), **HOST, **fields},
        )
        self.planted.campaigns.append(_without_missing(document))
        return self.planted.campaigns[-1]

    def _due(self, name: str, host: Document, *, pays_minor: int = HOST_PAYMENT_MINOR, **fields: Any) -> Document:
        """A participation past the target but for `fields`, whose streamer's wallet and G-key are in order."""
        participation = self._participation(name, host, pays_minor=pays_minor, **fields)
        self._wallet(participation["streamerId"])
        self._gkey(participation["streamerId"], category="chatting", **self.forge.locked_by(host["_id"]))
        return participation

    def _participation(
        self, name: str, host: Document, *, pays_minor: int = HOST_PAYMENT_MINOR, **fields: Any
    ) -> Document:
        number = len(self.planted.participations)
        document = self.forge.participation(
            self.forge.object_id("planted-participation", number),
            **{
                "campaignId": host["_id"],
                "streamerId": self.forge.object_id("planted-streamer", number),
                "impressions": DUE_IMPRESSIONS,
                "browserSourceToken": self.forge.token("planted-participation", number),
                **fields,
            },
        )
        self.planted.participations.append(_without_missing(document))
        self.planted.ids.setdefault(name, []).append(document["_id"])
        if EXPECTED[name] in ("paid", "effect_blocked"):
            self.planted.paid_minor[host["currency"]] += pays_minor
        return self.planted.participations[-1]

    def _wallet(self, user_id: ObjectId, **fields: Any) -> None:
        wallet_id = self.forge.object_id("planted-wallet", len(self.planted.wallets))
        filled: Document = {"balance": 1_234.56, "withdrawableBalance": 1_234.56, "totalEarnings": 9_876.54}
        self.planted.wallets.append(self.forge.wallet(wallet_id, user_id, **{**filled, **fields}))

    def _gkey(self, user_id: ObjectId, **fields: Any) -> None:
        gkey_id = self.forge.object_id("planted-gkey", len(self.planted.gkeys))
        self.planted.gkeys.append(self.forge.gkey(gkey_id, user_id, **fields))


def _without_missing(document: Document) -> Document:
    return {name: value for name, value in document.items() if value is not MISSING}
