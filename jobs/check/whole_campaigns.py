"""Campaigns that reached their target as a whole while a status keeps them from being settled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from jobs.check.tally import Tally, key_of
from jobs.payment.pools import PoolFreezer
from reconciler.domain.campaign import STATUSES, STATUSES_THAT_PAY, CampaignTerms
from reconciler.domain.decision import Reason, Rule, shown_word
from reconciler.domain.judging import Part
from reconciler.domain.settlement import PoolDue
from reconciler.ports.facts import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeCampaigns:
    """Only for scope campaign, where the members reach the target together. Raises Outage."""

    facts: Facts
    freezer: PoolFreezer

    def count_kept(self, tally: Tally, now: datetime, campaign_id: str | None) -> None:
        """Count as withheld, or as unknown by the word, whoever would share a pool if their campaign's status paid."""
        for terms, due in self._kept(now, campaign_id):
            count, minor = len(due.lines), due.pool_minor
            if terms.status not in STATUSES:
                word = shown_word(terms.status)
                tally.unknown_reached[key_of("campaign", word)] += count
                tally.unknown_minor[key_of("campaign", word, terms.currency)] += minor
                continue
            key = key_of(Reason.CAMPAIGN_NOT_ACTIVE.value, terms.status, terms.currency)
            # Each was met alone, and is below its target alone.
            count = min(count, tally.parts[Part.NOT_DUE])
            tally.parts[Part.NOT_DUE] -= count
            tally.parts[Part.WITHHELD] += count
            tally.withheld_count[key] += count
            tally.withheld_minor[key] += minor

    def _kept(self, now: datetime, campaign_id: str | None) -> Iterator[tuple[CampaignTerms, PoolDue]]:
        for campaigns in self.facts.all_campaigns():
            kept = [
                one
                for one in campaigns
                if isinstance(one, CampaignTerms)
                and one.status not in STATUSES_THAT_PAY
                and campaign_id in (None, one.campaign_id.value)
            ]
            for terms in self.facts.pool_candidates(kept, self.freezer.deciding.policy, now) if kept else ():
                page = self.facts.read_campaign(terms.campaign_id)
                paying = {terms.campaign_id.tagged: replace(terms, status="active")}
                due = self.freezer.decide(replace(page, campaigns=paying), terms.campaign_id)
                if isinstance(due, PoolDue) and due.rule is Rule.IMPRESSIONS_TARGET_REACHED:
                    yield terms, due
