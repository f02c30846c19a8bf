"""Why a participation was paid, or was not: every rule in the order in which it is tried, with its numbers in words.

Pure, and never of another opinion than :func:`reconciler.domain.decision.decide`: where the steps stop follows from its
answer. The amounts of what was paid come from the facts stored with the payout, not from today's documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from reconciler.domain.batch import Outcome, PlannedBatch
from reconciler.domain.campaign import STATUSES as CAMPAIGN_STATUSES
from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.decision import (
    SETTLE_ALL_RULES,
    Decision,
    Due,
    NotDue,
    ParticipationFacts,
    Policy,
    Reason,
    Rule,
    Scope,
)
from reconciler.domain.findings import Case, basis_of, findings, problems, shown_time
from reconciler.domain.ids import payout_key
from reconciler.domain.money import amount_text, format_minor
from reconciler.domain.posted import PostedPayout
from reconciler.domain.recomputation import (
    Computation,
    FrozenPool,
    Recomputed,
    compute_fee,
    compute_gross,
    recompute,
)
from reconciler.domain.review import pace_of
from reconciler.domain.settlement import PoolDue


class RuleResult(StrEnum):
    """How one rule was answered."""

    PASSED = "passed"
    """Nothing in the way here."""
    STOPPED = "stopped"
    """This is why it is not paid now."""
    NOT_REACHED = "not reached"
    """An earlier rule decided; the finding is what today's facts say."""
    OFF = "off"
    """The configuration has this rule switched off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rule that was tried: its name, the answer, what was found, and for an amount formula and rounding."""

    rule: str
    verdict: RuleResult
    finding: str
    formula: str = ""
    rounding: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidExplained:
    """A payout or reversal: its stored facts in words, and whether they give what was posted."""

    stored: PostedPayout
    finding: str
    recomputed: Recomputed | None
    problem: str = ""
    """Why it cannot be computed again: only on rows that were changed behind the ledger's back."""

    @property
    def holds(self) -> bool:
        """Whether the stored facts give the stored amounts."""
        return self.recomputed is not None and not self.recomputed.differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The answer in one sentence, the key of the first payment, and how it came about."""

    participation_id: str
    payout_key: str
    answer: str
    reason: str
    """``due``, a reason of :class:`Reason`, or ``participation_missing``."""
    steps: tuple[Step, ...]
    paid: tuple[PaidExplained, ...]


_ORDER = (
    "ledger",
    "marked_paid",
    "campaign",
    "campaign_status",
    "participation_status",
    "forfeited",
    "well_formed",
    "pool",
    "impressions_target_reached",
    "credited_elsewhere",
    "one_payout_a_streamer",
    "currency",
    "amount",
)
"""The rules in the order of :func:`decide`."""

_WHERE: Mapping[Reason, str] = {
    Reason.ALREADY_PAID: "ledger",
    Reason.REVERSED: "ledger",
    Reason.REJECTED_BY_PERSON: "ledger",
    Reason.SETTLED_BEFORE_US: "ledger",
    Reason.CAMPAIGN_MISSING: "campaign",
    Reason.CAMPAIGN_NOT_ACTIVE: "campaign_status",
    Reason.PARTICIPATION_NOT_ACTIVE: "participation_status",
    Reason.POOL_INCOMPLETE: "pool",
    Reason.POOL_SETTLED: "pool",
    Reason.POOL_MEMBER_CHANGED: "pool",
    Reason.DUPLICATE_PARTICIPATION: "one_payout_a_streamer",
    Reason.CURRENCY_CHANGED: "currency",
}


def explain(case: Case) -> Explanation:
    """Explain one participation. Total over what its types admit."""
    key = next((one.payout_key for one in case.stored if one.kind == "payout"), "")
    paid = tuple(_paid(one, case.pools) for one in case.stored)
    facts, decision = case.facts, case.decision
    if facts is None or decision is None:
        return Explanation(
            participation_id=case.participation_id,
            payout_key=key,
            answer="There is no such participation in MongoDB any more; what the ledger holds is below.",
            reason="participation_missing",
            steps=(),
            paid=paid,
        )
    return Explanation(
        participation_id=case.participation_id,
        payout_key=key or payout_key(facts.participation.participation_id, 1),
        answer=_answer(decision, case),
        reason=decision.reason.value if isinstance(decision, NotDue) else "due",
        steps=(*_steps(facts, decision, case), *_ledger_steps(decision, case)),
        paid=paid,
    )


def _answer(decision: Decision, case: Case) -> str:
    if isinstance(decision, Due):
        currency = decision.terms.currency
        amount = amount_text(decision.net_minor, currency)
        outcome = None if case.foreseen is None else next(iter(case.foreseen.outcomes.values()), None)
        if case.foreseen is not None and case.foreseen.halt is not None:
            return f"It is due {amount}, and paying it would halt: {case.foreseen.halt}."
        if outcome in (None, Outcome.NEW):
            return f"It is due {amount} by {decision.rule.value}, and the next sweep pays it."
        return f"It is due {amount}, and the ledger would not pay it now: {outcome}."
    words = decision.detail or "; ".join(f"{decision.problems_in}: {one}" for one in decision.problems)
    detail = f" ({words})" if words else ""
    if decision.reason is Reason.ALREADY_PAID:
        last = [one for one in case.stored if one.kind == "payout"][-1:]
        if last:
            at, amount = shown_time(last[0].created_at), f"{format_minor(last[0].amount_minor, last[0].currency)}"
            return f"It was paid {amount} {last[0].currency} at {at} by {last[0].rule}."
    return f"It is not paid: {decision.reason.value}{detail}."


def _steps(facts: ParticipationFacts, decision: Decision, case: Case) -> list[Step]:
    stopped = _stopped_at(facts, decision, case)
    found = findings(facts, decision, case)
    steps: list[Step] = []
    for rule in _ORDER:
        finding = found[rule]
        formula, rounding = "", ""
        if isinstance(finding, Computation):
            formula, rounding = finding.formula, finding.rounding
            finding = "the gross amount" if isinstance(decision, Due) else "the gross amount on today's facts"
        if stopped == rule:
            verdict = RuleResult.STOPPED
        elif stopped is not None and _ORDER.index(stopped) < _ORDER.index(rule):
            verdict = RuleResult.NOT_REACHED
        else:
            verdict = RuleResult.PASSED
        steps.append(Step(rule=rule, verdict=verdict, finding=finding, formula=formula, rounding=rounding))
        if rule == Rule.IMPRESSIONS_TARGET_REACHED:
            steps += _other_rules(facts, case, verdict)
    is_reached = steps[-1].verdict is RuleResult.PASSED
    steps += _fee_steps(facts, decision, case.policy, RuleResult.PASSED if is_reached else RuleResult.NOT_REACHED)
    return steps


def _stopped_at(facts: ParticipationFacts, decision: Decision, case: Case) -> str | None:
    """The rule that a decision was taken by; None when it is due."""
    if isinstance(decision, Due):
        return None
    participation = facts.participation
    match decision.reason:
        case Reason.STATUS_UNKNOWN:
            of_campaign = facts.campaign is not None and facts.campaign.status not in (None, *CAMPAIGN_STATUSES)
            return "campaign_status" if of_campaign else "participation_status"
        case Reason.MARKED_PAID_ELSEWHERE:
            return "marked_paid" if participation.marked_paid is True else "credited_elsewhere"
        case Reason.FORFEITED:
            return "forfeited" if participation.forfeited is True else "pool"
        case Reason.MALFORMED:
            return "well_formed" if problems(facts) else "amount"
        case Reason.BELOW_TARGET:
            is_pool = case.policy.scope is Scope.CAMPAIGN and facts.pool is None
            return "pool" if is_pool else Rule.IMPRESSIONS_TARGET_REACHED.value
        case reason:
            return _WHERE.get(reason, "amount")


def _other_rules(facts: ParticipationFacts, case: Case, verdict: RuleResult) -> list[Step]:
    """The rules that settle whole campaigns: on or off, and what the campaign's own decision says of them."""
    terms = facts.campaign
    steps = []
    for rule in Rule:
        if rule not in SETTLE_ALL_RULES:
            continue
        if rule not in case.policy.rules:
            steps.append(Step(rule=rule.value, verdict=RuleResult.OFF, finding=f"completion.{rule.value} is off"))
            continue
        holds = isinstance(case.pool, PoolDue) and case.pool.rule is rule
        finding = "the whole campaign is settled when it holds"
        if rule is Rule.BUDGET_EXHAUSTED:
            finding += (
                f": {case.policy.budget_used_percent} % of the budget used, or less left than 100 impressions cost"
            )
        if rule is Rule.CAMPAIGN_ENDED and isinstance(terms, CampaignTerms):
            ended = (
                "no end date"
                if terms.end_date is None
                else f"end date {shown_time(terms.end_date)}, now {shown_time(case.now)}"
            )
            finding += f": {ended}"
        if facts.pool is not None:
            finding += f"; it was settled by {facts.pool.rule.value}"
        elif case.pool is not None:
            finding += "; it holds now" if holds else "; it does not settle the campaign now"
        reached = RuleResult.NOT_REACHED if verdict is RuleResult.NOT_REACHED else RuleResult.PASSED
        settles = holds or (facts.pool is not None and facts.pool.rule is rule)
        steps.append(Step(rule=rule.value, verdict=reached if settles else RuleResult.NOT_REACHED, finding=finding))
    return steps


