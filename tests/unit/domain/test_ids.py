"""Identities keep their type, order as MongoDB orders them, and make keys that never change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.ids import (
    ID_LENGTH_MAX,
    DocumentId,
    IdKind,
    fund_key,
    parse_id,
    payout_fingerprint,
    payout_key,
    statement_line_id,
    tie_break,
)
from reconciler.domain.parsing import Unreadable
from tests.support.values import bson_values

HEX = "64b000000000000000000001"
OBJECT_ID = DocumentId(IdKind.OBJECT_ID, HEX)
STRING_ID = DocumentId(IdKind.STRING, HEX)
IDENTITY = {
    "participation_id": OBJECT_ID,
    "campaign_id": DocumentId(IdKind.OBJECT_ID, "64b000000000000000000002"),
    "streamer_id": "64b000000000000000000003",
    "currency": "INR",
    "n": 1,
}


def test_an_object_id_and_a_string_of_the_same_hex_are_two_documents() -> None:
    assert OBJECT_ID != STRING_ID
    assert OBJECT_ID.tagged == f"oid:{HEX}"
    assert STRING_ID.tagged == f"str:{HEX}"
    assert str(OBJECT_ID) == str(STRING_ID) == HEX
    assert payout_key(OBJECT_ID, 1) != payout_key(STRING_ID, 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (OBJECT_ID, OBJECT_ID),
        (HEX, STRING_ID),
        (" ", DocumentId(IdKind.STRING, " ")),
        ("oid:x", DocumentId(IdKind.STRING, "oid:x")),
        ("x" * ID_LENGTH_MAX, DocumentId(IdKind.STRING, "x" * ID_LENGTH_MAX)),
    ],
)
def test_an_identity_is_an_object_id_or_a_string(value: object, expected: DocumentId) -> None:
    assert parse_id(value) == expected


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "is missing"),
        (7, "is a int, not an ObjectId or a string"),
        (b"x", "is a bytes, not an ObjectId or a string"),
        (["x"], "is a list, not an ObjectId or a string"),
        ({}, "is a dict, not an ObjectId or a string"),
        (True, "is a bool, not an ObjectId or a string"),
        ("", "is an empty string"),
        ("x" * (ID_LENGTH_MAX + 1), "is longer than 200 characters"),
        ("\x00" * (ID_LENGTH_MAX + 1), "is longer than 200 characters"),
        ("a\x00b", "contains a NUL character, which SQL text cannot hold"),
    ],
)
def test_what_cannot_identify_a_document_is_refused_with_the_reason(value: object, why: str) -> None:
    assert parse_id(value) == Unreadable(why)


def test_strings_come_before_object_ids_as_in_mongodb() -> None:
    tagged = ["oid:00", "str:b", "oid:ff", "str:a", "str:", "str:oid:"]

    assert sorted(tagged, key=tie_break) == ["str:", "str:a", "str:b", "str:oid:", "oid:00", "oid:ff"]


def test_keys_are_what_they_have_always_been() -> None:
    assert payout_key(OBJECT_ID, 1) == f"payout:oid:{HEX}:1"
    assert payout_key(STRING_ID, 12) == f"payout:str:{HEX}:12"
    assert fund_key(OBJECT_ID, 3) == f"fund:oid:{HEX}:3"


def test_the_id_of_a_statement_line_is_what_it_has_always_been() -> None:
    # printf 'payout:oid:64b000000000000000000001:1' | sha256sum | cut -c1-24
    assert statement_line_id(payout_key(OBJECT_ID, 1)) == "3e6f46fb5325de8889e697aa"


def test_the_fingerprint_is_what_it_has_always_been() -> None:
    # printf 'oid:64b…01\noid:64b…02\n64b…03\nINR\n1' | sha256sum: ledgers hold it, so it may never change
    assert payout_fingerprint(**IDENTITY) == "6079eb0587080a6576fe0b5260fc5d689dac1cd22edd12a2dc533052205c15b7"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("participation_id", STRING_ID),
        ("campaign_id", OBJECT_ID),
        ("streamer_id", "64b000000000000000000004"),
        ("currency", "USD"),
        ("n", 2),
    ],
)
def test_every_part_of_the_identity_is_in_the_fingerprint(name: str, other: object) -> None:
    changed = IDENTITY | {name: other}

    assert payout_fingerprint(**changed) != payout_fingerprint(**IDENTITY)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "x", "int:5", "OID:00", f"payout:oid:{HEX}:1"])
def test_text_that_was_never_written_is_not_read_back(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid IdKind"):
        DocumentId.from_tagged(text)


@given(bson_values())
def test_no_value_makes_reading_an_identity_raise(value: object) -> None:
    parsed = parse_id(value)

    assert isinstance(parsed, DocumentId | Unreadable)
    if isinstance(parsed, DocumentId) and not isinstance(value, DocumentId):
        assert parsed.value == value
        assert 0 < len(parsed.value) <= ID_LENGTH_MAX


@given(st.sampled_from(IdKind), st.text(max_size=ID_LENGTH_MAX))
def test_a_tagged_identity_reads_back_as_itself(kind: IdKind, value: str) -> None:
    document_id = DocumentId(kind, value)

    assert DocumentId.from_tagged(document_id.tagged) == document_id


@given(st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=2))
def test_strings_order_by_their_bytes_as_in_mongodb(texts: list[str]) -> None:
    by_tag = sorted((f"str:{text}" for text in texts), key=tie_break)

    assert by_tag == [f"str:{text}" for text in sorted(texts, key=str.encode)]
