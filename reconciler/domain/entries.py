"""The entries there are, each built from what it is about. Every one sums to zero, or cannot be built."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.domain import accounts
from reconciler.domain.accounts import Entry, Posting
from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.ids import DocumentId, fund_key
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.money import amount_text
from reconciler.domain.posted import PostedPayout


def given_back(movements: Sequence[tuple[str, int]], amount_minor: int, otherwise: str) -> list[Posting]:
    """Legs that give an amount of escrow back to the brands' accounts that funded it, whatever brand is named today.

    ``movements``: (account, minor units into escrow; negative: back), in their order. Who funded last gets back first,
    since the money of those before was used first; nobody more than they put in. What no brand put in (an adjustment
    did) goes to ``otherwise``.
    """
    inside: dict[str, int] = {}
    for account, moved_minor in movements:
        # Put in again: the end of the order is who funded last.
        before = inside.pop(account, 0) if moved_minor > 0 else inside.get(account, 0)
        inside[account] = before + moved_minor
    legs: dict[str, int] = {}
    for account in reversed(inside):
        part = max(min(inside[account], amount_minor - sum(legs.values())), 0)
        if part:
            legs[account] = part
    rest = amount_minor - sum(legs.values())
    if rest or not legs:
        legs[otherwise] = legs.get(otherwise, 0) + rest
    return [Posting(account=account, amount_minor=part) for account, part in legs.items()]


def fund_entry(terms: CampaignTerms, n: int, amount_minor: int, movements: Sequence[tuple[str, int]] = ()) -> Entry:
    """From the brand's funding into escrow, or where the budget was cut back to who funded it (``movements``)."""
    own = accounts.funding(terms.brand_id)
    if amount_minor < 0:
        brands = given_back(movements, -amount_minor, own)
    else:
        brands = [Posting(account=own, amount_minor=-amount_minor)]
    return Entry(
        key=fund_key(terms.campaign_id, n),
        kind="fund",
        campaign_id=terms.campaign_id.tagged,
        currency=terms.currency,
        reason=f"budget seen: {amount_text(terms.budget_minor, terms.currency)}",
        postings=(*brands, Posting(account=accounts.escrow(terms.campaign_id), amount_minor=amount_minor)),
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


def refund_entry(escrow: str, n: int, legs: Sequence[Posting], *, currency: str, reason: str) -> Entry:
    """What is left in an escrow, back to the accounts of ``legs``."""
    campaign = accounts.campaign_of(escrow).tagged
    amount_minor = sum(leg.amount_minor for leg in legs)
    return Entry(
        key=f"refund:{campaign}:{n}",
        kind="refund",
        campaign_id=campaign,
        currency=currency,
        reason=reason,
        postings=(Posting(account=escrow, amount_minor=-amount_minor), *legs),
    )
