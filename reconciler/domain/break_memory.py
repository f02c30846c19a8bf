"""What is remembered of breaks from one check to the next: since when, how often, and what a person said about them.

Pure: rows and findings go in, rows come out. A break is remembered by its identity, so several breaks of one identity
(two faults of one kind in the ledger, say) are remembered as one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from reconciler.domain.break_identity import fingerprint
from reconciler.domain.breaks import Break, BreakStatus

ACKNOWLEDGE = "acknowledge"
RESOLVE = "resolve"


class ClearedBy(StrEnum):
    """Who found that a break is gone."""

    CHECK = "check"
    REPAIR = "repair"
    PERSON = "person"
    """Said, and not yet seen by a whole check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckMark:
    """Which check found something. ``at``: its beginning. A whole one looked at everything, the others at one campaign.

    Only a whole check finds that a break is gone: what it did not find is not there.
    """

    report_id: str
    at: datetime
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakRecord:
    """What is remembered of one break. Identities are plain; amounts are minor units of ``currency``.

    ``found_count``: breaks of this identity in the last check that found it; the amounts and the detail are those of
    the first. ``known_since`` is when it was first seen ever, ``first_seen`` when it last came up after it was gone;
    ``appearances_count`` counts how often it did. ``last_whole_report`` is the last whole check that found it.
    """

    break_id: str
    kind: str
    reason: str
    severity: str
    participation_id: str
    campaign_id: str
    streamer_id: str
    payout_key: str
    currency: str
    expected_minor: int | None
    actual_minor: int | None
    detail: str
    found_count: int
    fingerprint: str
    known_since: datetime
    first_seen: datetime
    last_seen: datetime
    last_report: str
    last_whole_report: str | None
    appearances_count: int
    cleared_at: datetime | None
    cleared_by: str | None

    @property
    def counts_as_before(self) -> bool:
        """Whether the last whole check left it open. What a person resolved since is still what that check left."""
        is_gone = self.cleared_at is not None and self.cleared_by != ClearedBy.PERSON
        return self.last_whole_report is not None and not is_gone


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakDecision:
    """The last thing a person said about a break, and what they saw: its appearance and its fingerprint."""

    kind: str
    by: str
    reason: str
    at: datetime
    appearance: int
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedBreak:
    """A break as a report shows it: since when, and whether a person knows of it. ``note``: what lapsed, if anything.

    ``decision`` is the acknowledgement in force; None for an open one.
    """

    break_id: str
    first_seen: datetime
    status: BreakStatus
    decision: BreakDecision | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What a check's findings become. ``carried``: ``new``, ``carried`` and ``cleared``, against the last whole check.

    ``tracked`` has each identity found; ``changed`` the records to be kept.
    """

    tracked: Mapping[str, TrackedBreak]
    carried: Mapping[str, int]
    changed: Sequence[BreakRecord]


def remember(
    found: Iterable[Break],
    known: Mapping[str, BreakRecord],
    decisions: Mapping[str, BreakDecision],
    check: CheckMark,
) -> Remembered:
    """What is known after a check. ``known``: every record that is open or was found; ``decisions``: the last of each.

    Checks may overlap: one that began before a break was last seen, or declared gone, says nothing about later.
    """
    members: dict[str, list[Break]] = defaultdict(list)
    for one in found:
        members[one.break_id].append(one)
    before = {identity for identity, record in known.items() if record.counts_as_before}
    seen = {identity: _seen(identity, group, known.get(identity), check) for identity, group in members.items()}
    gone = [known[identity] for identity in sorted(before - members.keys()) if known[identity].last_seen <= check.at]
    cleared = [_gone(record, check) for record in gone] if check.is_whole else []
    return Remembered(
        tracked={identity: _tracked(record, decisions.get(identity)) for identity, record in seen.items()},
        carried={
            "new": len(members.keys() - before),
            "carried": len(members.keys() & before),
            "cleared": len(cleared),
        },
        changed=[*(_closed_if_repaired(seen[one], members[one], check) for one in sorted(seen)), *cleared],
    )


def status_of(record: BreakRecord, decision: BreakDecision | None) -> BreakStatus:
    """Where a break stands, from its record and the last decision about it: no flag is kept beside them."""
    if record.cleared_at is not None:
        return BreakStatus.CLEARED
    if decision is not None and decision.kind == ACKNOWLEDGE and not _lapse(record, decision):
        return BreakStatus.ACKNOWLEDGED
    return BreakStatus.OPEN


def note_of(record: BreakRecord, decision: BreakDecision | None) -> str:
    """Why a break is open although a person decided about it; empty where nobody did, or the decision holds."""
    if decision is None or status_of(record, decision) is not BreakStatus.OPEN:
        return ""
    if decision.kind == RESOLVE:
        return f"{decision.by} resolved it on {decision.at:%Y-%m-%d}, and a later check found it again"
    return f"the acknowledgement of {decision.by} of {decision.at:%Y-%m-%d} has lapsed: {_lapse(record, decision)}"


def _lapse(record: BreakRecord, decision: BreakDecision) -> str:
    if decision.appearance != record.appearances_count:
        return "it was gone and came back"
    return "" if decision.fingerprint == record.fingerprint else "its severity or amounts have changed"


def _tracked(record: BreakRecord, decision: BreakDecision | None) -> TrackedBreak:
    # Cleared by a person while the check was running, perhaps; this check did find it.
    shown = replace(record, cleared_at=None, cleared_by=None)
    status = status_of(shown, decision)
    return TrackedBreak(
        break_id=record.break_id,
        first_seen=record.first_seen,
        status=status,
        decision=decision if status is BreakStatus.ACKNOWLEDGED else None,
        note=note_of(shown, decision),
    )


def _seen(identity: str, members: Sequence[Break], known: BreakRecord | None, check: CheckMark) -> BreakRecord:
    first = max(members, key=lambda one: one.severity)
    whole_report = check.report_id if check.is_whole else None
    record = BreakRecord(
        break_id=identity,
        kind=first.kind.value,
        reason=first.reason,
        severity=first.severity.label,
        participation_id=first.participation_id,
        campaign_id=first.campaign_id,
        streamer_id=first.streamer_id,
        payout_key=first.payout_key,
        currency=first.currency,
        expected_minor=first.expected_minor,
        actual_minor=first.actual_minor,
        detail=first.detail,
        found_count=len(members),
        fingerprint=fingerprint(members),
        known_since=check.at,
        first_seen=check.at,
        last_seen=check.at,
        last_report=check.report_id,
        last_whole_report=whole_report,
        appearances_count=1,
        cleared_at=None,
        cleared_by=None,
    )
    if known is None:
        return record
    if known.last_seen > check.at or (known.cleared_at is not None and known.cleared_at > check.at):
        # Whoever looked later knows better. That a whole check saw it still counts.
        return replace(known, last_whole_report=whole_report or known.last_whole_report)
    # What a person called resolved, and is found by the next check, was never gone.
    was_gone = known.cleared_at is not None and known.cleared_by != ClearedBy.PERSON
    return replace(
        record,
        known_since=known.known_since,
        first_seen=check.at if was_gone else known.first_seen,
        last_whole_report=whole_report or (None if was_gone else known.last_whole_report),
        appearances_count=known.appearances_count + (known.cleared_at is not None),
    )


def _closed_if_repaired(record: BreakRecord, members: Sequence[Break], check: CheckMark) -> BreakRecord:
    if record.last_report != check.report_id or not all(one.repaired for one in members):
        return record
    return replace(record, cleared_at=check.at, cleared_by=ClearedBy.REPAIR.value)


def _gone(record: BreakRecord, check: CheckMark) -> BreakRecord:
    """A person may have resolved it before: that time stays, and from now on it is gone by this check's word."""
    return replace(record, cleared_at=record.cleared_at or check.at, cleared_by=ClearedBy.CHECK.value)
