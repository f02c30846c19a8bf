"""What the full check says of one participation: which part of the whole it is, and which breaks a person has to see.

Pure: decisions and outcomes go in, a :class:`Judgement` comes out. Payouts are judged in
:mod:`reconciler.domain.judging_payouts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from reconciler.domain.batch import HELD, Outcome
from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.campaign import STATUSES, CampaignTerms, MalformedCampaign, PaymentType
from reconciler.domain.decision import Due, NotDue, ParticipationFacts, Policy, Reason, shown_word
from reconciler.domain.earnings import earnings
from reconciler.domain.effects import ProjectionTask
from reconciler.domain.participation import STATUSES_THAT_PAY, MalformedParticipation, Participation
from reconciler.domain.stranding import STATUSES_OVER
from reconciler.domain.withholding import Withheld, reached_minor, withheld


class Part(StrEnum):
    """The parts of the whole. Every participation is in exactly one of them (docs/report.md#completeness)."""

    MATCHED = "matched"
    NOT_DUE = "not_due"
    WITHHELD = "withheld"
    HELD = "held"
    IN_FLIGHT = "in_flight"
    SETTLED_BEFORE_US = "settled_before_us"
    BROKEN = "broken"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accrual:
    """What an unpaid participation earned so far, gross, in minor units of its campaign's currency.

    ``is_reached``: it reached its target, and the rule that would pay it is switched off.
    """

    campaign_id: str
    minor: int
    impressions: int
    is_reached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownStatus:
    """A status that is not one of the known words. ``side``: ``participation`` or ``campaign``.

    ``is_reached``: it reached its target, or nobody can say. ``gross_minor``: what it would be paid in ``currency``; 0
    with no currency where nobody can say.
    """

    side: str
    word: str
    is_reached: bool = False
    currency: str = ""
    gross_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is said of one participation. ``due``: the decision, of one that is due and stays unpaid.

    ``part`` is None where the participation has a payout: how that compares with its document says the part.
    """

    part: Part | None
    breaks: tuple[Break, ...] = ()
    due: Due | None = None
    withheld: Withheld | None = None
    accrual: Accrual | None = None
    unknown: UnknownStatus | None = None


_PART_OF_REASON: Mapping[Reason, Part] = {
    Reason.BELOW_TARGET: Part.NOT_DUE,
    Reason.CAMPAIGN_NOT_ACTIVE: Part.NOT_DUE,
    Reason.PARTICIPATION_NOT_ACTIVE: Part.NOT_DUE,
    Reason.FORFEITED: Part.NOT_DUE,
    Reason.REVERSED: Part.NOT_DUE,
    Reason.REJECTED_BY_PERSON: Part.NOT_DUE,
    Reason.SETTLED_BEFORE_US: Part.SETTLED_BEFORE_US,
    Reason.POOL_INCOMPLETE: Part.HELD,
    Reason.POOL_SETTLED: Part.NOT_DUE,
    Reason.MALFORMED: Part.MALFORMED,
    Reason.OVER_BUDGET: Part.HELD,
}
"""Every other reason is a disagreement: the participation is broken."""

_BREAK_OF_REASON: Mapping[Reason, BreakKind] = {
    Reason.MARKED_PAID_ELSEWHERE: BreakKind.MARKED_PAID_ELSEWHERE,
    Reason.CAMPAIGN_MISSING: BreakKind.CAMPAIGN_MISSING,
    Reason.DUPLICATE_PARTICIPATION: BreakKind.DUPLICATE_PARTICIPATION,
    Reason.CURRENCY_CHANGED: BreakKind.DUE_BUT_INELIGIBLE,
    Reason.POOL_MEMBER_CHANGED: BreakKind.DUE_BUT_INELIGIBLE,
}
_INELIGIBLE = (Reason.PARTICIPATION_NOT_ACTIVE, Reason.CAMPAIGN_NOT_ACTIVE)

_PART_OF_OUTCOME: Mapping[Outcome, Part] = {
    Outcome.REJECTED_BY_PERSON: Part.NOT_DUE,
    Outcome.SETTLED_BEFORE_US: Part.SETTLED_BEFORE_US,
}
"""A person decided it between the check's reading and the ledger's lock: no disagreement."""

_BREAK_OF_OUTCOME: Mapping[Outcome, BreakKind] = {
    Outcome.EXISTS_DIFFERENT: BreakKind.EXISTS_DIFFERENT,
    Outcome.DUPLICATE_PARTICIPATION: BreakKind.DUPLICATE_PARTICIPATION,
    Outcome.CURRENCY_CHANGED: BreakKind.DUE_BUT_INELIGIBLE,
    Outcome.POOL_MEMBER_CHANGED: BreakKind.DUE_BUT_INELIGIBLE,
}


def judge_not_due(decision: NotDue, facts: ParticipationFacts, policy: Policy) -> Judgement:
    """Judge a participation that is not to be paid."""
    participation, pool, kind = decision.participation, facts.pool, _BREAK_OF_REASON.get(decision.reason)
    reason = decision.reason.value
    if decision.reason in _INELIGIBLE and pool is not None and pool.share_minor is not None and not pool.is_void:
        # A frozen share waits behind a status that does not pay: only forfeiture makes it void.
        detail = f"a share of {pool.share_minor} minor units in {pool.settlement_key} is unpaid: {decision.detail}"
        return _broken(_about(participation, BreakKind.DUE_BUT_INELIGIBLE, reason, detail))
    if kind is not None:
        return _broken(_about(participation, kind, reason, decision.detail))
    if decision.reason is Reason.STATUS_UNKNOWN:
        return Judgement(part=Part.BROKEN, unknown=_unknown(facts, policy))
    is_its_own = decision.reason is Reason.MALFORMED and decision.problems_in == "participation"
    if participation.problems or is_its_own:
        return judge_malformed(participation, "; ".join(map(str, decision.problems or participation.problems)))
    if isinstance(facts.campaign, MalformedCampaign) and facts.participation.impressions != 0:
        # Whatever stands in the way: without terms nobody can say that its target is not reached.
        return Judgement(part=Part.MALFORMED, breaks=(break_of_campaign(facts.campaign),))
    kept = withheld(decision, facts, policy)
    if kept is not None:
        return Judgement(part=Part.WITHHELD, withheld=kept)
    part = _PART_OF_REASON.get(decision.reason, Part.BROKEN)
    return Judgement(part=part, accrual=_accrual(decision, facts, policy))


def judge_outcome(decision: Due, outcome: Outcome, *, pays: bool) -> Judgement:
    """Judge a participation that was due by what the ledger made of it. ``pays``: what is new stays posted.

    ``Outcome.STALE`` is not judged: it is decided again. Raises KeyError for it.
    """
    if outcome is Outcome.EXISTS:
        return Judgement(part=None)
    if outcome is Outcome.NEW:
        found = _of_due(BreakKind.DUE_BUT_UNPAID, decision, reason=decision.rule.value, repaired=pays)
        return Judgement(part=None, breaks=(found,)) if pays else _broken(found, due=decision)
    if outcome in _PART_OF_OUTCOME:
        return Judgement(part=_PART_OF_OUTCOME[outcome])
    if outcome in HELD:
        return judge_held(decision, outcome.value)
    return _broken(_of_due(_BREAK_OF_OUTCOME[outcome], decision, reason=outcome.value), due=decision)


def judge_held(decision: Due, reason: str) -> Judgement:
    """Judge a participation that is due and waits for its budget or for a person."""
    found = _of_due(BreakKind.HELD, decision, reason=reason)
    return Judgement(part=Part.HELD, breaks=(found,), due=decision)


def judge_malformed(participation: Participation, why: str = "") -> Judgement:
    """Judge a participation of which a field cannot be read, whatever else is known of it."""
    detail = why or "; ".join(map(str, participation.problems))
    found = _about(participation, BreakKind.MALFORMED, "participation", detail)
    return Judgement(part=Part.MALFORMED, breaks=(found,))


def judge_unreadable(malformed: MalformedParticipation) -> Judgement:
    """Judge a document that cannot even be tied to a campaign and a streamer."""
    found = Break(
        kind=BreakKind.MALFORMED,
        reason="participation",
        participation_id=malformed.shown_id,
        detail="; ".join(map(str, malformed.problems)),
    )
    return Judgement(part=Part.MALFORMED, breaks=(found,))


def break_of_campaign(campaign: MalformedCampaign) -> Break:
    """The break of a campaign whose terms cannot be read: one, however many take part in it."""
    return Break(
        kind=BreakKind.MALFORMED,
        reason="campaign",
        campaign_id=str(campaign.campaign_id),
        detail="; ".join(map(str, campaign.problems)),
    )


def break_of_effect(
    kind: BreakKind, task: ProjectionTask, detail: str, *, reason: str, repaired: bool = False
) -> Break:
    """The break of a payout, release or reversal whose effects are not shown as they should be."""
    return Break(
        kind=kind,
        reason=reason,
        participation_id=str(task.participation_id),
        campaign_id=str(task.campaign_id),
        streamer_id=task.streamer_id,
        payout_key=task.payout_key,
        currency=task.currency,
        expected_minor=task.amount_minor,
        actual_minor=task.amount_minor,
        detail=detail,
        repaired=repaired,
    )


def _unknown(facts: ParticipationFacts, policy: Policy) -> UnknownStatus:
    participation, campaign = facts.participation, facts.campaign
    assert campaign is not None
    side, word = "participation", shown_word(participation.status or "")
    if campaign.status is not None and campaign.status not in STATUSES:
        side, word = "campaign", shown_word(campaign.status)
    gross_minor = reached_minor(facts, policy)
    if isinstance(campaign, CampaignTerms) and gross_minor is not None:
        currency = campaign.currency
        return UnknownStatus(side=side, word=word, is_reached=True, currency=currency, gross_minor=gross_minor)
    # Where nobody can say, nobody may say that it is below its target.
    nobody_knows = participation.problems or (
        isinstance(campaign, MalformedCampaign) and participation.impressions != 0
    )
    return UnknownStatus(side=side, word=word, is_reached=bool(nobody_knows))


def _accrual(decision: NotDue, facts: ParticipationFacts, policy: Policy) -> Accrual | None:
    terms, impressions = facts.campaign, facts.participation.impressions
    if not isinstance(terms, CampaignTerms) or not isinstance(impressions, int):
        return None
    is_reached = reached_minor(facts, policy) is not None
    if not _accrues(decision, facts, terms) or not (terms.payment_type is PaymentType.CPM or is_reached):
        return None
    return Accrual(
        campaign_id=facts.participation.campaign_id.tagged,
        minor=earnings(terms, impressions, policy.overdelivery).gross_minor,
        impressions=impressions,
        is_reached=is_reached,
    )


def _accrues(decision: NotDue, facts: ParticipationFacts, terms: CampaignTerms) -> bool:
    """Whether impressions may still be paid one day, or would have been had the campaign not been called off."""
    if decision.reason is Reason.BELOW_TARGET:
        return True
    takes_part = facts.participation.status in STATUSES_THAT_PAY and not facts.participation.forfeited
    return decision.reason is Reason.CAMPAIGN_NOT_ACTIVE and terms.status in STATUSES_OVER and takes_part


def _broken(found: Break, *, due: Due | None = None) -> Judgement:
    return Judgement(part=Part.BROKEN, breaks=(found,), due=due)


def _about(participation: Participation, kind: BreakKind, reason: str, detail: str) -> Break:
    return Break(
        kind=kind,
        reason=reason,
        participation_id=str(participation.participation_id),
        campaign_id=str(participation.campaign_id),
        streamer_id=participation.streamer_id,
        detail=detail,
    )


def _of_due(kind: BreakKind, decision: Due, *, reason: str, repaired: bool = False) -> Break:
    participation = decision.participation
    return Break(
        kind=kind,
        reason=reason,
        participation_id=str(participation.participation_id),
        campaign_id=str(participation.campaign_id),
        streamer_id=participation.streamer_id,
        currency=decision.terms.currency,
        expected_minor=decision.earned.gross_minor,
        actual_minor=decision.earned.gross_minor if repaired else 0,
        detail=f"{decision.impressions} of {decision.terms.target_impressions} impressions",
        repaired=repaired,
    )
