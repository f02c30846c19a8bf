"""Proof that nobody is forgotten: everybody who reached a target, by the facts alone, is accounted for.

This is a second derivation, as control totals are. It uses neither the scan, nor the comparison, nor ``decide``:
MongoDB finds by its own comparison who may have reached a target, SQL says whom the ledger settled, and the report's
own lists say whom they name. Who is in none of them is judged once more, alone; who is then still nowhere is a break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from jobs.check.tally import Tally, key_of
from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.campaign import Campaign, CampaignTerms
from reconciler.domain.decision import shown_word
from reconciler.domain.ids import DocumentId, plain_id
from reconciler.domain.judging import Part
from reconciler.domain.parsing import parse_count
from reconciler.ports.facts import Facts
from reconciler.ports.population import PopulationReads
from reconciler.ports.scanning import FactScan, Reached

CAMPAIGNS_A_QUERY = 500
UNACCOUNTED = "unaccounted"

_KEPT = frozenset({"paused", "participation_paused", "rejected", "left_early", "removed"})
_CAMPAIGN_KEPT = frozenset({"draft", "pending", "paused", "cancelled", "rejected"})
"""Somebody's decisions, spelled out here again: what the first derivation takes for one must not decide the second."""

_OF_WHOLE_CAMPAIGNS = (BreakKind.MALFORMED, BreakKind.HELD)

Judge = Callable[[DocumentId], Tally]
"""Checks one participation anew, alone."""


@dataclass(slots=True, kw_only=True)
class _Named:
    """Whom the report names so far: participations and campaigns by plain identity, statuses as they are shown."""

    participations: set[str] = field(default_factory=set)
    campaigns: set[str] = field(default_factory=set)
    statuses: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)

    @classmethod
    def by(cls, tally: Tally, waiting: Mapping[str, datetime]) -> _Named:
        named = cls(waiting=set(waiting), statuses=set(tally.unknown_count))
        for one in tally.breaks:
            if one.participation_id:
                named.participations.add(one.participation_id)
            elif one.kind in _OF_WHOLE_CAMPAIGNS:
                named.campaigns.add(one.campaign_id)
        return named


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletenessProof:
    """Raises Outage."""

    facts: Facts
    scan: FactScan
    reads: PopulationReads

    def prove(self, tally: Tally, waiting: Mapping[str, datetime], campaign_id: str | None, judge: Judge) -> Tally:
        """Judge those again whom no part accounts for; return what that found, with a break for each still unaccounted.

        Nobody is counted into a part by it: each was, when it was met first.
        """
        named, again = _Named.by(tally, waiting), Tally()
        for one in self._unaccounted(named, campaign_id):
            identity = DocumentId.from_tagged(one.participation_id)
            judged = judge(identity)
            if judged.parts[Part.NOT_DUE] and self._is_reached(identity):
                judged.breaks.append(_forgotten(one))
            found = Tally(breaks=judged.breaks, due_minor=judged.due_minor, waiting=judged.waiting)
            found.paid, found.projected = judged.paid, judged.projected
            again.add(found)
        return again

    def _unaccounted(self, named: _Named, campaign_id: str | None) -> Iterator[Reached]:
        for campaigns in _some(self._terms(campaign_id)):
            by_id = {terms.campaign_id.tagged: terms for terms in campaigns}
            for page in self.scan.reached(campaigns):
                left = [one for one in page if not _is_accounted(one, by_id[one.campaign_id], named)]
                settled = self.reads.settled_of([one.participation_id for one in left]) if left else set()
                yield from (one for one in left if one.participation_id not in settled)

    def _terms(self, campaign_id: str | None) -> Iterator[CampaignTerms]:
        """Campaigns with a target; one that cannot be read is named as a whole."""
        for page in self.facts.all_campaigns():
            for campaign in page:
                if isinstance(campaign, CampaignTerms) and campaign_id in (None, campaign.campaign_id.value):
                    yield campaign

    def _is_reached(self, identity: DocumentId) -> bool:
        """Whether it still is, and in the same campaign: it may have changed since it was found."""
        page = self.facts.read([identity])
        return any(_has_reached(one, page.campaigns) for one in page.participations)


def _is_accounted(one: Reached, terms: CampaignTerms, named: _Named) -> bool:
    """Whether the report speaks of it, or a person's decision keeps it; whoever is below after all needs neither."""
    counted = parse_count(one.impressions)
    if isinstance(counted, int) and counted < terms.target_impressions:
        return True
    plain = plain_id(one.participation_id)
    if plain in named.participations or one.participation_id in named.waiting:
        return True
    if terms.campaign_id.value in named.campaigns or one.forfeited is True:
        return True
    if one.status in _KEPT or terms.status in _CAMPAIGN_KEPT:
        return True
    words = (("participation", one.status), ("campaign", terms.status))
    return any(isinstance(word, str) and key_of(side, shown_word(word)) in named.statuses for side, word in words)


def _has_reached(participation: object, campaigns: Mapping[str, Campaign]) -> bool:
    campaign_id, counted = getattr(participation, "campaign_id", None), getattr(participation, "impressions", None)
    terms = campaigns.get(campaign_id.tagged) if isinstance(campaign_id, DocumentId) else None
    return isinstance(terms, CampaignTerms) and isinstance(counted, int) and counted >= terms.target_impressions


def _forgotten(one: Reached) -> Break:
    return Break(
        kind=BreakKind.DUE_BUT_UNPAID,
        reason=UNACCOUNTED,
        participation_id=plain_id(one.participation_id),
        campaign_id=plain_id(one.campaign_id),
        detail="it reached its target, and is neither paid, held, withheld, on its way, nor named by any break",
    )


def _some(terms: Iterator[CampaignTerms]) -> Iterator[Sequence[CampaignTerms]]:
    page: list[CampaignTerms] = []
    for one in terms:
        page.append(one)
        if len(page) >= CAMPAIGNS_A_QUERY:
            yield page
            page = []
    if page:
        yield page
