"""Double entry: accounts by name, postings that sum to zero, entries with a permanent key.

An account's balance is the plain sum of its postings: escrow, wallets and fees grow with what they hold, a brand's
funding goes below zero by what the brand put in, and all accounts of a currency together are always zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.domain.ids import DocumentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One leg of an entry: so many minor units onto an account (negative: off it)."""

    account: str
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Postings of one currency that sum to zero, under a key that is used once, ever."""

    key: str
    kind: str
    currency: str
    reason: str
    postings: tuple[Posting, ...]
    campaign_id: str | None = None
    participation_id: str | None = None
    streamer_id: str | None = None
    corrects: str | None = None
    """Key of the entry that this one corrects."""

    def __post_init__(self) -> None:
        if len(self.postings) < 2 or sum(posting.amount_minor for posting in self.postings) != 0:
            raise ValueError(f"the postings of {self.key} do not sum to zero")


BALANCE_MINOR_MAX = 2**63 - 2**54
"""Furthest from zero that a batch takes a balance: a little less than the ledger's columns hold."""


class BalanceLimits:
    """Balances as a batch goes on, and which account would be taken too far.

    A streamer's two accounts count together: what is held goes to the wallet one day.
    """

    def __init__(self, balance_minor: Mapping[tuple[str, str], int]) -> None:
        self._minor: Counter[tuple[str, str]] = Counter()
        for (account, currency), minor in balance_minor.items():
            self._minor[_pot(account), currency] += minor

    def lacking(self, entry: Entry) -> str | None:
        """The account that has no room for an entry; None when all have."""
        for posting in entry.postings:
            before = self._minor[_pot(posting.account), entry.currency]
            if abs(before + posting.amount_minor) > max(BALANCE_MINOR_MAX, abs(before)):
                return posting.account
        return None

    def take(self, entry: Entry) -> None:
        """Count an entry in."""
        for posting in entry.postings:
            self._minor[_pot(posting.account), entry.currency] += posting.amount_minor


FEES = "platform:fees"
"""What the platform keeps of payouts; one account a currency, like all others."""


def escrow(campaign_id: DocumentId) -> str:
    """What a campaign's brand put in and nobody was paid yet."""
    return f"campaign:{campaign_id.tagged}:escrow"


def wallet(streamer_id: str) -> str:
    """What a streamer has been paid and may withdraw, as far as this ledger knows."""
    return f"streamer:{streamer_id}:wallet"


def held(streamer_id: str) -> str:
    """What a streamer has been paid and may not withdraw yet."""
    return f"streamer:{streamer_id}:held"


def funding(brand_id: DocumentId) -> str:
    """Where a brand's money comes from: minus what it put into campaigns."""
    return f"brand:{brand_id.tagged}:funding"


def campaign_of(account: str) -> DocumentId:
    """Whose escrow this is. Raises ValueError for every other account."""
    prefix, _, rest = account.partition(":")
    if prefix != "campaign":
        raise ValueError(f"{account} is no escrow")
    return DocumentId.from_tagged(rest.rpartition(":")[0])


def streamer_of(account: str) -> str | None:
    """Whose wallet or *held* account this is; None for every other account."""
    prefix, _, rest = account.partition(":")
    return rest.rpartition(":")[0] if prefix == "streamer" else None


def kind_of(account: str) -> str:
    """``escrow``, ``wallet``, ``held``, ``funding`` or ``fees``: the last part of an account's name."""
    return account.rpartition(":")[2]


def _pot(account: str) -> str:
    owner = streamer_of(account)
    return account if owner is None else f"streamer:{owner}"
