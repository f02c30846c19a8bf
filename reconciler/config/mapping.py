"""Where the platform keeps what: its names of collections and fields, each under ours.

Left of each line stands our word, the default is the platform's (docs: the domain's documents). `_id` is MongoDB's
own and has no line. Nested paths are not supported: a field is found at the top of its document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from reconciler.config import checks
from reconciler.config.section import Section

FieldName = Annotated[str, AfterValidator(checks.field_name)]
CollectionName = Annotated[str, AfterValidator(checks.collection_name)]


def _refuse_same(names: Mapping[str, str], what: str) -> None:
    ours: dict[str, str] = {}
    for our_name, name in names.items():
        if name in ours:
            raise ValueError(f"must not use the {what} {name} for both {ours[name]} and {our_name}")
        ours[name] = our_name


def _names(items: Iterable[tuple[str, object]]) -> dict[str, str]:
    return {name: str(value) for name, value in items}


class Fields(Section):
    """The fields of one collection: no two of our names share one."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _refuse_same(_names(self), "field")
        return self


class Collections(Section):
    """Names of collections in the database ``mongodb.database``."""

    campaigns: CollectionName = "campaigns"
    """What brands ordered."""
    participations: CollectionName = "campaignparticipations"
    """One campaign × one streamer, with the counters that decide."""
    wallets: CollectionName = "wallets"
    """What streamers can withdraw; the rest of the platform writes it too."""
    transactions: CollectionName = "transactions"
    """The statement lines people see."""
    gkeys: CollectionName = "gkeys"
    """A streamer's category slots, locked while a campaign runs."""
    state: CollectionName = "reconciler_state"
    """Ours alone: how far projections went, so that a restored ledger is noticed."""
    recordings: CollectionName = "reconciler_recordings"
    """Ours alone: idempotency keys of the recording routes with their answers, until they expire."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _refuse_same(_names(self), "collection")
        return self


class CampaignFields(Fields):
    """Fields of a campaign."""

    title: FieldName = "title"
    """For people only."""
    brand_id: FieldName = "brandId"
    """The brand that pays."""
    status: FieldName = "status"
    """draft, pending, active, paused, completed, cancelled or rejected."""
    payment_type: FieldName = "paymentType"
    """cpm or fixed."""
    payment_rate: FieldName = "paymentRate"
    """Major units: per 1,000 impressions (cpm), or per settled participation or campaign pool (fixed)."""
    budget: FieldName = "budget"
    """Major units the brand ordered for."""
    remaining_budget: FieldName = "remainingBudget"
    """The recording side's counter in major units; never read for a payment."""
    target_impressions: FieldName = "targetImpressions"
    """The explicit target; null, 0 or absent means one derived from budget and rate."""
    currency: FieldName = "currency"
    """ISO 4217; absent means payout.default_currency."""
    start_date: FieldName = "startDate"
    """When the campaign begins."""
    end_date: FieldName = "endDate"
    """When the campaign ends."""
    gkey_cooloff_hours: FieldName = "gKeyCooloffHours"
    """Hours a category slot rests after this campaign, 1 to 8760."""
    completed_at: FieldName = "completedAt"
    """Written by us: when every participation was settled."""
    completion_reason: FieldName = "completionReason"
    """Written by us: why it is completed."""
    final_earnings_transferred: FieldName = "finalEarningsTransferred"
    """Written by us: that all of it is paid."""


class ParticipationFields(Fields):
    """Fields of a participation."""

    campaign_id: FieldName = "campaignId"
    """The campaign taken part in."""
    streamer_id: FieldName = "streamerId"
    """Who is paid."""
    status: FieldName = "status"
    """active, paused, completed, rejected, left_early, removed or participation_paused."""
    impressions: FieldName = "impressions"
    """The counter that decides."""
    clicks: FieldName = "clicks"
    """Monitored, never paid for."""
    estimated_earnings: FieldName = "estimatedEarnings"
    """The platform's own estimate: monitored, never paid by."""
    unique_viewers: FieldName = "uniqueViewers"
    """Carried, not interpreted."""
    chat_clicks: FieldName = "chatClicks"
    """Carried, not interpreted."""
    qr_scans: FieldName = "qrScans"
    """Carried, not interpreted."""
    link_clicks: FieldName = "linkClicks"
    """Carried, not interpreted."""
    last_stream_date: FieldName = "lastStreamDate"
    """When the streamer last streamed."""
    created_at: FieldName = "createdAt"
    """When it was made; without a date there, the time in its ObjectId."""
    browser_source_token: FieldName = "browserSourceToken"  # noqa: S105 - a name
    """The secret in the overlay's URL; never logged."""
    earnings_forfeited: FieldName = "earningsForfeited"
    """Fraud or violation: never pay."""
    completed_at: FieldName = "completedAt"
    """Written by us: when it was settled."""
    completion_reason: FieldName = "completionReason"
    """Written by us: the rule that settled it."""
    final_earnings: FieldName = "finalEarnings"
    """Written by us: the net amount in major units."""
    earnings_transferred_at: FieldName = "earningsTransferredAt"
    """Written by us: when the effects were complete."""
    final_earnings_transferred: FieldName = "finalEarningsTransferred"
    """Written by us last, as the receipt for the other effects; true without our payout means paid elsewhere."""
    earnings_reversed_at: FieldName = "earningsReversedAt"
    """Written by us: when a payout was reversed."""


