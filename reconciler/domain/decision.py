"""Whether a participation is paid, and if not, which rule stands in the way.

``decide`` is the only place that answers this. The sweep, the watch, the full check and ``explain`` all ask it;
the ledger then asks once more, under its lock, about what only the ledger can know (:mod:`reconciler.ledger.journal`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.domain.campaign import STATUSES_THAT_PAY as CAMPAIGN_STATUSES_THAT_PAY
from reconciler.domain.campaign import Campaign, CampaignTerms, MalformedCampaign
from reconciler.domain.earnings import Earnings, Overdelivery, earnings
from reconciler.domain.money import AMOUNT_MINOR_MAX
from reconciler.domain.parsing import FieldProblem, Unreadable
from reconciler.domain.participation import STATUSES_THAT_PAY, Participation


class Rule(StrEnum):
    """Completion rules: why a participation is due."""

    IMPRESSIONS_TARGET_REACHED = "impressions_target_reached"


class Reason(StrEnum):
    """What stands between a participation and a payment. In order of precedence: the first that holds is told."""

    ALREADY_PAID = "already_paid"
    REVERSED = "reversed"
    MARKED_PAID_ELSEWHERE = "marked_paid_elsewhere"
    CAMPAIGN_MISSING = "campaign_missing"
    CAMPAIGN_NOT_ACTIVE = "campaign_not_active"
    PARTICIPATION_NOT_ACTIVE = "participation_not_active"
    FORFEITED = "forfeited"
    MALFORMED = "malformed"
    BELOW_TARGET = "below_target"
    DUPLICATE_PARTICIPATION = "duplicate_participation"
    CURRENCY_CHANGED = "currency_changed"
    OVER_BUDGET = "over_budget"


class Settled(StrEnum):
    """What the ledger already holds for a participation."""

    NOTHING = "nothing"
    PAID = "paid"
    REVERSED = "reversed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings that decisions depend on."""

    overdelivery: Overdelivery
    rules: frozenset[Rule]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything one decision looks at, read from both databases.

    ``campaign`` is None when no document of that very identity exists.
    """

    participation: Participation
    campaign: Campaign | None
    settled: Settled
    credited_elsewhere: bool = False
    """A statement line of earnings for this campaign and streamer exists that our ledger knows nothing of."""
    streamer_paid_for: str | None = None
    """Tagged identity of another participation of the same campaign and streamer that has been paid."""
    pinned_currency: str | None = None
    """Currency of the campaign's first funding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A participation that is to be paid, if the ledger agrees."""

    participation: Participation
    terms: CampaignTerms
    impressions: int
    earned: Earnings
    overdelivery: Overdelivery
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDue:
    """A participation that is not to be paid now, and why."""

    participation: Participation
    reason: Reason
    detail: str = ""
    problems: tuple[FieldProblem, ...] = field(default=())
    problems_in: str = "participation"
    """Which document the problems were found in: ``participation`` or ``campaign``."""


Decision = Due | NotDue


def decide(facts: Facts, policy: Policy) -> Decision:
    """Decide on one participation. Total: every readable identity gets an answer, and nothing raises."""
    for rule_out in (_settled_before, _not_eligible, _malformed):
        reason = rule_out(facts)
        if reason is not None:
            return reason
    return _amount_due(facts, policy)


def _settled_before(facts: Facts) -> NotDue | None:
    participation = facts.participation
    if facts.settled is Settled.PAID:
        return NotDue(participation=participation, reason=Reason.ALREADY_PAID)
    if facts.settled is Settled.REVERSED:
        return NotDue(participation=participation, reason=Reason.REVERSED, detail="paid again only by `payouts repay`")
    if participation.marked_paid is True:
        return NotDue(
            participation=participation,
            reason=Reason.MARKED_PAID_ELSEWHERE,
            detail="the document says its earnings were transferred, and the ledger holds no payout for it",
        )
    return None


def _not_eligible(facts: Facts) -> NotDue | None:
    participation, campaign = facts.participation, facts.campaign
    if campaign is None:
        return NotDue(
            participation=participation,
            reason=Reason.CAMPAIGN_MISSING,
            detail=f"no campaign {participation.campaign_id.tagged}",
        )
    # A malformed status is told as such below; a readable one that does not pay comes first, since an unfinished
    # draft is expected to lack its money fields.
    if campaign.status is not None and campaign.status not in CAMPAIGN_STATUSES_THAT_PAY:
        return NotDue(
            participation=participation, reason=Reason.CAMPAIGN_NOT_ACTIVE, detail=f"the campaign is {campaign.status}"
        )
    if participation.status is not None and participation.status not in STATUSES_THAT_PAY:
        return NotDue(
            participation=participation,
            reason=Reason.PARTICIPATION_NOT_ACTIVE,
            detail=f"the participation is {participation.status}",
        )
    if participation.forfeited is True:
        return NotDue(participation=participation, reason=Reason.FORFEITED)
    return None


def _malformed(facts: Facts) -> NotDue | None:
    participation = facts.participation
    if isinstance(facts.campaign, MalformedCampaign):
        return NotDue(
            participation=participation,
            reason=Reason.MALFORMED,
            problems=facts.campaign.problems,
            problems_in="campaign",
        )
    problems = [
        FieldProblem(field=name, why=value.why)
        for name, value in (
            ("impressions", participation.impressions),
            ("earnings_forfeited", participation.forfeited),
            ("final_earnings_transferred", participation.marked_paid),
        )
        if isinstance(value, Unreadable)
    ]
    if participation.status is None:
        problems.insert(0, FieldProblem(field="status", why="is not text"))
    if not problems:
        return None
    return NotDue(participation=participation, reason=Reason.MALFORMED, problems=tuple(problems))


def _amount_due(facts: Facts, policy: Policy) -> Decision:
    participation, terms = facts.participation, facts.campaign
    impressions = participation.impressions
    assert isinstance(terms, CampaignTerms)
    assert isinstance(impressions, int)
    if impressions < terms.target_impressions or Rule.IMPRESSIONS_TARGET_REACHED not in policy.rules:
        return NotDue(
            participation=participation,
            reason=Reason.BELOW_TARGET,
            detail=f"{impressions} of {terms.target_impressions} impressions",
        )
    if facts.credited_elsewhere:
        return NotDue(
            participation=participation,
            reason=Reason.MARKED_PAID_ELSEWHERE,
            detail="an earnings_credit transaction that is not ours exists for this campaign and streamer",
        )
    if facts.streamer_paid_for is not None:
        return NotDue(
            participation=participation,
            reason=Reason.DUPLICATE_PARTICIPATION,
            detail=f"the streamer was paid in this campaign for {facts.streamer_paid_for}",
        )
    if facts.pinned_currency not in (None, terms.currency):
        return NotDue(
            participation=participation,
            reason=Reason.CURRENCY_CHANGED,
            detail=f"funded in {facts.pinned_currency}, now {terms.currency}",
        )
    earned = earnings(terms, impressions, policy.overdelivery)
    if earned.gross_minor > AMOUNT_MINOR_MAX:
        too_much = FieldProblem(field="impressions", why="earn more than 2^53 minor units")
        return NotDue(participation=participation, reason=Reason.MALFORMED, problems=(too_much,))
    return Due(
        participation=participation,
        terms=terms,
        impressions=impressions,
        earned=earned,
        overdelivery=policy.overdelivery,
        rule=Rule.IMPRESSIONS_TARGET_REACHED,
    )