def _fee_steps(facts: ParticipationFacts, decision: Decision, policy: Policy, verdict: RuleResult) -> list[Step]:
    """Fee and net of the amount before it."""
    terms = facts.campaign
    if isinstance(decision, Due):
        gross_minor, currency, fee_bps = decision.earned.gross_minor, decision.terms.currency, decision.fee_bps
    elif isinstance(terms, CampaignTerms) and isinstance(facts.participation.impressions, int) and facts.pool is None:
        computed = compute_gross(basis_of(terms, policy), facts.participation.impressions)
        gross_minor, currency, fee_bps = computed.amount_minor, terms.currency, policy.fee_bps
    else:
        return []
    fee = compute_fee(gross_minor, fee_bps, currency)
    net = amount_text(gross_minor - fee.amount_minor, currency)
    finding = f"the platform keeps {amount_text(fee.amount_minor, currency)}, the streamer receives {net}"
    return [Step(rule="platform_fee", verdict=verdict, finding=finding, formula=fee.formula, rounding=fee.rounding)]


def _ledger_steps(decision: Decision, case: Case) -> list[Step]:
    """What the ledger would answer under its lock: approval and budget."""
    foreseen = case.foreseen
    if not isinstance(decision, Due) or foreseen is None:
        return []
    outcome = next(iter(foreseen.outcomes.values()), None)
    if foreseen.halt is not None:
        return [Step(rule="safety_limits", verdict=RuleResult.STOPPED, finding=foreseen.halt)]
    return [*_pace_steps(decision, case, outcome), *_approval_steps(foreseen, outcome)]


