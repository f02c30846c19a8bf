"""Whether a participation is paid, and if not, which rule stands in the way.

``decide`` is the only place that says so. The sweep, the watch, the full check and ``explain`` all ask it through
:mod:`reconciler.deciding`; the ledger then asks once more, under its lock, about what only the ledger can know
(:mod:`reconciler.ledger.journal.posting`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.domain.campaign import STATUSES as CAMPAIGN_STATUSES
from reconciler.domain.campaign import STATUSES_THAT_PAY as CAMPAIGN_STATUSES_THAT_PAY
from reconciler.domain.campaign import Campaign, CampaignTerms, MalformedCampaign
from reconciler.domain.earnings import Earnings, Overdelivery, earnings, platform_fee
from reconciler.domain.money import AMOUNT_MINOR_MAX
from reconciler.domain.parsing import FieldProblem
from reconciler.domain.participation import STATUSES, STATUSES_THAT_PAY, Participation

WORD_SHOWN_MAX = 40


class Rule(StrEnum):
    """Completion rules, in order of precedence: why a participation is due."""

    IMPRESSIONS_TARGET_REACHED = "impressions_target_reached"
    BUDGET_EXHAUSTED = "budget_exhausted"
    CAMPAIGN_ENDED = "campaign_ended"
    CAMPAIGN_INACTIVE = "campaign_inactive"


SETTLE_ALL_RULES = frozenset({Rule.BUDGET_EXHAUSTED, Rule.CAMPAIGN_ENDED, Rule.CAMPAIGN_INACTIVE})
"""Rules that settle all active participations of a campaign at once."""


class Scope(StrEnum):
    """Whose impressions are compared with the target."""

    STREAMER = "streamer"
    """Each participation's own."""
    CAMPAIGN = "campaign"
    """All participations of a campaign together; they then share one pool."""


class Reason(StrEnum):
    """What stands between a participation and a payment. In order of precedence: the first that holds is given."""

    ALREADY_PAID = "already_paid"
    REVERSED = "reversed"
    REJECTED_BY_PERSON = "rejected_by_person"
    SETTLED_BEFORE_US = "settled_before_us"
    MARKED_PAID_ELSEWHERE = "marked_paid_elsewhere"
    CAMPAIGN_MISSING = "campaign_missing"
    STATUS_UNKNOWN = "status_unknown"
    CAMPAIGN_NOT_ACTIVE = "campaign_not_active"
    PARTICIPATION_NOT_ACTIVE = "participation_not_active"
    FORFEITED = "forfeited"
    MALFORMED = "malformed"
    POOL_INCOMPLETE = "pool_incomplete"
    POOL_SETTLED = "pool_settled"
    POOL_MEMBER_CHANGED = "pool_member_changed"
    BELOW_TARGET = "below_target"
    DUPLICATE_PARTICIPATION = "duplicate_participation"
    CURRENCY_CHANGED = "currency_changed"
    OVER_PACE = "over_pace"
    OVER_APPROVAL_THRESHOLD = "over_approval_threshold"
    ACCOUNT_FULL = "account_full"
    OVER_BUDGET = "over_budget"


