"""Times that people type: a date is its midnight in ``reports.timezone``, a time says its offset."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from reconciler.config import Settings
from reconciler.errors import UsageError
from reconciler.ledger.reads.general_ledger import Period

DATE_HELP = "A date is its midnight in reports.timezone; a time needs an offset."


def period_of(settings: Settings, since: str | None, until: str | None) -> Period:
    """From ``since`` on until just before ``until``. Raises UsageError."""
    period = Period(since=moment("--since", since, settings), until=moment("--until", until, settings))
    if period.since is not None and period.until is not None and period.since > period.until:
        raise UsageError("--since lies after --until")
    return period


def moment(option: str, text: str | None, settings: Settings) -> datetime | None:
    """A date or time that an option was given, in UTC. Raises UsageError."""
    if text is None:
        return None
    try:
        parsed = _parsed(text, ZoneInfo(settings.reports.timezone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option} takes a date (2026-03-31) or a time with its offset (2026-03-31T12:00:00+05:30), not {text!r}"
        ) from error
    if parsed.microsecond % 1000:
        raise UsageError(f"{option} is finer than a millisecond, and the ledger's times are not")
    return parsed


def _parsed(text: str, zone: ZoneInfo) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), zone)
    except ValueError:
        parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError("a time without an offset")
    return parsed
