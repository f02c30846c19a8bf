"""How values of a report read on a page: amounts, counts, times, names. Pure text; the template escapes all of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from reconciler.domain.money import format_minor

MINUS = "\N{MINUS SIGN}"


def money(amount_minor: Any, currency: Any) -> str:
    """``-123456789`` INR → ``−1,234,567.89``: major units with the currency's own places; empty for nothing."""
    if amount_minor is None:
        return ""
    text = format_minor(abs(int(amount_minor)), str(currency))
    whole, point, rest = text.partition(".")
    sign = MINUS if int(amount_minor) < 0 else ""
    return f"{sign}{int(whole):,}{point}{rest}"


def round_money(amount_minor: int, currency: str) -> str:
    """For an axis: without places that are all zero."""
    whole, _, rest = money(amount_minor, currency).partition(".")
    return f"{whole}.{rest}" if rest.strip("0") else whole


def count(number: Any) -> str:
    """``1234567`` → ``1,234,567``; empty for nothing."""
    return "" if number is None else f"{int(number):,}"


def plural(number: int, word: str) -> str:
    """``1 break``, ``2 breaks``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def share(part: int, whole: int) -> str:
    """Per cent of a whole, to the tenth; never 0 or 100 for what is neither."""
    if not whole:
        return ""
    tenths = (2000 * part // whole + 1) // 2
    if part > 0 and tenths == 0:
        return "< 0.1 %"
    if part < whole and tenths == 1000:
        return "> 99.9 %"
    return f"{tenths // 10}.{tenths % 10} %"


def words(name: Any) -> str:
    """``due_but_unpaid`` → ``due but unpaid``."""
    return str(name).replace("_", " ")


def visible(text: Any) -> str:
    """Text from documents without what cannot be seen: control characters, and those that turn the reading order."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(text))


def zone_of(name: Any) -> ZoneInfo:
    """The time zone of a document, or UTC where it names none that is known."""
    try:
        return ZoneInfo(str(name)) if name else ZoneInfo("UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def moment(text: Any, zone: ZoneInfo) -> datetime | None:
    """A time of a document in a zone; None for nothing or what is no time."""
    try:
        found = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(zone)


def local(text: Any, zone: ZoneInfo) -> str:
    """``2026-11-26T08:00:00Z`` → ``26 Nov 2026, 13:30``; what is no time stays as it is."""
    found = moment(text, zone)
    if found is None:
        return "" if text is None else str(text)
    return f"{found.day} {found:%b %Y, %H:%M}"