class Settled(StrEnum):
    """What the ledger already holds for a participation."""

    NOTHING = "nothing"
    PAID = "paid"
    REVERSED = "reversed"
    REJECTED = "rejected"
    """A person decided that it is not to be paid."""
    ADOPTED = "adopted"
    """Settled before this ledger began, as a person stated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings that decisions depend on."""

    overdelivery: Overdelivery
    rules: frozenset[Rule]
    scope: Scope = Scope.STREAMER
    budget_used_percent: int = 95
    fee_bps: int = 0

    @property
    def has_pools(self) -> bool:
        """Whether campaigns may be settled as a whole."""
        return self.scope is Scope.CAMPAIGN or bool(self.rules & SETTLE_ALL_RULES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolShare:
    """Where a participation stands in the frozen settlement of its campaign."""

    settlement_key: str
    rule: Rule
    share_minor: int | None
    """Its share in minor units; None for one that is no member."""
    impressions: int = 0
    is_void: bool = False
    """It was forfeited before its share was posted."""
    frozen_for: tuple[str, str] | None = None
    """Of a share: (tagged campaign, streamer) that it was frozen for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipationFacts:
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
    pool: PoolShare | None = None
    """Set once the campaign has a frozen settlement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A participation that is to be paid, if the ledger agrees."""

    participation: Participation
    terms: CampaignTerms
    impressions: int
    earned: Earnings
    overdelivery: Overdelivery
    rule: Rule
    fee_bps: int = 0
    settlement_key: str | None = None

    @property
    def fee_minor(self) -> int:
        """The platform's part of the gross amount."""
        return platform_fee(self.earned.gross_minor, self.fee_bps)

    @property
    def net_minor(self) -> int:
        """What the streamer receives: gross less fee, exactly."""
        return self.earned.gross_minor - self.fee_minor


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


def decide(facts: ParticipationFacts, policy: Policy) -> Decision:
    """Decide on one participation. Total: every readable identity gets a decision, and nothing raises."""
    return not_payable(facts) or _in_pool(facts, policy) or _amount_due(facts, policy)


def not_payable(facts: ParticipationFacts) -> NotDue | None:
    """What stands in the way of a participation whatever its campaign earned; None when nothing does."""
    return _settled_before(facts) or _not_eligible(facts) or _malformed(facts)


_SETTLED: dict[Settled, tuple[Reason, str]] = {
    Settled.PAID: (Reason.ALREADY_PAID, ""),
    Settled.REVERSED: (Reason.REVERSED, "paid again only by `payouts repay`"),
    Settled.REJECTED: (Reason.REJECTED_BY_PERSON, "paid only by `payouts repay`"),
    Settled.ADOPTED: (Reason.SETTLED_BEFORE_US, ""),
}


def _settled_before(facts: ParticipationFacts) -> NotDue | None:
    participation = facts.participation
    if facts.settled in _SETTLED:
        reason, detail = _SETTLED[facts.settled]
        return NotDue(participation=participation, reason=reason, detail=detail)
    if participation.marked_paid is True:
        return NotDue(
            participation=participation,
            reason=Reason.MARKED_PAID_ELSEWHERE,
            detail="the document says its earnings were transferred, and the ledger holds no payout for it",
        )
    return None


def _not_eligible(facts: ParticipationFacts) -> NotDue | None:
    participation, campaign = facts.participation, facts.campaign
    if campaign is None:
        return NotDue(
            participation=participation,
            reason=Reason.CAMPAIGN_MISSING,
            detail=f"no campaign {participation.campaign_id.tagged}",
        )
    unknown = _unknown_status(facts)
    if unknown:
        return NotDue(participation=participation, reason=Reason.STATUS_UNKNOWN, detail=unknown)
    # A malformed status is named as such below; a readable one that does not pay comes first, since an unfinished
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


def _unknown_status(facts: ParticipationFacts) -> str:
    """The first status that is none of the words known, in words. It pays nobody, and nobody decided that."""
    participation, campaign = facts.participation, facts.campaign
    if campaign is not None and campaign.status is not None and campaign.status not in CAMPAIGN_STATUSES:
        return f"the campaign's status {shown_word(campaign.status)} is not known"
    if participation.status is not None and participation.status not in STATUSES:
        return f"the participation's status {shown_word(participation.status)} is not known"
    return ""


def _malformed(facts: ParticipationFacts) -> NotDue | None:
    participation = facts.participation
    if isinstance(facts.campaign, MalformedCampaign):
        return NotDue(
            participation=participation,
            reason=Reason.MALFORMED,
            problems=facts.campaign.problems,
            problems_in="campaign",
        )
    if not participation.problems:
        return None
    return NotDue(participation=participation, reason=Reason.MALFORMED, problems=participation.problems)


def _in_pool(facts: ParticipationFacts, policy: Policy) -> Decision | None:
    """The decision by a frozen settlement; None where there is none."""
    participation, terms, pool = facts.participation, facts.campaign, facts.pool
    assert isinstance(terms, CampaignTerms)
    if pool is None:
        if policy.scope is Scope.CAMPAIGN:
            detail = "the campaign is settled as a whole, and its target is not reached"
            return NotDue(participation=participation, reason=Reason.BELOW_TARGET, detail=detail)
        return None
    if pool.share_minor is None:
        detail = f"the campaign was settled by {pool.settlement_key} without it"
        return NotDue(participation=participation, reason=Reason.POOL_SETTLED, detail=detail)
    if pool.is_void:
        return NotDue(participation=participation, reason=Reason.FORFEITED, detail="its share is void")
    if pool.frozen_for not in (None, (participation.campaign_id.tagged, participation.streamer_id)):
        # Paid as the document is now, it would come out of another brand's escrow, or go to another streamer.
        detail = f"its share of {pool.settlement_key} was frozen for campaign and streamer {pool.frozen_for}"
        return NotDue(participation=participation, reason=Reason.POOL_MEMBER_CHANGED, detail=detail)
    rival = _rival(facts, terms)
    if rival is not None:
        return rival
    return Due(
        participation=participation,
        terms=terms,
        impressions=pool.impressions,
        earned=Earnings(gross_minor=pool.share_minor, impressions_paid=pool.impressions, rounding="largest_remainder"),
        overdelivery=policy.overdelivery,
        rule=pool.rule,
        fee_bps=policy.fee_bps,
        settlement_key=pool.settlement_key,
    )


def shown_word(word: str) -> str:
    """A status as it stands in sentences: quoted, so that blanks can be seen, and not longer than people read."""
    return repr(word) if len(word) <= WORD_SHOWN_MAX else f"{word[:WORD_SHOWN_MAX]!r}…"


def _rival(facts: ParticipationFacts, terms: CampaignTerms) -> NotDue | None:
    """Something else that has settled, or would settle, the same claim."""
    participation = facts.participation
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
            detail=f"the streamer was paid in this campaign for {facts.streamer_paid_for}; "
            "once that was reversed, `payouts repay` pays this one",
        )
    if facts.pinned_currency not in (None, terms.currency):
        return NotDue(
            participation=participation,
            reason=Reason.CURRENCY_CHANGED,
            detail=f"funded in {facts.pinned_currency}, now {terms.currency}",
        )
    return None


def _amount_due(facts: ParticipationFacts, policy: Policy) -> Decision:
    participation, terms = facts.participation, facts.campaign
    impressions = participation.impressions
    assert isinstance(terms, CampaignTerms)
    assert isinstance(impressions, int)
    is_off = Rule.IMPRESSIONS_TARGET_REACHED not in policy.rules
    if impressions < terms.target_impressions or is_off:
        switch = "; completion.impressions_target_reached is off" if is_off else ""
        return NotDue(
            participation=participation,
            reason=Reason.BELOW_TARGET,
            detail=f"{impressions} of {terms.target_impressions} impressions{switch}",
        )
    rival = _rival(facts, terms)
    if rival is not None:
        return rival
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
        fee_bps=policy.fee_bps,
    )
