"""What a budget moves into escrow, once seen: the whole of it, or what changed of it; back to whom it came from."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.domain.entries import fund_entry
from reconciler.domain.ledger_snapshot import Funding, PayoutRequest
from reconciler.domain.plan import NewFunding


def budget_change(newest: PayoutRequest, last: Funding | None, escrow_minor: int, adopted_minor: int) -> int | None:
    """What a budget moves into escrow in minor units (negative: back); None when it was seen before.

    The budget is compared with the last one seen, never with the balance. A cut takes back what escrow still holds,
    and no more. What could not be taken back is remembered by comparing with the sum of all fundings: a later increase
    first makes up for it, so that a campaign is never funded with more than its budget. What was settled before this
    ledger began came out of the budget too.
    """
    budget_minor = newest.due.terms.budget_minor
    if last is None:
        return max(budget_minor - adopted_minor, 0)
    if last.was_refunded or last.budget_minor == budget_minor or newest.facts_at <= last.facts_at:
        return None
    return max(budget_minor - adopted_minor - last.funded_minor, -escrow_minor)


def new_funding(
    newest: PayoutRequest, n: int, amount_minor: int, movements: Sequence[tuple[str, int]] = ()
) -> NewFunding:
    """The funding that a request's terms lead to; ``movements`` are those of the fundings before it."""
    terms = newest.due.terms
    return NewFunding(
        entry=fund_entry(terms, n, amount_minor, movements),
        campaign_id=terms.campaign_id.tagged,
        n=n,
        currency=terms.currency,
        budget_minor=terms.budget_minor,
        amount_minor=amount_minor,
        facts_at=newest.facts_at,
    )
