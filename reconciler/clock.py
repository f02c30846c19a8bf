"""The one clock: aware UTC in whole milliseconds, which is all that MongoDB's dates hold.

A payout's time stands in both databases; with finer times they would differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the present time as :func:`utc_now` does; handed to whatever needs the time."""


CLOCKS_DIFFER_MAX = timedelta(minutes=1)
"""Far more than machines differ that keep their time."""


def utc_now() -> datetime:
    """The present time."""
    return whole_milliseconds(datetime.now(UTC))


def whole_milliseconds(time: datetime) -> datetime:
    """``time`` without what is finer than a millisecond."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def is_of_the_future(time: datetime, now: datetime) -> bool:
    """Whether a time that was written down can only come from a clock that was wrong.

    What waits for such a time would wait for ever: it is due, or was now.
    """
    return time > now + CLOCKS_DIFFER_MAX


def utc_text(time: datetime) -> str:
    """The one spelling of a time in documents: ISO 8601 in UTC to the millisecond, ``2026-11-26T03:30:00.000Z``."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def spelled(value: object) -> object:
    """A value for JSON, with every time in it spelled so, at any depth."""
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, Mapping):
        return {str(key): spelled(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [spelled(one) for one in value]
    return value
