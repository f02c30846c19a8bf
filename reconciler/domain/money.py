"""Money: whole minor units of an ISO 4217 currency, and the one rounding that leads there."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

from iso4217 import Currency

from reconciler.domain.parsing import Unreadable, kind_of, parse_number

AMOUNT_MINOR_MAX = 2**53
"""Largest amount handled. Beyond it a double can no longer tell two neighbouring minor units apart, and the
platform's documents hold doubles."""

RATE_DECIMALS = 9
_CODE_LENGTH = 3
_TOLERANCE = Fraction(1, 10**6)
_HALF = Fraction(1, 2)


@cache
def minor_digits(currency: str) -> int | None:
    """Decimal places of a currency by ISO 4217's own list (INR 2, JPY 0, KWD 3); None for an unknown one.

    Codes without a minor unit (gold, testing) are nothing anybody is paid in, and unknown here.
    """
    try:
        return Currency(currency).exponent
    except ValueError:
        return None


def minor_per_major(currency: str) -> int:
    """How many minor units make a major one. Raises ValueError on a currency :func:`minor_digits` does not know."""
    digits = minor_digits(currency)
    if digits is None:
        raise ValueError(f"{currency!r} is not a currency of ISO 4217 with a minor unit")
    return int(10**digits)


def round_half_up(amount: Fraction) -> int:
    """Nearest whole number, halves upwards: floor(x + 1/2)."""
    shifted = amount + _HALF
    return shifted.numerator // shifted.denominator


def parse_currency(value: object, default: str) -> str | Unreadable:
    """An ISO 4217 code; missing and null mean ``default``."""
    if value is None:
        return default
    if type(value) is not str:
        return Unreadable(f"is a {kind_of(value)}, not a currency code")
    # The length first: what is looked up is remembered, and a document may hold megabytes.
    if len(value) != _CODE_LENGTH or minor_digits(value) is None:
        return Unreadable("is not a currency code of ISO 4217")
    return value


def parse_amount_minor(value: object, currency: str) -> int | Unreadable:
    """An amount in major units → whole minor units, forgiving what float additions left behind.

    ``3299.9999999999995`` is 3300.00; what lies farther than 10⁻⁶ of a major unit from a minor unit is refused
    rather than rounded, because nobody can know which amount was meant.
    """
    number = parse_number(value)
    if isinstance(number, Unreadable):
        return number
    scale = minor_per_major(currency)
    amount_minor = round_half_up(number * scale)
    if abs(number - Fraction(amount_minor, scale)) > _TOLERANCE:
        return Unreadable(f"is no whole number of minor units of {currency}")
    if abs(amount_minor) > AMOUNT_MINOR_MAX:
        return Unreadable("is more than 2^53 minor units")
    return amount_minor


def parse_rate(value: object, currency: str) -> Fraction | Unreadable:
    """A price per thousand in major units, read to nine decimals: it may be finer than a minor unit."""
    number = parse_number(value)
    if isinstance(number, Unreadable):
        return number
    scale = 10**RATE_DECIMALS
    rate = Fraction(round_half_up(number * scale), scale)
    if abs(rate) * minor_per_major(currency) > AMOUNT_MINOR_MAX:
        return Unreadable("is more than 2^53 minor units")
    return rate


def format_minor(amount_minor: int, currency: str) -> str:
    """``330000`` INR → ``"3300.00"``: decimal text of major units, with all places of the currency."""
    digits = minor_digits(currency) or 0
    sign = "-" if amount_minor < 0 else ""
    whole, rest = divmod(abs(amount_minor), 10**digits)
    return f"{sign}{whole}.{rest:0{digits}d}" if digits else f"{sign}{whole}"


def amount_text(amount_minor: int, currency: str) -> str:
    """``330000`` INR → ``"3300.00 INR"``, as sentences have it."""
    return f"{format_minor(amount_minor, currency)} {currency}"


def format_rate(rate: Fraction) -> str:
    """Exact decimal text of a rate of at most nine decimals, without trailing zeros."""
    scaled = rate * 10**RATE_DECIMALS
    whole, rest = divmod(scaled.numerator // scaled.denominator, 10**RATE_DECIMALS)
    return f"{whole}.{rest:0{RATE_DECIMALS}d}".rstrip("0").rstrip(".")
