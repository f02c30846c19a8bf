"""Control totals: what should have been paid (by rows and decisions), what was (by one sum), and the difference."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from jobs.check.tally import Tally
from reconciler.domain.breaks import Break, BreakKind
from reconciler.ports.population import LedgerSums
from reconciler.reports.model import Totals

IN_FLIGHT = "in_flight"
"""Due and on the way to a payment: no break, and part of the difference."""

_EXPLAINING = frozenset(
    {
        BreakKind.HELD,
        BreakKind.DUE_BUT_UNPAID,
        BreakKind.EXISTS_DIFFERENT,
        BreakKind.DUPLICATE_PARTICIPATION,
        BreakKind.DUE_BUT_INELIGIBLE,
        BreakKind.AMOUNT_DIFFERS,
    }
)
"""Kinds that say that somebody got less, or more, than they should have."""


def control_totals(sums: Sequence[LedgerSums], held_minor: Mapping[str, int], tally: Tally) -> list[Totals]:
    """One a currency.

    Expected is added up participation by participation and row by row; paid is one SQL statement; what explains the
    difference is added up from the breaks. They can disagree, and then something was missed.
    """
    by_currency = {one.currency: one for one in sums}
    explained = _explained(tally)
    totals = []
    for currency in sorted({*by_currency, *tally.expected_minor, *tally.due_minor, *explained, *held_minor}):
        one = by_currency.get(currency, LedgerSums.nothing(currency))
        # What was posted since the check began stands on both sides: its rows belong to partitions read before.
        since_minor = one.paid_minor - one.cut_minor
        totals.append(
            Totals(
                currency=currency,
                expected_minor=tally.expected_minor[currency] + since_minor + tally.due_minor[currency],
                paid_minor=one.paid_minor,
                held_minor=held_minor.get(currency, 0),
                reversed_minor=one.reversed_minor,
                refunded_minor=one.refunded_minor,
                explained_by={kind: minor for kind, minor in sorted(explained[currency].items()) if minor},
                payouts_count=one.payouts_count,
            )
        )
    return totals


def unexplained(totals: Sequence[Totals]) -> list[Break]:
    """A break for each currency in which a difference is left."""
    return [
        Break(
            kind=BreakKind.UNEXPLAINED_DIFFERENCE,
            reason=one.currency,
            currency=one.currency,
            expected_minor=one.expected_minor - one.explained_minor,
            actual_minor=one.paid_minor,
            detail="what rows and decisions give, less what breaks account for, is not the sum of what was paid",
        )
        for one in totals
        if one.unexplained_minor
    ]


def _explained(tally: Tally) -> defaultdict[str, Counter[str]]:
    explained: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for found in tally.breaks:
        counts = found.kind in _EXPLAINING and not found.repaired and found.delta_minor is not None
        # A reversal's own amounts are no part of what was paid.
        if counts and found.delta_minor is not None and not (found.actual_minor or 0) < 0:
            explained[found.currency][found.kind.value] -= found.delta_minor
    for currency, minor in tally.in_flight_minor.items():
        explained[currency][IN_FLIGHT] += minor
    return explained
