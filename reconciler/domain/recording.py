"""Recording: what a report of impressions or clicks changes, what it costs, and when completion is looked at.

Everything that is money is a function of the counter alone: what a participation accrued is its impressions times the
rate, rounded half-up once; what a report costs is what had accrued after it less what had accrued before. So a thousand
reports of one impression cost exactly what one report of a thousand costs, also where one impression costs a fraction
of a minor unit, and nothing ever drifts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction

from reconciler.domain.campaign import CampaignTerms, MalformedCampaign, PaymentType
from reconciler.domain.ids import DocumentId
from reconciler.domain.money import minor_per_major
from reconciler.domain.parsing import IMPRESSIONS_MAX, FieldProblem, Unreadable
from reconciler.domain.participation import MalformedParticipation, Participation

COUNT_MAX = 1_000
"""Largest count of one report, whatever is configured: a report is of what viewers just did."""

_HALF = Fraction(1, 2)


class RecordingKind(StrEnum):
    """What is reported."""

    IMPRESSION = "impression"
    CLICK = "click"


class RecordingRefusal(StrEnum):
    """Why a report changed nothing, in order of precedence: the first that holds is given."""

    TOKEN_UNKNOWN = "token_unknown"  # noqa: S105 - a reason
    KEY_REUSED = "key_reused"
    """The idempotency key was used with another token, kind or count."""
    TOKEN_AMBIGUOUS = "token_ambiguous"  # noqa: S105 - a reason
    """Several participations have this token, and nobody can say whose impression it was."""
    PARTICIPATION_MALFORMED = "participation_malformed"
    PARTICIPATION_NOT_ACTIVE = "participation_not_active"
    CAMPAIGN_MISSING = "campaign_missing"
    CAMPAIGN_MALFORMED = "campaign_malformed"
    CAMPAIGN_NOT_ACTIVE = "campaign_not_active"
    BUDGET_EXHAUSTED = "budget_exhausted"
    """What is left of the budget does not cover all of the count; none of it was recorded."""
    REJECTED = "rejected"
    """The database's own rules (a validator, say) do not let the documents be changed."""
    BUSY = "busy"
    """Somebody else is changing the documents, or too many reports wait. Nothing was recorded."""
    UNAVAILABLE = "unavailable"
    """MongoDB did not answer in time. Nothing was recorded."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """MongoDB did not say whether it committed: only a retry with the same idempotency key counts once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerReport:
    """So many impressions or clicks, reported by whoever knows a token."""

    token: str = field(repr=False)
    kind: RecordingKind
    count: int = 1
    key: str | None = field(default=None, repr=False)
    """The client's idempotency key."""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= COUNT_MAX:
            raise ValueError(f"a report counts 1 to {COUNT_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A report that was counted and is committed."""

    participation_id: DocumentId
    impressions: int
    clicks: int | None
    """None where the document's clicks cannot be read, which stops no impression."""
    remaining: int | None
    """Impressions until the participation's own target; None where the target is the whole campaign's."""
    completed: bool
    """Whether the participation's own target is reached; paying is decided elsewhere."""
    needs_check: bool = False
    """Whether the target or a milestone was passed: whoever recorded it hints that something may be due."""
    replayed: bool = False
    """Whether this is the answer of an earlier report with the same key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedReport:
    """A report that changed nothing."""

    refusal: RecordingRefusal
    problems: tuple[FieldProblem, ...] = ()
    affordable_count: int | None = None
    """For an exhausted budget: the largest count that it still covers; always less than what was asked for."""


Outcome = Recorded | RefusedReport


@dataclass(frozen=True, slots=True)
class MilestoneStep:
    """A milestone every so many impressions, up to a number of them; None: without end."""

    every: int
    up_to: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPolicy:
    """What the configuration says about recording."""

    milestones: tuple[MilestoneStep, ...]
    own_target: bool = True
    """Whether a participation's own impressions are compared with the target (scope streamer)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What is counted on a participation and its campaign: as read, and then as each report leaves it."""

    impressions: int | Unreadable
    clicks: int | Unreadable
    estimate_problem: Unreadable | None = None
    """Why the estimate that would be overwritten is nothing we know; None where it is a number or absent."""
    remaining_minor: int | Unreadable
    """What is left of the campaign's budget, in minor units; looked at for cpm only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a report is about: the parsed documents behind its token."""

    participation: Participation | MalformedParticipation
    campaign: CampaignTerms | MalformedCampaign | None


def record(
    subject: Subject, report: ViewerReport, counters: Counters, policy: RecordingPolicy
) -> tuple[Outcome, Counters]:
    """What becomes of a report, and the counters after it; a refused one leaves them as they are."""
    refused = _refusal_of_state(subject)
    if refused is not None:
        return refused, counters
    assert isinstance(subject.participation, Participation)
    assert isinstance(subject.campaign, CampaignTerms)
    participation, terms = subject.participation, subject.campaign
    impressions = counters.impressions
    if isinstance(impressions, Unreadable):
        return _malformed("impressions", impressions), counters
    if report.kind is RecordingKind.CLICK:
        counted: RefusedReport | Counters = _with_clicks(counters, report.count)
    else:
        counted = _with_impressions(terms, impressions, report.count, counters)
    if isinstance(counted, RefusedReport):
        return counted, counters
    after = counted.impressions
    assert isinstance(after, int)
    target = terms.target_impressions
    return Recorded(
        participation_id=participation.participation_id,
        impressions=after,
        clicks=None if isinstance(counted.clicks, Unreadable) else counted.clicks,
        remaining=max(target - after, 0) if policy.own_target else None,
        completed=policy.own_target and after >= target,
        needs_check=needs_check(impressions, after, target, policy.milestones),
    ), counted


def accrued_minor(terms: CampaignTerms, impressions: int) -> int:
    """What so many impressions of one participation come to: cpm rounded half-up to the minor unit, fixed nothing.

    impressions · rate / 1000 in major units. Unlike a payment it is not capped at the target: the brand's counter goes
    down with what was shown.
    """
    if terms.payment_type is PaymentType.FIXED:
        return 0
    # ⌊x + ½⌋ in whole numbers, which is round_half_up(impressions * _impression_minor(terms)): this runs for every
    # report, and fractions would take a fifth of all the time that recording one takes.
    numerator = impressions * terms.rate.numerator * minor_per_major(terms.currency)
    denominator = terms.rate.denominator * 1000
    return (2 * numerator + denominator) // (2 * denominator)


def cost_minor(terms: CampaignTerms, before: int, after: int) -> int:
    """What the impressions from ``before`` to ``after`` take from the remaining budget, in minor units."""
    return accrued_minor(terms, after) - accrued_minor(terms, before)


def affordable_count(terms: CampaignTerms, impressions: int, remaining_minor: int) -> int:
    """How many more impressions the remaining budget covers (cpm): the largest n of which the cost fits.

    ⌊x·r + ½⌋ ≤ limit holds exactly for x < (limit + ½) / r, with r the price of one in minor units.
    """
    bound = (accrued_minor(terms, impressions) + remaining_minor + _HALF) / _impression_minor(terms)
    largest = -(-bound.numerator // bound.denominator) - 1
    return max(largest - impressions, 0)


def budget_drift_minor(terms: CampaignTerms, remaining_minor: int, impressions: Iterable[int]) -> int:
    """remaining + Σ accrued − budget over all participations of a campaign, in minor units; 0 is in order.

    Above zero: impressions were counted that the budget did not pay for. Below zero: the budget paid for impressions
    that are not counted (a report cut off between two writes, were they not one transaction). Under fixed payment the
    counter says nothing of impressions, and there is no drift.
    """
    if terms.payment_type is PaymentType.FIXED:
        return 0
    return remaining_minor + sum(accrued_minor(terms, counted) for counted in impressions) - terms.budget_minor


def needs_check(before: int, after: int, target: int, steps: Iterable[MilestoneStep]) -> bool:
    """Whether the target or a milestone lies in (before, after]."""
    return before < target <= after or reaches_milestone(before, after, steps)


def reaches_milestone(before: int, after: int, steps: Iterable[MilestoneStep]) -> bool:
    """Whether a milestone lies in (before, after]: each step's multiples, above the end of the step before it."""
    start = 0
    for step in steps:
        low = max(before, start)
        high = after if step.up_to is None else min(after, step.up_to)
        if low < high and high // step.every > low // step.every:
            return True
        start = after if step.up_to is None else step.up_to
    return False


def parse_milestones(text: str) -> tuple[MilestoneStep, ...] | Unreadable:
    """``50:1000, 100:10000, 500``: every 50 up to 1,000, every 100 up to 10,000, every 500 beyond. Empty: none."""
    steps: list[MilestoneStep] = []
    reached = 0
    for part in [piece.strip() for piece in text.split(",")] if text.strip() else []:
        every, separator, up_to = (piece.strip() for piece in part.partition(":"))
        if not _is_count(every) or (separator and not _is_count(up_to)):
            return Unreadable("must be steps such as 50:1000, 100:10000, 500: every so many, up to so many")
        if steps and steps[-1].up_to is None:
            return Unreadable("must have a step without an end only as the last one")
        step = MilestoneStep(int(every), int(up_to) if separator else None)
        if step.up_to is not None and step.up_to <= reached:
            return Unreadable("must have steps that end one after another")
        reached = step.up_to or reached
        steps.append(step)
    return tuple(steps)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= len(text) <= len(str(IMPRESSIONS_MAX)) and int(text) >= 1


def _impression_minor(terms: CampaignTerms) -> Fraction:
    return terms.rate * minor_per_major(terms.currency) / 1000


def _refusal_of_state(subject: Subject) -> RefusedReport | None:
    participation, campaign = subject.participation, subject.campaign
    if isinstance(participation, MalformedParticipation):
        return RefusedReport(refusal=RecordingRefusal.PARTICIPATION_MALFORMED, problems=participation.problems)
    if participation.status != "active":
        return RefusedReport(refusal=RecordingRefusal.PARTICIPATION_NOT_ACTIVE)
    if campaign is None:
        return RefusedReport(refusal=RecordingRefusal.CAMPAIGN_MISSING)
    # Its state first: a draft is unfinished rather than broken.
    if campaign.status != "active" and campaign.status is not None:
        return RefusedReport(refusal=RecordingRefusal.CAMPAIGN_NOT_ACTIVE)
    if isinstance(campaign, MalformedCampaign):
        return RefusedReport(refusal=RecordingRefusal.CAMPAIGN_MALFORMED, problems=campaign.problems)
    return None


def _with_clicks(counters: Counters, count: int) -> Counters | RefusedReport:
    if isinstance(counters.clicks, Unreadable):
        return _malformed("clicks", counters.clicks)
    if counters.clicks + count > IMPRESSIONS_MAX:
        return _malformed("clicks", Unreadable(f"would be more than {IMPRESSIONS_MAX}"))
    return replace(counters, clicks=counters.clicks + count)


def _with_impressions(
    terms: CampaignTerms, impressions: int, count: int, counters: Counters
) -> Counters | RefusedReport:
    after = impressions + count
    if after > IMPRESSIONS_MAX:
        return _malformed("impressions", Unreadable(f"would be more than {IMPRESSIONS_MAX}"))
    if terms.payment_type is PaymentType.FIXED:
        return replace(counters, impressions=after)
    if counters.estimate_problem is not None:
        return _malformed("estimated_earnings", counters.estimate_problem)
    remaining_minor = counters.remaining_minor
    if isinstance(remaining_minor, Unreadable):
        problem = FieldProblem(field="remaining_budget", why=remaining_minor.why)
        return RefusedReport(refusal=RecordingRefusal.CAMPAIGN_MALFORMED, problems=(problem,))
    left_minor = remaining_minor - cost_minor(terms, impressions, after)
    if left_minor < 0:
        affordable = affordable_count(terms, impressions, remaining_minor) if remaining_minor >= 0 else 0
        return RefusedReport(refusal=RecordingRefusal.BUDGET_EXHAUSTED, affordable_count=affordable)
    return replace(counters, impressions=after, remaining_minor=left_minor)


def _malformed(name: str, unreadable: Unreadable) -> RefusedReport:
    problem = FieldProblem(field=name, why=unreadable.why)
    return RefusedReport(refusal=RecordingRefusal.PARTICIPATION_MALFORMED, problems=(problem,))
