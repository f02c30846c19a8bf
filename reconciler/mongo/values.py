"""Converts values between BSON and the domain. Every value of a document passes through here, in both directions.

Whatever a field holds becomes one of a few plain values, of that very type: the driver's subclasses of ``str`` and
``int`` are not what they look like (``Code`` has no hash). Everything else comes in as :class:`Foreign`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from reconciler.domain.ids import DocumentId, IdKind, parse_id
from reconciler.domain.money import format_minor, parse_amount_minor
from reconciler.domain.parsing import Foreign, parse_date, parse_number, parse_text, shortened

Names = Mapping[str, str]
"""Our field name → the document's."""


_NO_NUMBER = Decimal("NaN")
"""For a signaling NaN too, which has no hash and cannot even be compared."""

_PLAIN = frozenset({str, int, float, bool, type(None), datetime})


def to_plain(value: object) -> object:
    """A value as the domain reads it: ObjectId → DocumentId, Decimal128 → Decimal, of no type that it does not know."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, ObjectId):
        return DocumentId(IdKind.OBJECT_ID, str(value))
    if isinstance(value, Decimal128):
        number = value.to_decimal()
        return number if number.is_finite() else _NO_NUMBER
    if isinstance(value, Int64):
        return int(value)
    return Foreign(kind=kind.__name__, shown=shortened(repr(value)))


def to_record(document: Mapping[str, object], names: Names) -> dict[str, object]:
    """A document's fields under our names, ``_id`` as ``id``; fields that the document lacks are absent."""
    record = {ours: to_plain(document[theirs]) for ours, theirs in names.items() if theirs in document}
    record["id"] = to_plain(document.get("_id"))
    return record


def identity_of(document: Mapping[str, object], field: str = "_id") -> DocumentId | None:
    """The identity in a field; None where there is none that the ledger could name."""
    identity = parse_id(to_plain(document.get(field)))
    return identity if isinstance(identity, DocumentId) else None


def text_of(value: object) -> str | None:
    """Text that the ledger's database can hold; None for all else."""
    text = parse_text(to_plain(value))
    return text if isinstance(text, str) else None


def amount_of(value: object, currency: str) -> int | None:
    """An amount of a document in minor units; None where it is missing or cannot be read."""
    amount = parse_amount_minor(to_plain(value), currency)
    return amount if isinstance(amount, int) else None


def date_of(value: object) -> datetime | None:
    """A time; None for all else, such as a date that Python cannot hold."""
    return parse_date(to_plain(value))


def to_bson_id(document_id: DocumentId) -> ObjectId | str:
    """The identity as the document has it."""
    return ObjectId(document_id.value) if document_id.kind is IdKind.OBJECT_ID else document_id.value


def whole_number(value: object) -> int | None:
    """A whole number, of whatever numeric type a program that saved the document made of it; None for all else.

    Text is a number to a reader of facts, but nothing that MongoDB can compare or add to.
    """
    number = None if isinstance(value, str) else parse_number(to_plain(value))
    return number.numerator if isinstance(number, Fraction) and number.denominator == 1 else None


def to_document_money(amount_minor: int, currency: str) -> float | Decimal128:
    """An amount in major units, of the type that the platform's documents hold: a double.

    The double is the one nearest to the exact decimal text, and reading its shortest text gives that decimal back;
    where it does not (beyond some 10^15 minor units), a Decimal128 keeps the amount exact (docs/decisions/0004).
    """
    text = format_minor(amount_minor, currency)
    nearest = float(text)
    return nearest if Decimal(repr(nearest)) == Decimal(text) else Decimal128(text)