class WalletFields(Fields):
    """Fields of a wallet. All but the last are shared with the rest of the platform: only ever added to."""

    user_id: FieldName = "userId"
    """The streamer's id as text."""
    wallet_type: FieldName = "walletType"
    """brand, streamer or platform."""
    balance: FieldName = "balance"
    """Major units: withdrawable and held together."""
    reserved_balance: FieldName = "reservedBalance"
    """The platform's own."""
    withdrawable_balance: FieldName = "withdrawableBalance"
    """Major units that can be withdrawn."""
    held_balance: FieldName = "heldBalance"
    """Major units that wait for their hold days."""
    total_earnings: FieldName = "totalEarnings"
    """Major units ever earned."""
    total_spent: FieldName = "totalSpent"
    """The platform's own."""
    currency: FieldName = "currency"
    """ISO 4217; absent means payout.default_currency."""
    is_active: FieldName = "isActive"
    """An inactive wallet is not credited."""
    ledger: FieldName = "ledger"
    """Ours alone: per currency, what the ledger says and its version, so that a credit arrives once."""


class TransactionFields(Fields):
    """Fields of a statement line."""

    wallet_id: FieldName = "walletId"
    """The wallet it belongs to."""
    user_id: FieldName = "userId"
    """The streamer's id as text."""
    transaction_type: FieldName = "transactionType"
    """earnings_credit, earnings_hold, earnings_release or earnings_reversal."""
    amount: FieldName = "amount"
    """Major units."""
    currency: FieldName = "currency"
    """ISO 4217."""
    status: FieldName = "status"
    """completed, when we write it."""
    campaign_id: FieldName = "campaignId"
    """The campaign that paid."""
    description: FieldName = "description"
    """A sentence for the streamer."""
    metadata: FieldName = "metadata"
    """Keys that lead back to the ledger."""
    processed_at: FieldName = "processedAt"
    """When the payment was committed."""
    created_by: FieldName = "createdBy"
    """Who wrote the line."""


class GKeyFields(Fields):
    """Fields of a category slot."""

    user_id: FieldName = "userId"
    """The streamer's id as text."""
    category: FieldName = "category"
    """What the slot is for."""
    status: FieldName = "status"
    """available, locked or cooloff."""
    locked_with: FieldName = "lockedWith"
    """The campaign's id as text."""
    locked_at: FieldName = "lockedAt"
    """Since when; a slot locked after the payment stays locked."""
    cooloff_ends_at: FieldName = "cooloffEndsAt"
    """When the slot is available again."""
    usage_count: FieldName = "usageCount"
    """How many campaigns used the slot."""
    last_used: FieldName = "lastUsed"
    """When the last campaign ended."""
    last_brand_id: FieldName = "lastBrandId"
    """The brand that had the slot last."""
    last_brand_cooloff_hours: FieldName = "lastBrandCooloffHours"
    """The hours it rested then; the same brand cannot shorten them."""


class MappingSettings(Section):
    """The platform's names of everything that is read or written in MongoDB."""

    collections: Collections = Field(default_factory=Collections)
    """The collections themselves."""
    campaigns: CampaignFields = Field(default_factory=CampaignFields)
    """Fields of a campaign."""
    participations: ParticipationFields = Field(default_factory=ParticipationFields)
    """Fields of a participation."""
    wallets: WalletFields = Field(default_factory=WalletFields)
    """Fields of a wallet; all but `ledger` are shared with the rest of the platform and only ever added to."""
    transactions: TransactionFields = Field(default_factory=TransactionFields)
    """Fields of a statement line."""
    gkeys: GKeyFields = Field(default_factory=GKeyFields)
    """Fields of a category slot."""
