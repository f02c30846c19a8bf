"""What a person looks at before it is paid: large amounts, and targets reached faster than people watch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil

from reconciler.domain.campaign import PaymentType
from reconciler.domain.decision import Due
from reconciler.domain.earnings import Overdelivery, earnings
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.money import amount_text, minor_per_major

OVER_PACE = "over_pace"
OVER_APPROVAL_THRESHOLD = "over_approval_threshold"
FOR_A_PERSON = frozenset({OVER_PACE, OVER_APPROVAL_THRESHOLD})
"""Reasons of holds that a person ends, by approving or rejecting."""

A_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Impressions by the time since the participation was made: a minute at least, also where its date lies ahead."""

    impressions: int
    since: datetime
    lasted: timedelta

    def exceeds(self, per_minute_max: int) -> bool:
        """Whether it ran faster than so many impressions a minute. Whole numbers of microseconds on both sides."""
        return self.impressions * _microseconds(A_MINUTE) > per_minute_max * _microseconds(self.lasted)

    def __str__(self) -> str:
        """In words: the pace, rounded down, and what it was computed from."""
        per_minute = self.impressions * _microseconds(A_MINUTE) // _microseconds(self.lasted)
        return (
            f"{per_minute} impressions a minute: {self.impressions} in {self.lasted // A_MINUTE} minutes "
            f"since it was made at {self.since:%Y-%m-%d %H:%M:%S} UTC"
        )


def pace_of(due: Due, now: datetime) -> Pace | None:
    """How fast a participation ran; None where nothing says when it was made, and nothing can be judged."""
    since = due.participation.created_at
    if since is None:
        return None
    return Pace(impressions=due.impressions, since=since, lasted=max(now - since, A_MINUTE))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewLimits:
    """From what on a person looks first: impressions a minute, and gross minor units of the currency in question."""

    per_minute_max: int | None
    threshold_minor: int | None

    def exceeded(self, request: PayoutRequest, now: datetime, *, was_too_fast: bool) -> tuple[str, str] | None:
        """Reason and words of the hold; None when nobody has to look, or somebody decided already.

        ``was_too_fast``: it was held for its pace before. The pace falls with every minute of waiting, and must not
        let through what no person has seen.
        """
        if request.decision_key is not None or request.lost is not None:
            return None
        pace = None if self.per_minute_max is None else pace_of(request.due, now)
        if self.per_minute_max is not None and pace is not None:
            is_too_fast = pace.exceeds(self.per_minute_max)
            if is_too_fast or was_too_fast:
                more = "more" if is_too_fast else "and it was more when it was held first,"
                return OVER_PACE, f"{pace}; {more} than safety.impressions_per_minute_max {self.per_minute_max}"
        currency, gross_minor = request.due.terms.currency, request.due.earned.gross_minor
        if self.threshold_minor is not None and gross_minor >= self.threshold_minor:
            return (
                OVER_APPROVAL_THRESHOLD,
                f"{amount_text(gross_minor, currency)} has to be approved by a person",
            )
        return None


def approved_part(due: Due, approved_minor: int | None) -> Due | None:
    """What may be paid under an approval, which is an upper bound; None where it covers nothing that is due.

    Viewers who came after it are not covered: then the most impressions that do not earn more are paid, if they still
    reach the target. An amount that grew in another way (a rate that was corrected) needs an approval of its own.
    """
    if approved_minor is None or due.earned.gross_minor <= approved_minor:
        return None if approved_minor is None else due
    is_counted = due.terms.payment_type is PaymentType.CPM and due.overdelivery is Overdelivery.PAY
    if not is_counted or due.settlement_key is not None:
        return None
    # The largest count below (approved + ½ minor unit): rounded half-up, it earns no more than what was approved.
    thousand_earn_minor = due.terms.rate * minor_per_major(due.terms.currency)
    covered = ceil((approved_minor + Fraction(1, 2)) * 1000 / thousand_earn_minor) - 1
    if covered < due.terms.target_impressions:
        return None
    return replace(due, impressions=covered, earned=earnings(due.terms, covered, due.overdelivery))


def _microseconds(span: timedelta) -> int:
    return span // timedelta.resolution
