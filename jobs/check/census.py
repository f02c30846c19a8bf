"""Every campaign that MongoDB has, whoever takes part in it: what cannot be read, and words that are not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.campaign import STATUSES, STATUSES_UNFINISHED, Campaign, MalformedCampaign
from reconciler.domain.decision import shown_word
from reconciler.domain.judging import break_of_campaign


class CampaignCensus:
    """Looks at pages of campaigns, and keeps what a person has to be told."""

    def __init__(self) -> None:
        self.count = 0
        self.unknown_words: Counter[str] = Counter()
        """Status that is not known, as it is shown → campaigns that have it."""
        self.breaks: list[Break] = []

    def look(self, pages: Iterator[Sequence[Campaign]], campaign_id: str | None) -> None:
        """Look at all campaigns, or at one (its plain identity)."""
        for page in pages:
            self.count += len(page)
            for campaign in page:
                if campaign_id in (None, campaign.campaign_id.value):
                    self._look_at(campaign)

    def _look_at(self, campaign: Campaign) -> None:
        if campaign.status is not None and campaign.status not in STATUSES:
            self.unknown_words[shown_word(campaign.status)] += 1
        if isinstance(campaign, MalformedCampaign):
            # One that was never begun may lack what it is to pay, until somebody is counted in it.
            if campaign.status not in STATUSES_UNFINISHED:
                self.breaks.append(break_of_campaign(campaign))
        elif not campaign.cooloff_was_read:
            self.breaks.append(
                Break(
                    kind=BreakKind.COOLOFF_OUT_OF_RANGE,
                    reason="gkey_cooloff_hours",
                    campaign_id=str(campaign.campaign_id),
                    detail=f"no whole number of hours from 1 to 8760; {campaign.cooloff_hours} are used",
                )
            )
