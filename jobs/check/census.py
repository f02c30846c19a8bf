"""Every campaign that MongoDB has, whoever takes part in it: what cannot be read, and words that are not known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from jobs.check.statuses import breaks_of_statuses
from jobs.check.tally import Tally
from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.campaign import STATUSES, STATUSES_UNFINISHED, Campaign, MalformedCampaign
from reconciler.domain.decision import shown_word
from reconciler.domain.judging import break_of_campaign
from reconciler.ports.facts import Facts
from reconciler.ports.scanning import FactScan


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignCensus:
    """Looks at all campaigns, and at the collections that hold what is checked. Raises Outage."""

    facts: Facts
    scan: FactScan

    def look(self, total: Tally, campaign_id: str | None) -> None:
        """Add what a person has to know of campaigns (all, or one by its plain identity), statuses and collections."""
        count, words, found = 0, Counter[str](), Tally()
        for page in self.facts.all_campaigns():
            count += len(page)
            for campaign in page:
                if campaign_id in (None, campaign.campaign_id.value):
                    found.breaks += _of_campaign(campaign)
                    if campaign.status is not None and campaign.status not in STATUSES:
                        words[shown_word(campaign.status)] += 1
        total.add(found)
        total.breaks += breaks_of_statuses(total, words)
        total.breaks += self._of_collections({"participations": total.scanned, "campaigns": count})

    def _of_collections(self, counts: dict[str, int]) -> list[Break]:
        missing = {role: one.detail for role, one in self.scan.missing_collections().items() if one.is_suspect}
        empty = [name for name, count in counts.items() if not count and name not in missing]
        missing |= dict.fromkeys(empty, "the collection holds no document")
        return [Break(kind=BreakKind.NOTHING_CHECKED, reason=name, detail=detail) for name, detail in missing.items()]


def _of_campaign(campaign: Campaign) -> list[Break]:
    if isinstance(campaign, MalformedCampaign):
        # One that was never begun may lack what it is to pay, until somebody is counted in it.
        return [] if campaign.status in STATUSES_UNFINISHED else [break_of_campaign(campaign)]
    if campaign.cooloff_was_read:
        return []
    return [
        Break(
            kind=BreakKind.COOLOFF_OUT_OF_RANGE,
            reason="gkey_cooloff_hours",
            campaign_id=str(campaign.campaign_id),
            detail=f"no whole number of hours from 1 to 8760; {campaign.cooloff_hours} are used",
        )
    ]
