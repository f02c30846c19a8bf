"""Amounts as the platform's documents hold them: whatever is written is read back as the same minor units."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import bson
import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.money import AMOUNT_MINOR_MAX, format_minor, parse_amount_minor
from reconciler.mongo.values import to_bson_id, to_document_money, to_plain, to_record, whole_number

CURRENCIES = ("INR", "JPY", "KWD", "CLF")

amounts = st.one_of(
    st.integers(-AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX),
    st.integers(AMOUNT_MINOR_MAX - 10_000, AMOUNT_MINOR_MAX),
    st.integers(10**15 - 10_000, 10**15 + 10_000),
    st.integers(0, 1_000_000),
)


@given(amount_minor=amounts, currency=st.sampled_from(CURRENCIES))
@example(amount_minor=AMOUNT_MINOR_MAX, currency="INR")
@example(amount_minor=AMOUNT_MINOR_MAX - 1, currency="INR")
@example(amount_minor=330_000, currency="INR")
def test_what_is_written_is_exact_and_read_back_the_same(amount_minor: int, currency: str) -> None:
    written = to_document_money(amount_minor, currency)

    stored = bson.decode(bson.encode({"amount": written}))["amount"]
    assert type(stored) is type(written)
    shown = stored.to_decimal() if isinstance(stored, Decimal128) else Decimal(repr(stored))
    assert shown == Decimal(format_minor(amount_minor, currency))
    assert parse_amount_minor(to_plain(stored), currency) == amount_minor


@given(amount_minor=st.integers(-(10**15), 10**15), currency=st.sampled_from(CURRENCIES))
def test_up_to_fifteen_digits_it_is_a_double_as_everywhere_on_the_platform(amount_minor: int, currency: str) -> None:
    assert type(to_document_money(amount_minor, currency)) is float


def test_beyond_what_doubles_tell_apart_it_is_a_decimal() -> None:
    # In paise, 2^53 needs 16 digits; doubles near it still lie 1/64 apart, but their shortest text may end elsewhere.
    amounts_minor = range(AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX + 400)
    types = {type(to_document_money(amount_minor * 10, "INR")) for amount_minor in amounts_minor}

    assert types == {float, Decimal128}


@pytest.mark.parametrize(
    ("amount_minor", "currency", "expected"),
    [
        (330_000, "INR", 3300.0),
        (330_000, "JPY", 330_000.0),
        (330_000, "KWD", 330.0),
        (1, "KWD", 0.001),
        (0, "INR", 0.0),
    ],
)
def test_amounts_are_in_major_units(amount_minor: int, currency: str, expected: float) -> None:
    assert to_document_money(amount_minor, currency) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (Int64(5), 5),
        (5.0, 5),
        (Decimal128("5"), 5),
        (-5, -5),
        (0, 0),
        (5.5, None),
        ("5", None),
        (True, None),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
        (Decimal128("NaN"), None),
        ([5], None),
        ({}, None),
    ],
    ids=repr,
)
def test_a_whole_number_is_one_in_every_numeric_type_and_no_other(value: object, expected: int | None) -> None:
    assert whole_number(value) == expected


@pytest.mark.parametrize("raw", [ObjectId("64b0000000000000000000aa"), "text", "64b000000000000000000001"], ids=repr)
def test_an_identity_comes_back_as_it_was(raw: Any) -> None:
    plain = to_plain(raw)
    identity = plain if isinstance(plain, DocumentId) else DocumentId(IdKind.STRING, raw)

    assert to_bson_id(identity) == raw
    assert type(to_bson_id(identity)) is type(raw)


def test_a_record_has_our_names_and_lacks_what_the_document_lacks() -> None:
    document = {"_id": "p", "views": Decimal128("5"), "secret": "s", "nothing": None}

    record = to_record(document, {"impressions": "views", "clicks": "clicks", "status": "nothing"})

    assert record == {"id": "p", "impressions": Decimal(5), "status": None}
