"""What each rule looks at, in words and numbers: the sentences that explanations are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from reconciler.domain.batch import PlannedBatch
from reconciler.domain.campaign import STATUSES as CAMPAIGN_STATUSES
from reconciler.domain.campaign import STATUSES_THAT_PAY as CAMPAIGN_STATUSES_THAT_PAY
from reconciler.domain.campaign import CampaignTerms, MalformedCampaign, PaymentType, derived_target
from reconciler.domain.decision import Decision, Due, ParticipationFacts, Policy, PoolShare, Rule, Scope, shown_word
from reconciler.domain.money import amount_text, minor_per_major
from reconciler.domain.parsing import Unreadable
from reconciler.domain.participation import STATUSES, STATUSES_THAT_PAY
from reconciler.domain.posted import PostedPayout
from reconciler.domain.recomputation import Basis, Computation, FrozenPool, compute_gross, compute_share
from reconciler.domain.settlement import PoolDecision, PoolDue


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that an explanation looks at. ``facts`` and ``decision`` are None where the document is missing.

    ``impressions_per_minute_max``: above it a person looks first; None where nobody's pace is judged.
    ``foreseen`` is what the ledger would make of the decision now, ``pool`` what would become of the whole campaign;
    ``pools`` are frozen settlements by key.
    """

    participation_id: str
    policy: Policy
    fixed_impressions_per_unit: int
    now: datetime
    facts: ParticipationFacts | None = None
    decision: Decision | None = None
    foreseen: PlannedBatch | None = None
    pool: PoolDecision | None = None
    stored: Sequence[PostedPayout] = ()
    pools: Mapping[str, FrozenPool] = field(default_factory=dict)
    impressions_per_minute_max: int | None = None


def findings(facts: ParticipationFacts, decision: Decision, case: Case) -> dict[str, str | Computation]:
    """What each rule looked at, by its name; for the amount, its computation."""
    participation, campaign = facts.participation, facts.campaign
    status = "missing" if campaign is None else _status(campaign.status, CAMPAIGN_STATUSES)
    own_status = _status(participation.status, STATUSES)
    return {
        "ledger": f"the ledger holds for it: {facts.settled.value}",
        "marked_paid": f"finalEarningsTransferred is {_shown(participation.marked_paid)}",
        "campaign": f"campaign {participation.campaign_id.tagged} {'does not exist' if campaign is None else 'exists'}",
        "campaign_status": f"the campaign is {status}; these pay: {_listed(CAMPAIGN_STATUSES_THAT_PAY)}",
        "participation_status": f"it is {own_status}; these pay: {_listed(STATUSES_THAT_PAY)}",
        "forfeited": f"earningsForfeited is {_shown(participation.forfeited)}",
        "well_formed": "; ".join(problems(facts)) or "every field that money depends on can be read",
        "pool": _pool_finding(facts, case),
        "impressions_target_reached": _target_finding(facts, case),
        "credited_elsewhere": (
            "an earnings_credit line that is not ours exists" if facts.credited_elsewhere else _not_asked(decision)
        ),
        "one_payout_a_streamer": (
            f"the streamer was paid in this campaign for {facts.streamer_paid_for}"
            if facts.streamer_paid_for
            else "no other participation of this streamer in this campaign was paid"
        ),
        "currency": _currency_finding(facts),
        "amount": _amount_finding(facts, case),
    }


def problems(facts: ParticipationFacts) -> list[str]:
    """Every field that cannot be read and that money depends on."""
    campaign = facts.campaign
    found = [f"campaign: {one}" for one in campaign.problems] if isinstance(campaign, MalformedCampaign) else []
    return found + [f"participation: {one}" for one in facts.participation.problems]


def _pool_finding(facts: ParticipationFacts, case: Case) -> str:
    pool = facts.pool
    if pool is None:
        if case.policy.scope is Scope.STREAMER:
            return "scope streamer, and its campaign has no frozen settlement: its own impressions decide"
        return f"scope campaign: all participations together decide{_pool_outlook(case.pool)}"
    if pool.share_minor is None:
        return f"the campaign was settled by {pool.settlement_key}, and it has no line there"
    void = ", which is void: it was forfeited before its share was posted" if pool.is_void else ""
    return f"it has a line of {pool.impressions} impressions in {pool.settlement_key} ({pool.rule.value}){void}"


