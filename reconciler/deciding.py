"""Deciding about pages: facts put together from both databases, and what follows from them.

The only caller of :func:`reconciler.domain.decision.decide` for documents that were read. The sweep, the watch, the
check, refunds, repaying, ``explain`` and the API all come here, so that nobody forgets a look-up that another one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reconciler.domain.decision import Decision, Due, ParticipationFacts, Policy, Settled, decide
from reconciler.domain.participation import Participation
from reconciler.ports.facts import Facts, FactsPage
from reconciler.ports.ledger_reads import LedgerReads, SettledFacts

Change = Callable[[ParticipationFacts, SettledFacts], ParticipationFacts]
"""Changes facts before they are decided on: a person's command may leave out what stands in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A page, what the ledger knows of it, and the facts and decisions of its readable ones, in the page's order."""

    page: FactsPage
    known: SettledFacts
    facts: Sequence[ParticipationFacts]
    decisions: Sequence[Decision]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """Decides by one policy. Every method may raise Outage."""

    facts: Facts
    ledger: LedgerReads
    policy: Policy

    def decide(self, page: FactsPage) -> Decided:
        """Decide about everybody on a page, with what the platform's statement lines say of those due."""
        known, facts = self._gathered(page)
        decisions = [decide(one, self.policy) for one in facts]
        # Only those otherwise due are looked up in the platform's statement lines: that query is the dearest.
        due = [one.participation for one in decisions if isinstance(one, Due)]
        asked = self._with_statement_lines(facts, due)
        decisions = [
            known_one if before is after else decide(after, self.policy)
            for known_one, before, after in zip(decisions, facts, asked, strict=True)
        ]
        return Decided(page=page, known=known, facts=asked, decisions=decisions)

    def decide_beyond(self, page: FactsPage, change: Change) -> Decided:
        """Decide on changed facts; what the platform credited by itself is among what such a command goes beyond."""
        known, facts = self._gathered(page)
        changed = [change(one, known) for one in facts]
        return Decided(page=page, known=known, facts=changed, decisions=[decide(one, self.policy) for one in changed])

    def members(self, page: FactsPage) -> Decided:
        """The facts of a whole campaign, for the decision about its pool: undecided, with all statement lines."""
        known, facts = self._gathered(page)
        asked = self._with_statement_lines(facts, [one.participation for one in facts])
        return Decided(page=page, known=known, facts=asked, decisions=())

    def _gathered(self, page: FactsPage) -> tuple[SettledFacts, list[ParticipationFacts]]:
        readable = [one for one in page.participations if isinstance(one, Participation)]
        # Of those that cannot be read and of those that are gone, too: they may be held.
        named = [one.participation_id for one in page.participations if one.participation_id is not None]
        known = self.ledger.settled_facts(
            [one.tagged for one in (*named, *page.missing)],
            [(one.campaign_id.tagged, one.streamer_id) for one in readable],
        )
        return known, [_facts_of(one, page, known) for one in readable]

    def _with_statement_lines(
        self, facts: Sequence[ParticipationFacts], asked: Sequence[Participation]
    ) -> list[ParticipationFacts]:
        credited = self.facts.credited_elsewhere((one.campaign_id, one.streamer_id) for one in asked)
        return [
            replace(one, credited_elsewhere=True)
            if (one.participation.campaign_id.tagged, one.participation.streamer_id) in credited
            else one
            for one in facts
        ]


def unsettled(facts: ParticipationFacts, _known: SettledFacts) -> ParticipationFacts:
    """As if nothing had been settled or marked before."""
    return replace(facts, participation=replace(facts.participation, marked_paid=False), settled=Settled.NOTHING)


def _facts_of(participation: Participation, page: FactsPage, known: SettledFacts) -> ParticipationFacts:
    """Everything a decision looks at, put together from one page of documents and what the ledger knows of it."""
    campaign_id, participation_id = participation.campaign_id.tagged, participation.participation_id.tagged
    paid_for = known.paid_participations.get((campaign_id, participation.streamer_id))
    return ParticipationFacts(
        participation=participation,
        campaign=page.campaigns.get(campaign_id),
        settled=known.settled.get(participation_id, Settled.NOTHING),
        streamer_paid_for=None if paid_for == participation_id else paid_for,
        pinned_currency=known.pinned_currency.get(campaign_id),
        pool=known.pool_lines.get(participation_id) or known.pool_campaigns.get(campaign_id),
    )
