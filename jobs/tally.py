"""What a check has found so far: added up partition by partition, and kept as JSON so that a later one can go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from reconciler.domain.breaks import Break
from reconciler.reports.model import Completeness

_COUNTERS = ("parts", "accrued_minor", "accrued_count", "due_minor", "in_flight_minor", "expected_minor")
_NUMBERS = ("scanned", "paid", "projected")


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts and sums. Breaks are kept one by one: they are few, or the least of the problems.

    ``scanned``: documents read; ``parts`` counts them again, each under the part of the whole it was found to be.
    ``expected_minor``: currency → gross that the stored facts of payouts give. The other sums are as in
    :class:`jobs.checking.CheckedPage`.
    """

    scanned: int = 0
    parts: Counter[str] = field(default_factory=Counter)
    breaks: list[Break] = field(default_factory=list)
    accrued_minor: Counter[str] = field(default_factory=Counter)
    accrued_count: Counter[str] = field(default_factory=Counter)
    due_minor: Counter[str] = field(default_factory=Counter)
    in_flight_minor: Counter[str] = field(default_factory=Counter)
    expected_minor: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, datetime] = field(default_factory=dict)
    """Tagged participations that are due and left to a sweep → when that was read first. In no part yet."""
    paid: int = 0
    projected: int = 0

    def add(self, other: Tally) -> None:
        """Count another one in."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _COUNTERS:
            getattr(self, name).update(getattr(other, name))
        self.breaks += other.breaks
        self.waiting |= other.waiting

    @property
    def completeness(self) -> Completeness:
        """The parts of the whole. Raises InvariantBroken when they do not sum to what was read."""
        known = {one.name for one in fields(Completeness)} - {"participations"}
        whole = Completeness(participations=self.scanned, **{name: self.parts[name] for name in known})
        whole.check()
        return whole

    def as_json(self) -> dict[str, Any]:
        """Everything but the breaks, which are kept beside it."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in _NUMBERS}
        plain |= {name: dict(getattr(self, name)) for name in _COUNTERS}
        return plain | {"waiting": {tagged: at.isoformat() for tagged, at in self.waiting.items()}}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], breaks: list[Break]) -> Tally:
        """Read :meth:`as_json` back."""
        tally = cls(
            breaks=breaks,
            waiting={tagged: datetime.fromisoformat(at) for tagged, at in plain["waiting"].items()},
        )
        for name in _NUMBERS:
            setattr(tally, name, plain[name])
        for name in _COUNTERS:
            setattr(tally, name, Counter(plain[name]))
        return tally
