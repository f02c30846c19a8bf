"""The entries there are, each built from what it is about. Every one sums to zero, or cannot be built."""

from __future__ import annotations

from reconciler.domain import accounts
from reconciler.domain.accounts import Entry, Posting
from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.ids import DocumentId, fund_key
from reconciler.domain.ledger_view import PayoutRequest
from reconciler.domain.money import format_minor
from reconciler.domain.posted import PostedPayout


def fund_entry(terms: CampaignTerms, n: int, amount_minor: int) -> Entry:
    """From the brand's funding into escrow, or back where the budget was cut."""
    return Entry(
        key=fund_key(terms.campaign_id, n),
        kind="fund",
        campaign_id=terms.campaign_id.tagged,
        currency=terms.currency,
        reason=f"budget seen: {format_minor(terms.budget_minor, terms.currency)} {terms.currency}",
        postings=(
            Posting(account=accounts.funding(terms.brand_id), amount_minor=-amount_minor),
            Posting(account=accounts.escrow(terms.campaign_id), amount_minor=amount_minor),
        ),
    )


def payout_entry(request: PayoutRequest, *, is_held: bool) -> Entry:
    """From escrow: the net amount to the streamer, into *held* while its days run, and the fee to the platform."""
    due, participation, terms = request.due, request.due.participation, request.due.terms
    to = accounts.held if is_held else accounts.wallet
    legs = [
        Posting(account=accounts.escrow(terms.campaign_id), amount_minor=-due.earned.gross_minor),
        Posting(account=to(participation.streamer_id), amount_minor=due.net_minor),
    ]
    if due.fee_minor:
        legs.append(Posting(account=accounts.FEES, amount_minor=due.fee_minor))
    return Entry(
        key=request.key,
        kind="payout",
        campaign_id=participation.campaign_id.tagged,
        participation_id=participation.participation_id.tagged,
        streamer_id=participation.streamer_id,
        currency=terms.currency,
        reason=due.rule.value,
        postings=tuple(legs),
    )


def release_entry(payout: PostedPayout) -> Entry:
    """From a streamer's *held* account to their wallet, when the hold days are over."""
    return Entry(
        key=f"release:{payout.payout_key}",
        kind="hold_release",
        campaign_id=payout.campaign_id,
        participation_id=payout.participation_id,
        streamer_id=payout.streamer_id,
        currency=payout.currency,
        reason="hold_days_over",
        corrects=payout.payout_key,
        postings=(
            Posting(account=accounts.held(payout.streamer_id), amount_minor=-payout.amount_minor),
            Posting(account=accounts.wallet(payout.streamer_id), amount_minor=payout.amount_minor),
        ),
    )


def reversal_entry(payout: PostedPayout, *, reason: str) -> Entry:
    """The mirror of a payout, its fee too: back into escrow, from *held* or the wallet, as it lies."""
    lies_in = accounts.held if payout.lies_held else accounts.wallet
    legs = [
        Posting(account=accounts.escrow(DocumentId.from_tagged(payout.campaign_id)), amount_minor=payout.gross_minor),
        Posting(account=lies_in(payout.streamer_id), amount_minor=-payout.amount_minor),
    ]
    if payout.fee_minor:
        legs.append(Posting(account=accounts.FEES, amount_minor=-payout.fee_minor))
    return Entry(
        key=f"reversal:{payout.payout_key}",
        kind="reversal",
        campaign_id=payout.campaign_id,
        participation_id=payout.participation_id,
        streamer_id=payout.streamer_id,
        currency=payout.currency,
        reason=reason,
        corrects=payout.payout_key,
        postings=tuple(legs),
    )


def refund_entry(campaign_id: DocumentId, brand_id: DocumentId, n: int, *, amount_minor: int, currency: str) -> Entry:
    """What is left in escrow, back to the brand."""
    return Entry(
        key=f"refund:{campaign_id.tagged}:{n}",
        kind="refund",
        campaign_id=campaign_id.tagged,
        currency=currency,
        reason="campaign_over",
        postings=(
            Posting(account=accounts.escrow(campaign_id), amount_minor=-amount_minor),
            Posting(account=accounts.funding(brand_id), amount_minor=amount_minor),
        ),
    )
