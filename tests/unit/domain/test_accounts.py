"""Accounts have one name each, and no entry exists that does not sum to zero."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.accounts import Entry, Posting, escrow, funding, held, kind_of, wallet
from reconciler.domain.ids import DocumentId, IdKind
from tests.support.decisions import oid


def entry(*amounts_minor: int) -> Entry:
    postings = tuple(
        Posting(account=f"account:{number}", amount_minor=amount) for number, amount in enumerate(amounts_minor)
    )
    return Entry(key="payout:oid:1:1", kind="payout", currency="INR", reason="a test", postings=postings)


def test_accounts_are_named_as_ledgers_hold_them() -> None:
    hex_id = oid(1).value

    assert escrow(oid(1)) == f"campaign:oid:{hex_id}:escrow"
    assert funding(oid(1)) == f"brand:oid:{hex_id}:funding"
    assert wallet(hex_id) == f"streamer:{hex_id}:wallet"
    assert held(hex_id) == f"streamer:{hex_id}:held"


def test_an_object_id_and_a_string_of_the_same_hex_have_two_accounts() -> None:
    text = DocumentId(IdKind.STRING, oid(1).value)

    assert escrow(oid(1)) != escrow(text)
    assert funding(oid(1)) != funding(text)


@pytest.mark.parametrize(
    ("account", "kind"),
    [
        (escrow(oid(1)), "escrow"),
        (funding(oid(1)), "funding"),
        (wallet("s"), "wallet"),
        (held("s"), "held"),
        (wallet("a:escrow"), "wallet"),  # an identity may hold a colon
        ("platform:fees", "fees"),
    ],
)
def test_the_last_part_of_a_name_is_the_kind(account: str, kind: str) -> None:
    assert kind_of(account) == kind


def test_no_two_accounts_of_one_identity_share_a_name() -> None:
    same = oid(1)
    names = [escrow(same), funding(same), wallet(same.value), held(same.value), wallet(same.tagged)]

    assert all(one != other for one, other in combinations(names, 2))


@pytest.mark.parametrize("amounts_minor", [(-1, 1), (0, 0), (-330_000, 320_000, 10_000), (2**53, -(2**53))])
def test_postings_that_sum_to_zero_make_an_entry(amounts_minor: tuple[int, ...]) -> None:
    assert [posting.amount_minor for posting in entry(*amounts_minor).postings] == list(amounts_minor)


@pytest.mark.parametrize("amounts_minor", [(), (0,), (1,), (1, 1), (-1, 2), (2**53 + 1, -(2**53)), (1, -1, 1)])
def test_what_does_not_sum_to_zero_is_no_entry(amounts_minor: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="the postings of payout:oid:1:1 do not sum to zero"):
        entry(*amounts_minor)


@given(st.lists(st.integers(-(2**53), 2**53), max_size=6))
def test_an_entry_exists_exactly_when_two_or_more_postings_sum_to_zero(amounts_minor: list[int]) -> None:
    balanced = [*amounts_minor, -sum(amounts_minor)]
    if len(balanced) >= 2:
        assert sum(posting.amount_minor for posting in entry(*balanced).postings) == 0
    with pytest.raises(ValueError, match="do not sum to zero"):
        entry(*balanced, 1)
