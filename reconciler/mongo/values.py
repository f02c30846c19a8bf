"""Between BSON and the domain: identities, exact decimals, and money as the platform's documents hold it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from bson.decimal128 import Decimal128
from bson.objectid import ObjectId

from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.money import format_minor
from reconciler.domain.parsing import parse_number

Names = Mapping[str, str]
"""Our field name → the document's."""


def to_plain(value: object) -> object:
    """A value as the domain reads it: ObjectId → DocumentId, Decimal128 → Decimal; everything else as it is."""
    if isinstance(value, ObjectId):
        return DocumentId(IdKind.OBJECT_ID, str(value))
    if isinstance(value, Decimal128):
        return value.to_decimal()
    return value


def to_record(document: Mapping[str, object], names: Names) -> dict[str, object]:
    """A document's fields under our names, ``_id`` as ``id``; fields that the document lacks are absent."""
    record = {ours: to_plain(document[theirs]) for ours, theirs in names.items() if theirs in document}
    record["id"] = to_plain(document["_id"])
    return record


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
