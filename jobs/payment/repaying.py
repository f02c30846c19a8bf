"""Paying again, or after all: a person's command, on facts read now, under the next number of its key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reconciler.clock import Clock
from reconciler.deciding import Deciding, unsettled
from reconciler.domain.batch import Outcome
from reconciler.domain.decision import Due, ParticipationFacts, Settled
from reconciler.domain.ids import DocumentId, payout_key
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.participation import Participation
from reconciler.domain.plan import NewDecision
from reconciler.errors import UsageError
from reconciler.ports.journal import BatchStamp, Posted
from reconciler.ports.ledger_reads import SettledFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaying:
    """Repays one participation. Raises UsageError with the reason when it may not be; nothing is written then."""

    deciding: Deciding
    post: Callable[[PayoutRequest, NewDecision, BatchStamp], Posted]
    clock: Clock

    def repay(
        self, participation_id: DocumentId, signed_by: str, reason: str, stamp: BatchStamp
    ) -> tuple[str, Sequence[int]]:
        """Returns the key of the new payout, and the entry whose effects are to be projected."""
        page = self.deciding.facts.read([participation_id])
        readable = [one for one in page.participations if isinstance(one, Participation)]
        if not readable:
            raise UsageError(f"there is no readable participation {participation_id}")
        tagged = participation_id.tagged
        decided = self.deciding.decide_beyond(page, _beyond_what_was_settled)
        before = decided.known.settled.get(tagged, Settled.NOTHING)
        if before is Settled.PAID:
            raise UsageError(f"{participation_id} is paid: reverse that payout first")
        decision = decided.decisions[0]
        if not isinstance(decision, Due):
            raise UsageError(f"{participation_id} is not due: {decision.reason.value} {decision.detail}".rstrip())
        # Also of another participation of the streamer in this campaign, which the platform made anew after a reversal.
        streamer_id, ledger = decision.participation.streamer_id, self.deciding.ledger
        n = ledger.last_number(tagged, decision.terms.campaign_id.tagged, streamer_id) + 1
        key = payout_key(participation_id, n)
        signature = NewDecision(
            decision_key=f"repay:{key}",
            kind="repay",
            subject=key,
            decided_by=signed_by,
            reason=reason,
            state_before={"settled": before.value, "payouts": n - 1},
            amount_minor=decision.earned.gross_minor,
            currency=decision.terms.currency,
        )
        request = PayoutRequest(due=decision, facts_at=page.facts_at, n=n, decision_key=signature.decision_key)
        posted = self.post(request, signature, stamp)
        outcome = posted.outcomes[key]
        if outcome is not Outcome.NEW:
            raise UsageError(f"{participation_id} was not paid: {outcome.value}")
        return key, posted.payout_sequences


def _beyond_what_was_settled(facts: ParticipationFacts, known: SettledFacts) -> ParticipationFacts:
    """What was settled or marked before is what this command is there to go beyond; all else is asked anew.

    A member of a frozen settlement is owed its share and nothing else.
    """
    line = known.pool_lines.get(facts.participation.participation_id.tagged)
    return replace(unsettled(facts, known), streamer_paid_for=None, pool=line)
