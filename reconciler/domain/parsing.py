"""Reading one value of a document: exact numbers from every type that MongoDB and old data hold."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import TypeVar

IMPRESSIONS_MAX = 10**12
"""More impressions than this on one participation are a defect, not a success."""

T = TypeVar("T")

SHOWN_LENGTH_MAX = 120

_UNSTORABLE = re.compile("[\x00\ud800-\udfff\ufffd]")
_UNSTORABLE_NAMES = {
    "\x00": "a NUL character, which SQL text cannot hold",
    "\ufffd": "a replacement character: what is stored there is not UTF-8, and nothing could be found by it",
}

_DECIMAL_TEXT = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_DECIMAL_TEXT_LENGTH_MAX = 64
_DECIMAL_EXPONENT_MAX = 64


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why one value cannot be read; completes a sentence that begins with the field's name."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A value of a type that no field of ours may hold: the name of the type, and a short text to find it by."""

    kind: str
    shown: str

    def __str__(self) -> str:
        return self.shown


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProblem:
    """A field of a document that cannot be read, in the document's words and with the reason."""

    field: str
    why: str

    def __str__(self) -> str:
        return f"{self.field} {self.why}"


def keep(parsed: T | Unreadable, field: str, problems: list[FieldProblem]) -> T | None:
    """The value that was read; or None, with the reason added to ``problems``, so that all of them are reported."""
    if isinstance(parsed, Unreadable):
        problems.append(FieldProblem(field=field, why=parsed.why))
        return None
    return parsed


def kind_of(value: object) -> str:
    """The name of a value's type, as reasons give it."""
    return value.kind if isinstance(value, Foreign) else type(value).__name__


def shortened(text: str) -> str:
    """At most ``SHOWN_LENGTH_MAX`` characters of a text; a hash stands for what is left out."""
    if len(text) <= SHOWN_LENGTH_MAX:
        return text
    rest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    return f"{text[: SHOWN_LENGTH_MAX - len(rest) - 1]}…{rest}"


def parse_text(value: object) -> str | Unreadable:
    """Text that can be stored and compared as it is."""
    if value is None:
        return Unreadable("is missing")
    if type(value) is not str:
        return Unreadable(f"is a {kind_of(value)}, not text")
    found = _UNSTORABLE.search(value)
    if found is not None:
        return Unreadable(f"contains {_UNSTORABLE_NAMES.get(found.group(), 'half a character')}")
    return value


def parse_status(value: object) -> str | None:
    """A status word; None for what is no text. It may be any text: what is shown of it is short and can be stored."""
    return shortened(_UNSTORABLE.sub("\ufffd", value)) if type(value) is str else None


def parse_number(value: object) -> Fraction | Unreadable:
    """The exact value of a number: int, double, Decimal128 (as ``Decimal``) or text of ``-?digits[.digits]``.

    A double is read by its shortest decimal text: what the person or program that wrote ``0.1`` meant.
    """
    match value:
        case None:
            return Unreadable("is missing")
        case bool():
            return Unreadable("is a boolean, not a number")
        case int():
            return Fraction(value)
        case float():
            if not math.isfinite(value):
                return Unreadable("is not a finite number")
            return Fraction(Decimal(repr(value)))
        case Decimal():
            return _parse_decimal(value)
        case str():
            if len(value) > _DECIMAL_TEXT_LENGTH_MAX or not _DECIMAL_TEXT.fullmatch(value):
                return Unreadable("is text that is not a plain decimal number")
            return Fraction(Decimal(value))
        case _:
            return Unreadable(f"is a {kind_of(value)}, not a number")


def parse_count(value: object, *, count_max: int | None = IMPRESSIONS_MAX) -> int | Unreadable:
    """A whole number from 0 to ``count_max``, of whatever numeric type: ``2000.0`` and ``"2000"`` count."""
    number = parse_number(value)
    if isinstance(number, Unreadable):
        return number
    if number.denominator != 1:
        return Unreadable("is not a whole number")
    if number < 0:
        return Unreadable("is negative")
    if count_max is not None and number > count_max:
        return Unreadable(f"is more than {count_max}")
    return number.numerator


def parse_flag(value: object) -> bool | Unreadable:
    """A boolean; missing and null are False. Anything else is not guessed at, since payment depends on it."""
    if value is None:
        return False
    if isinstance(value, bool):
        return value
    return Unreadable(f"is a {kind_of(value)}, not a boolean")


def parse_date(value: object) -> datetime | None:
    """An aware time; anything else is None: dates never stand in the way of a payment by being malformed."""
    return value if isinstance(value, datetime) and value.tzinfo is not None else None


def _parse_decimal(value: Decimal) -> Fraction | Unreadable:
    if not value.is_finite():
        return Unreadable("is not a finite number")
    if value == 0:
        return Fraction(0)  # A zero has an exponent too, and it may be as huge as any.
    # A Decimal128 reaches 10^6144. As a fraction that is a number of 6,145 digits, and every later comparison and
    # message pays for it; nothing that is money or a count comes near.
    if abs(value.adjusted()) > _DECIMAL_EXPONENT_MAX:
        return Unreadable(f"is of a magnitude beyond 10^{_DECIMAL_EXPONENT_MAX}")
    return Fraction(value)