def _pace_steps(decision: Due, case: Case, outcome: Outcome | None) -> list[Step]:
    """How fast it ran, and what that was computed from; nothing where nobody's pace is judged."""
    if case.impressions_per_minute_max is None:
        return []
    pace = pace_of(decision, case.now)
    limit = f"safety.impressions_per_minute_max is {case.impressions_per_minute_max}"
    finding = "nothing says when it was made: its pace is not judged" if pace is None else f"{pace}; {limit}"
    verdict = RuleResult.STOPPED if outcome is Outcome.OVER_PACE else RuleResult.PASSED
    return [Step(rule="pace", verdict=verdict, finding=finding)]


def _approval_steps(foreseen: PlannedBatch, outcome: Outcome | None) -> list[Step]:
    detail = "; ".join(event.detail for event in foreseen.plan.hold_events if event.event == "opened")
    if outcome is Outcome.NEW:
        finding = "the ledger would post it now"
        return [Step(rule="approval_and_budget", verdict=RuleResult.PASSED, finding=finding)]
    finding = f"the ledger would answer {outcome}" + (f": {detail}" if detail else ", as the open hold says")
    return [Step(rule="approval_and_budget", verdict=RuleResult.STOPPED, finding=finding)]


def _paid(stored: PostedPayout, pools: Mapping[str, FrozenPool]) -> PaidExplained:
    recomputed, problem = None, ""
    try:
        recomputed = recompute(stored, pools.get(stored.settlement_key) if stored.settlement_key else None)
    except ValueError as error:
        problem = f"the stored facts cannot be computed with: {error}"
    amount = amount_text(stored.amount_minor, stored.currency)
    what = "paid" if stored.kind == "payout" else "taken back"
    finding = (
        f"{what} {amount} at {shown_time(stored.created_at)} by {stored.rule} "
        f"(trigger {stored.trigger}, run {stored.run_id}), decided on facts of {shown_time(stored.facts_at)}: "
        f"{stored.impressions} impressions, target {stored.target}, "
        f"{stored.payment_type} rate {stored.rate}, overdelivery {stored.overdelivery}"
    )
    return PaidExplained(stored=stored, finding=finding, recomputed=recomputed, problem=problem)
