"""What changed between two reports: breaks that appeared, that went away, and that are there with other amounts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler.reports.stored import StoredBreak


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One break in both reports, with another severity, status or amount."""

    before: StoredBreak
    after: StoredBreak


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Each in the order of the report it comes from: the worst first."""

    appeared: Sequence[StoredBreak]
    gone: Sequence[StoredBreak]
    changed: Sequence[Changed]


def difference(before: Iterable[StoredBreak], after: Iterable[StoredBreak]) -> Difference:
    """Compare the breaks of two reports by identity. Several of one identity are compared one by one, in their order.

    The detail is not compared: the same state may be said in other words.
    """
    earlier: dict[str, list[StoredBreak]] = defaultdict(list)
    for one in before:
        earlier[one.break_id].append(one)
    appeared, changed = [], []
    for one in after:
        same = earlier.get(one.break_id)
        if not same:
            appeared.append(one)
            continue
        # One that did not change at all goes first, so that of two breaks only the one that did is named.
        unchanged = next((index for index, old in enumerate(same) if _state(old) == _state(one)), None)
        old = same.pop(0 if unchanged is None else unchanged)
        if unchanged is None:
            changed.append(Changed(before=old, after=one))
    gone = [one for rest in earlier.values() for one in rest]
    return Difference(appeared=appeared, gone=gone, changed=changed)


def _state(one: StoredBreak) -> tuple[str, str, str, int | None, int | None]:
    return one.severity, one.status, one.currency, one.expected_minor, one.actual_minor
