"""The report of a check: ``schema: reconciliation-report/1``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from reconciler.clock import utc_text
from reconciler.domain.break_memory import TrackedBreak
from reconciler.domain.breaks import CATALOGUE, Break, BreakStatus, Severity
from reconciler.errors import InvariantBroken
from reconciler.exit_codes import ExitCode
from reconciler.ports.integrity import Integrity

SCHEMA = "reconciliation-report/1"
TOTAL_AMOUNTS = tuple(
    f"{name}_minor"
    for name in ("expected", "paid", "held", "reversed", "refunded", "difference", "explained", "unexplained")
)
"""The amounts of one currency's control totals, by name."""


@dataclass(slots=True, kw_only=True)
class Completeness:
    """What became of every participation. The parts sum to the whole, or the check itself is broken."""

    participations: int = 0
    matched: int = 0
    not_due: int = 0
    withheld: int = 0
    held: int = 0
    in_flight: int = 0
    settled_before_us: int = 0
    broken: int = 0
    malformed: int = 0

    def check(self) -> None:
        """Raises InvariantBroken when a participation was lost or counted twice."""
        parts = sum(getattr(self, one.name) for one in fields(self)) - self.participations
        if parts != self.participations:
            raise InvariantBroken("completeness", f"{self.participations} participations, but {parts} accounted for")

    def as_json(self) -> dict[str, int]:
        """By name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Control totals of one currency, in minor units.

    ``expected_minor``: what the stored facts of payouts give, and what is decided for the unpaid. The difference to the
    sum of what was paid is explained by breaks (``explained_by``: kind → minor units), or it is unexplained.
    """

    currency: str
    expected_minor: int
    paid_minor: int
    held_minor: int
    reversed_minor: int
    refunded_minor: int
    explained_by: Mapping[str, int]
    payouts_count: int

    @property
    def difference_minor(self) -> int:
        """Expected less paid."""
        return self.expected_minor - self.paid_minor

    @property
    def explained_minor(self) -> int:
        """The part of the difference that breaks account for."""
        return sum(self.explained_by.values())

    @property
    def unexplained_minor(self) -> int:
        """The rest of it: anything but 0 is a break of its own."""
        return self.difference_minor - self.explained_minor

    def as_json(self) -> dict[str, Any]:
        """By name, with what follows from the rest."""
        return {
            "currency": self.currency,
            **{name: getattr(self, name) for name in TOTAL_AMOUNTS},
            "explained_by": dict(sorted(self.explained_by.items())),
            "counts": {"payouts": self.payouts_count},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A break with its history: when it was first seen, and whether a person knows of it."""

    found: Break
    tracked: TrackedBreak

    @property
    def first_seen(self) -> datetime:
        """When it last came up."""
        return self.tracked.first_seen

    @property
    def is_open(self) -> bool:
        """Whether it makes a check end with exit code 1: what a person acknowledged does not."""
        return self.status is BreakStatus.OPEN

    @property
    def status(self) -> BreakStatus:
        """Repaired, acknowledged, for information, or open."""
        if self.found.repaired:
            return BreakStatus.REPAIRED
        if self.tracked.status is BreakStatus.ACKNOWLEDGED:
            return BreakStatus.ACKNOWLEDGED
        return BreakStatus.OPEN if self.found.is_open else BreakStatus.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Money that is not paid yet, as rows of the report: accrued, held, stranded, and the totals a currency."""

    accrued: Sequence[Mapping[str, Any]] = ()
    held: Sequence[Mapping[str, Any]] = ()
    stranded: Sequence[Mapping[str, Any]] = ()
    totals: Sequence[Mapping[str, Any]] = ()

    def as_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "accrued": [dict(one) for one in self.accrued],
            "held": [dict(one) for one in self.held],
            "stranded": [dict(one) for one in self.stranded],
            "totals": [dict(one) for one in self.totals],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything one check found."""

    report_id: str
    kind: str
    trigger: str
    as_of: datetime
    started_at: datetime
    finished_at: datetime
    dry_run: bool
    config_fingerprint: str
    completeness: Completeness
    totals: Sequence[Totals]
    sightings: Sequence[Sighting]
    repairs: Mapping[str, int]
    carried: Mapping[str, int]
    integrity: Integrity
    timezone: str = "UTC"
    waiting: Waiting = field(default_factory=Waiting)
    withheld: Sequence[Mapping[str, Any]] = ()
    """Who reached their target and is not paid because somebody decided so: rows by reason, status and currency."""
    paid_by_day: Sequence[Mapping[str, Any]] = ()
    settled_before_us: Sequence[Mapping[str, Any]] = ()
    resume_token_age_s: float | None = None
    """How far the position that the watch keeps lay back when the check ended; None where none is kept."""
    is_halted: bool = False
    """Paying was halted already when the check began."""

    @property
    def is_whole(self) -> bool:
        """Whether everything was checked, and not one campaign only."""
        return self.kind == "full_check"

    @property
    def verdict(self) -> str:
        """``halted``, ``breaks``, ``repaired`` or ``clean``."""
        if self.is_halted or any(one.found.severity is Severity.CRITICAL for one in self.sightings):
            return "halted"
        if any(one.is_open for one in self.sightings):
            return "breaks"
        return "repaired" if any(self.repairs.values()) else "clean"

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the process that ran the check."""
        by_verdict = {"halted": ExitCode.HALTED, "breaks": ExitCode.BREAKS}
        return by_verdict.get(self.verdict, ExitCode.CLEAN)

    def breaks_by_kind(self) -> dict[str, int]:
        """Kind → how many, those that were repaired among them."""
        return dict(sorted(Counter(one.found.kind.value for one in self.sightings).items()))

    def break_rows(self) -> list[dict[str, Any]]:
        """One row a break, with the columns of the CSV file."""
        return [_break_row(one, self.as_of) for one in self.sightings]

    def as_json(self, breaks_max: int) -> dict[str, Any]:
        """The JSON document, with the first ``breaks_max`` breaks."""
        integrity = self.integrity
        faults = Counter(fault.kind for fault in integrity.faults)
        return {
            "schema": SCHEMA,
            "report_id": self.report_id,
            "kind": self.kind,
            "trigger": self.trigger,
            "as_of": utc_text(self.as_of),
            "started_at": utc_text(self.started_at),
            "finished_at": utc_text(self.finished_at),
            "duration_s": round((self.finished_at - self.started_at).total_seconds(), 3),
            "dry_run": self.dry_run,
            "verdict": self.verdict,
            "exit_code": int(self.exit_code),
            "config_fingerprint": self.config_fingerprint,
            "positions": {
                "ledger_sequence": integrity.ledger_sequence,
                "chain_head": integrity.chain_head,
                "resume_token_age_s": self.resume_token_age_s,
            },
            "completeness": self.completeness.as_json(),
            "totals": [one.as_json() for one in self.totals],
            "breaks_by_kind": self.breaks_by_kind(),
            "repairs": dict(self.repairs),
            "carried": dict(self.carried),
            "breaks": self.break_rows()[:breaks_max],
            "integrity": {
                "entries": integrity.entries,
                "zero_sum": faults["ledger_unbalanced"] == 0,
                "balances_rederived": faults["balance_differs"] == 0,
                "chain_verified_to": integrity.chain_verified_to,
            },
            "timezone": self.timezone,
            "waiting": self.waiting.as_json(),
            "withheld": [dict(one) for one in self.withheld],
            "paid_by_day": [dict(one) for one in self.paid_by_day],
            "settled_before_us": [dict(one) for one in self.settled_before_us],
        }


def _break_row(sighting: Sighting, as_of: datetime) -> dict[str, Any]:
    found, decision = sighting.found, sighting.tracked.decision
    return {
        "break_id": sighting.tracked.break_id,
        "kind": found.kind.value,
        "reason": found.reason,
        "severity": found.severity.label,
        "status": sighting.status.value,
        "participation_id": found.participation_id,
        "campaign_id": found.campaign_id,
        "streamer_id": found.streamer_id,
        "payout_key": found.payout_key,
        "currency": found.currency,
        "expected_minor": found.expected_minor,
        "actual_minor": found.actual_minor,
        "delta_minor": found.delta_minor,
        "first_seen": utc_text(sighting.first_seen),
        "age_s": round((as_of - sighting.first_seen).total_seconds()),
        "detail": found.detail,
        "action": "repaired" if found.repaired else CATALOGUE[found.kind].action,
        "acknowledged_by": decision.by if decision else "",
        "acknowledged_reason": decision.reason if decision else "",
        "note": sighting.tracked.note,
    }
