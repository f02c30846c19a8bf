"""Control totals: what breaks account for is explained, and what nothing accounts for is a break of its own."""

from __future__ import annotations

from collections import Counter

from jobs.check.tally import Tally
from jobs.check.totals import control_totals, unexplained
from reconciler.domain.breaks import Break, BreakKind
from reconciler.ports.population import LedgerSums


def sums(*, cut: int = 1_000, paid: int = 1_000) -> list[LedgerSums]:
    return [
        LedgerSums(currency="INR", payouts_count=2, cut_minor=cut, paid_minor=paid, reversed_minor=0, refunded_minor=7)
    ]


def a_break(kind: BreakKind, expected: int | None, actual: int | None, *, repaired: bool = False) -> Break:
    return Break(kind=kind, currency="INR", expected_minor=expected, actual_minor=actual, repaired=repaired)


def test_what_is_held_due_and_on_its_way_is_explained() -> None:
    tally = Tally(
        expected_minor=Counter(INR=1_000),
        due_minor=Counter(INR=60),
        in_flight_minor=Counter(INR=10),
        breaks=[a_break(BreakKind.HELD, 20, 0), a_break(BreakKind.DUE_BUT_UNPAID, 30, 0)],
    )
    [totals] = control_totals(sums(), {"INR": 20}, tally)
    assert (totals.expected_minor, totals.difference_minor, totals.unexplained_minor) == (1_060, 60, 0)
    assert totals.explained_by == {"due_but_unpaid": 30, "held": 20, "in_flight": 10}
    assert (totals.held_minor, totals.refunded_minor, unexplained([totals])) == (20, 7, [])


def test_what_was_posted_since_the_cut_stands_on_both_sides() -> None:
    [totals] = control_totals(sums(cut=1_000, paid=1_500), {}, Tally(expected_minor=Counter(INR=1_000)))
    assert (totals.expected_minor, totals.unexplained_minor) == (1_500, 0)


def test_what_was_repaired_explains_nothing() -> None:
    tally = Tally(expected_minor=Counter(INR=1_000), breaks=[a_break(BreakKind.DUE_BUT_UNPAID, 30, 30, repaired=True)])
    [totals] = control_totals(sums(), {}, tally)
    assert (totals.explained_by, totals.unexplained_minor) == ({}, 0)


def test_a_difference_that_nothing_accounts_for_is_a_break() -> None:
    tally = Tally(expected_minor=Counter(INR=1_005), due_minor=Counter(INR=20), breaks=[a_break(BreakKind.HELD, 20, 0)])
    [totals] = control_totals(sums(), {}, tally)
    [found] = unexplained([totals])
    assert (totals.unexplained_minor, found.kind, found.reason) == (5, BreakKind.UNEXPLAINED_DIFFERENCE, "INR")
    assert (found.expected_minor, found.actual_minor, found.is_open) == (1_005, 1_000, True)


def test_a_currency_that_only_one_side_knows_has_totals() -> None:
    found = {one.currency: one for one in control_totals(sums(), {"KWD": 4}, Tally(due_minor=Counter(JPY=9)))}
    assert set(found) == {"INR", "JPY", "KWD"}
    assert (found["JPY"].unexplained_minor, found["INR"].unexplained_minor) == (9, -1_000)


def test_a_tally_is_what_it_was_after_it_was_kept() -> None:
    tally = Tally(scanned=3, parts=Counter(matched=3), paid=1, accrued_minor=Counter({"oid:a": 5}))
    again = Tally.from_json(tally.as_json(), [])
    assert again == tally
    again.add(tally)
    assert (again.scanned, again.parts["matched"], again.completeness.participations) == (6, 6, 6)
