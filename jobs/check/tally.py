"""What a check has found so far: added up partition by partition, and kept as JSON so that a later one can go on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.judging import Judgement
from reconciler.reports.model import Completeness

_NUMBERS = ("scanned", "paid", "projected")


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts and sums. Breaks are kept one by one: they are few, or the least of the problems.

    ``scanned``: documents read; ``parts`` counts them again, each under the part of the whole it was found to be.
    ``expected_minor``: currency → gross that the stored facts of payouts give. Keys of several words are made by
    :func:`key_of`.
    """

    scanned: int = 0
    parts: Counter[str] = field(default_factory=Counter)
    breaks: list[Break] = field(default_factory=list)
    accrued_minor: Counter[str] = field(default_factory=Counter)
    """Tagged campaign → what participations earned that no rule has made due, in minor units."""
    accrued_count: Counter[str] = field(default_factory=Counter)
    accrued_impressions: Counter[str] = field(default_factory=Counter)
    reached_count: Counter[str] = field(default_factory=Counter)
    """The part of them that reached their target, and the rule that would pay them is switched off."""
    due_minor: Counter[str] = field(default_factory=Counter)
    """Currency → gross of what is due and stays unpaid, for whatever reason, in minor units."""
    in_flight_minor: Counter[str] = field(default_factory=Counter)
    """The part of it that a sweep is still to come to."""
    expected_minor: Counter[str] = field(default_factory=Counter)
    withheld_count: Counter[str] = field(default_factory=Counter)
    """(reason, status, currency) → participations that reached their target and are not paid by a decision."""
    withheld_minor: Counter[str] = field(default_factory=Counter)
    """The same → what they would be paid, gross, in minor units."""
    unknown_count: Counter[str] = field(default_factory=Counter)
    """(participation or campaign, word) → participations that are not paid by a status that is not known."""
    unknown_reached: Counter[str] = field(default_factory=Counter)
    """Those of them that reached their target, or whose impressions cannot be read."""
    unknown_minor: Counter[str] = field(default_factory=Counter)
    """(participation or campaign, word, currency) → what these would be paid, gross, in minor units."""
    waiting: dict[str, datetime] = field(default_factory=dict)
    """Tagged participations that are due and left to a sweep → when that was read first. In no part yet."""
    paid: int = 0
    projected: int = 0
    _named_campaigns: set[str] = field(default_factory=set)

    def count(self, judged: Judgement) -> None:
        """Count one participation in, with its breaks and amounts."""
        if judged.part is not None:
            self.parts[judged.part] += 1
        self.breaks += judged.breaks
        if judged.due is not None:
            self.due_minor[judged.due.terms.currency] += judged.due.earned.gross_minor
        if (kept := judged.withheld) is not None:
            key = key_of(kept.reason, kept.status, kept.currency)
            self.withheld_count[key] += 1
            self.withheld_minor[key] += kept.gross_minor
        if (accrual := judged.accrual) is not None:
            self.accrued_minor[accrual.campaign_id] += accrual.minor
            self.accrued_count[accrual.campaign_id] += 1
            self.accrued_impressions[accrual.campaign_id] += accrual.impressions
            self.reached_count[accrual.campaign_id] += accrual.is_reached
        if (unknown := judged.unknown) is not None:
            key = key_of(unknown.side, unknown.word)
            self.unknown_count[key] += 1
            self.unknown_reached[key] += unknown.is_reached
            if unknown.currency:
                self.unknown_minor[key_of(unknown.side, unknown.word, unknown.currency)] += unknown.gross_minor

    def add(self, other: Tally) -> None:
        """Count another one in."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _COUNTERS:
            getattr(self, name).update(getattr(other, name))
        self.breaks += [one for one in other.breaks if not self._is_named(one)]
        self.waiting |= other.waiting

    def _is_named(self, found: Break) -> bool:
        """Whether a campaign that cannot be read was named already: it is one break, however many take part in it."""
        if found.kind is not BreakKind.MALFORMED or found.reason != "campaign":
            return False
        is_named = found.campaign_id in self._named_campaigns
        self._named_campaigns.add(found.campaign_id)
        return is_named

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
            _named_campaigns={one.campaign_id for one in breaks if one.reason == "campaign"},
            waiting={tagged: datetime.fromisoformat(at) for tagged, at in plain["waiting"].items()},
        )
        for name in _NUMBERS:
            setattr(tally, name, plain[name])
        for name in _COUNTERS:
            # A partition that another version kept may lack one; its check goes on all the same.
            setattr(tally, name, Counter(plain.get(name, {})))
        return tally


_COUNTERS = tuple(one.name for one in fields(Tally) if one.default_factory is Counter)


def key_of(*words: str) -> str:
    """A counter's key made of several words, which JSON can hold."""
    return json.dumps(words, ensure_ascii=False)


def words_of(key: str) -> list[str]:
    """What :func:`key_of` was given."""
    return [str(one) for one in json.loads(key)]
