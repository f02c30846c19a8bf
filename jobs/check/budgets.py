"""Whether what is left of campaigns' budgets follows from what was recorded, to the minor unit.

Only where the configuration says that our recording alone keeps the platform's counters: a platform that counts
otherwise is not wrong for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.ids import DocumentId
from reconciler.domain.money import amount_text
from reconciler.ports.facts import Facts
from reconciler.ports.population import PopulationReads
from reconciler.ports.scanning import RecordedBudget

CAMPAIGNS_A_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetChecker:
    """``is_on``: ``full_check.recorded_budgets``. ``budget_of``: a campaign beside its members' counters, from one
    snapshot; None where nothing can be said. Raises Outage."""

    facts: Facts
    reads: PopulationReads
    budget_of: Callable[[DocumentId], RecordedBudget | None]
    is_on: bool

    def check(self, campaign_id: str | None) -> list[Break]:
        """Campaigns that are running or were funded, and whose remaining budget is another one than recording left."""
        if not self.is_on:
            return []
        found: list[Break] = []
        for one in sorted(set(self._campaigns())):
            if campaign_id in (None, one.value):
                budget = self.budget_of(one)
                if budget is not None and budget.drift_minor:
                    found.append(_break_of(one, budget))
        return found

    def _campaigns(self) -> Iterator[DocumentId]:
        for page in self.facts.paying_campaigns():
            yield from (campaign.campaign_id for campaign in page)
        after = ""
        while money := self.reads.campaign_money(after, CAMPAIGNS_A_PAGE):
            after = money[-1].campaign_id.tagged
            yield from (one.campaign_id for one in money)


def _break_of(campaign_id: DocumentId, budget: RecordedBudget) -> Break:
    shown = partial(amount_text, currency=budget.currency)
    expected_minor = budget.remaining_minor - budget.drift_minor
    said = (
        f"{shown(budget.remaining_minor)} are said to remain, and {shown(expected_minor)} follow from what was counted"
    )
    if budget.drift_minor > 0:
        reason, why = "counted_unpaid", "impressions were counted that the budget did not pay for"
    else:
        reason, why = "paid_uncounted", "the budget paid for impressions that are not counted"
    return Break(
        kind=BreakKind.BUDGET_DRIFT,
        reason=reason,
        campaign_id=campaign_id.value,
        currency=budget.currency,
        expected_minor=expected_minor,
        actual_minor=budget.remaining_minor,
        detail=f"{said}: {why}, {shown(abs(budget.drift_minor))}",
    )