def _pool_outlook(decision: PoolDecision | None) -> str:
    if decision is None:
        return ""
    if isinstance(decision, PoolDue):
        currency = decision.terms.currency
        return (
            f"; the next sweep freezes a pool of {amount_text(decision.pool_minor, currency)} "
            f"by {decision.rule.value}, shared by {len(decision.lines)}"
        )
    return f"; now: {decision.reason.value} ({decision.detail})"


def _target_finding(facts: ParticipationFacts, case: Case) -> str:
    terms, impressions = facts.campaign, facts.participation.impressions
    if not isinstance(terms, CampaignTerms):
        return "no target is known"
    shown = f"not readable ({impressions.why})" if isinstance(impressions, Unreadable) else str(impressions)
    if facts.pool is not None:
        return f"{shown} impressions today; the frozen settlement decided, by {facts.pool.rule.value}"
    switch = "" if Rule.IMPRESSIONS_TARGET_REACHED in case.policy.rules else "; this rule is switched off"
    return f"{shown} of {terms.target_impressions} impressions; the target is {_origin(terms, case)}{switch}"


def _origin(terms: CampaignTerms, case: Case) -> str:
    budget = Fraction(terms.budget_minor, minor_per_major(terms.currency))
    bought = derived_target(terms.payment_type, terms.rate, budget, case.fixed_impressions_per_unit)
    budget_text = amount_text(terms.budget_minor, terms.currency)
    if terms.payment_type is PaymentType.CPM:
        formula = f"⌊{budget_text} / {terms.rate_text} × 1000⌋ = {bought}"
    else:
        formula = f"⌊{budget_text} × {case.fixed_impressions_per_unit}⌋ = {bought}"
    if bought == terms.target_impressions:
        return f"what the budget buys: {formula}, rounded down"
    return f"the campaign's own (its budget would buy {formula})"


def _currency_finding(facts: ParticipationFacts) -> str:
    terms = facts.campaign
    now = terms.currency if isinstance(terms, CampaignTerms) else "unknown"
    if facts.pinned_currency is None:
        return f"the campaign was never funded; its currency is {now}"
    return f"the campaign was funded in {facts.pinned_currency}, and is now kept in {now}"


def _amount_finding(facts: ParticipationFacts, case: Case) -> str | Computation:
    """The gross amount of today's facts; for a member of a frozen settlement its share."""
    terms, impressions, pool = facts.campaign, facts.participation.impressions, facts.pool
    if not isinstance(terms, CampaignTerms):
        return "without readable terms there is no amount"
    if pool is not None and pool.share_minor is not None:
        return _share(facts, pool, case)
    if isinstance(impressions, Unreadable):
        return "without readable impressions there is no amount"
    return compute_gross(basis_of(terms, case.policy), impressions)


def _share(facts: ParticipationFacts, pool: PoolShare, case: Case) -> str | Computation:
    frozen = case.pools.get(pool.settlement_key)
    tagged = facts.participation.participation_id.tagged
    if frozen is None or tagged not in frozen.weights:
        return f"its frozen share is {pool.share_minor} minor units"
    return compute_share(frozen, tagged)


def basis_of(terms: CampaignTerms, policy: Policy) -> Basis:
    """What today's documents compute an amount from."""
    return Basis(
        payment_type=terms.payment_type.value,
        rate=terms.rate,
        target=terms.target_impressions,
        overdelivery=policy.overdelivery.value,
        currency=terms.currency,
    )


def _not_asked(decision: Decision) -> str:
    if isinstance(decision, Due):
        return "no earnings_credit line of somebody else exists"
    return "statement lines are looked up only for what is otherwise due"


def _shown(flag: bool | Unreadable) -> str:  # noqa: FBT001 - a value to be shown, not a switch
    return f"not readable ({flag.why})" if isinstance(flag, Unreadable) else str(flag).lower()


def _status(word: str | None, known: frozenset[str]) -> str:
    if word is None:
        return "of a status that is not text"
    return word if word in known else f"{shown_word(word)}, a status that is not known"


def _listed(values: frozenset[str]) -> str:
    return ", ".join(sorted(values))


def shown_time(time: datetime) -> str:
    """A time as sentences have it."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
