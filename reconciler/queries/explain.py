"""Why a participation was paid or not, from both databases, to the last rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jobs.payment.pools import PoolFreezer
from reconciler.clock import utc_text
from reconciler.deciding import Deciding
from reconciler.domain.batch import PlannedBatch, PostingRules
from reconciler.domain.decision import Decision, Due, ParticipationFacts
from reconciler.domain.explanation import Explanation, PaidExplained, explain
from reconciler.domain.findings import Case
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.money import format_minor
from reconciler.domain.participation import MalformedParticipation, Participation
from reconciler.domain.recomputation import FrozenPool
from reconciler.domain.settlement import PoolDecision
from reconciler.ledger.engine import Engine
from reconciler.ledger.reads.participation_history import ParticipationHistory, foresee, participation_history
from reconciler.ports.facts import FactsPage
from reconciler.queries import Document, fields_document
from reconciler.queries.history import (
    decision_document,
    effect_document,
    entry_document,
    hold_document,
    settlement_document,
)
from reconciler.queries.identities import UnknownName, identities_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """An explanation with what the ledger holds, and the document's problems where it cannot be read at all."""

    explanation: Explanation
    history: ParticipationHistory
    problems: tuple[str, ...] = ()

    def pool_of(self, paid: PaidExplained) -> FrozenPool | None:
        """The frozen settlement that a payout is a line of."""
        return (self.history.pools or {}).get(paid.stored.settlement_key or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """Explains participations by the rules that a sweep follows; it posts nothing.

    ``fixed_impressions_per_unit`` is the setting of the same name in ``completion``.
    """

    engine: Engine
    deciding: Deciding
    freezer: PoolFreezer
    rules: PostingRules
    fixed_impressions_per_unit: int

    def explain(self, text: str) -> Explained:
        """Explain the participation that a text names. Raises UnknownName where neither database has it."""
        identities = identities_of(text)
        page = self.deciding.facts.read(identities)
        for identity in identities:
            found = next((one for one in page.participations if one.participation_id == identity), None)
            history = participation_history(self.engine, identity)
            if found is not None or not history.is_empty:
                return self._explained(page, found, history)
        raise UnknownName(f"neither database has a participation {text!r}")

    def _explained(
        self, page: FactsPage, found: Participation | MalformedParticipation | None, history: ParticipationHistory
    ) -> Explained:
        case = Case(
            participation_id=history.participation_id,
            policy=self.deciding.policy,
            fixed_impressions_per_unit=self.fixed_impressions_per_unit,
            impressions_per_minute_max=self.rules.impressions_per_minute_max,
            now=page.facts_at,
            stored=history.payouts,
            pools=history.pools or {},
        )
        if isinstance(found, Participation):
            decided = self.deciding.decide(replace(page, participations=[found], missing=()))
            facts, decision = decided.facts[0], decided.decisions[0]
            case = replace(
                case,
                facts=facts,
                decision=decision,
                foreseen=self._foreseen(decision, page),
                pool=self._pool(facts),
            )
        problems = tuple(map(str, found.problems)) if isinstance(found, MalformedParticipation) else ()
        return Explained(explanation=explain(case), history=history, problems=problems)

    def _foreseen(self, decision: Decision, page: FactsPage) -> PlannedBatch | None:
        if not isinstance(decision, Due):
            return None
        request = PayoutRequest(due=decision, facts_at=page.facts_at)
        return foresee(self.engine, request, self.rules, page.facts_at)

    def _pool(self, facts: ParticipationFacts) -> PoolDecision | None:
        """What would become of the whole campaign, where whole campaigns are settled and this one is not yet."""
        if not self.deciding.policy.has_pools or facts.campaign is None:
            return None
        campaign_id = facts.participation.campaign_id
        return self.freezer.decide(self.deciding.facts.read_campaign(campaign_id), campaign_id)


def find_explanation(explainer: Explainer, text: str) -> Document | None:
    """The explanation of the participation that a text names; None where neither database has it."""
    try:
        return explanation_document(explainer.explain(text))
    except UnknownName:
        return None


def explanation_document(found: Explained) -> Document:
    """The explanation for JSON."""
    explanation, history = found.explanation, found.history
    adoption, identity = history.adoption, DocumentId.from_tagged(history.participation_id)
    return {
        "participation_id": identity.value,
        "payout_key": explanation.payout_key,
        "answer": explanation.answer,
        "reason": explanation.reason,
        "problems": list(found.problems),
        "rules": [fields_document(one) for one in explanation.steps],
        "payouts": [_paid_document(one, found) for one in explanation.paid],
        "entries": [entry_document(one) for one in history.entries],
        "holds": [hold_document(one) for one in history.holds],
        "decisions": [decision_document(one) for one in history.decisions],
        "effects": [effect_document(one) for one in history.effects],
        "wallets": [fields_document(one) for one in history.wallets],
        "adopted": None if adoption is None else fields_document(adoption),
    }


def _paid_document(paid: PaidExplained, found: Explained) -> Document:
    stored, recomputed = paid.stored, paid.recomputed
    pool = found.pool_of(paid)
    return {
        "payout_key": stored.payout_key,
        "kind": stored.kind,
        "finding": paid.finding,
        "facts": {
            "impressions": stored.impressions,
            "target": stored.target,
            "payment_type": stored.payment_type,
            "rate": stored.rate,
            "overdelivery": stored.overdelivery,
            "impressions_paid": stored.impressions_paid,
            "rounding": stored.rounding,
            "fee_bps": stored.fee_bps,
            "rule": stored.rule,
            "trigger": stored.trigger,
            "run_id": stored.run_id,
            "facts_at": utc_text(stored.facts_at),
        },
        "created_at": utc_text(stored.created_at),
        "release_at": None if stored.release_at is None else utc_text(stored.release_at),
        "currency": stored.currency,
        "gross_minor": stored.gross_minor,
        "fee_minor": stored.fee_minor,
        "amount_minor": stored.amount_minor,
        "amount": format_minor(stored.amount_minor, stored.currency),
        "settlement_line": None if pool is None else settlement_document(pool, found.history.participation_id),
        "recomputed": None
        if recomputed is None
        else {
            "gross_minor": recomputed.gross.amount_minor,
            "formula": recomputed.gross.formula,
            "rounding": recomputed.gross.rounding,
            "fee_minor": recomputed.fee.amount_minor,
            "fee_formula": recomputed.fee.formula,
            "fee_rounding": recomputed.fee.rounding,
            "net_minor": recomputed.net_minor,
        },
        "holds_true": paid.holds,
        "differences": differences(paid),
    }


def differences(paid: PaidExplained) -> list[str]:
    """How a payout differs from what its stored facts give; or why it could not be computed again."""
    if paid.recomputed is None:
        return [paid.problem]
    return list(paid.recomputed.differences)
