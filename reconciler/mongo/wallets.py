"""The wallet: the one document that others write too, so it is only ever added to.

The wallet keeps, per currency, what the ledger had said so far and under which version. One update adds the difference
to the shared fields and stores the new cumulative amounts: applied twice, late or out of order it ends right.

Only a wallet that carries this record is credited. One that carries none gets an empty record first, and MongoDB
remembers elsewhere that it did, before anything is added. A record that is missing later was therefore lost. Such a
wallet is blocked; nobody guesses that nothing was credited to it (docs/decisions/0054).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from pymongo import UpdateOne

from reconciler.config.mapping import MappingSettings
from reconciler.domain.effects import Obstacle, WalletPosition
from reconciler.domain.money import AMOUNT_MINOR_MAX, minor_digits, minor_per_major
from reconciler.mongo.connection import Connection, Document
from reconciler.mongo.refusals import WriteRefusal, write_each
from reconciler.mongo.values import whole_number
from reconciler.mongo.wallet_records import WalletRecords

SHARED_MINOR_MAX = 10**15
"""Largest shared amount that is added to. MongoDB takes 15 digits of a double into a decimal sum, so a larger one would
lose minor units; and a sum beyond 34 digits, rounded to the minor unit, is NaN."""

EARNED = "totalEarnings"
"""In the record of a currency: what the wallet's shared total must not fall below, as our last write left it."""

# A test of a field also holds for an array of which one element passes, and an array cannot be added to.
_NO_ARRAY: Document = {"$not": {"$type": "array"}}


def _between(lowest: int, highest: int) -> Document:
    """Matches numbers of that range only: null, NaN, text and missing fields fail a range test on both sides."""
    return {"$gte": lowest, "$lte": highest} | _NO_ARRAY


_MINOR = _between(-AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credited:
    """A wallet that has seen the version asked for, or a later one."""

    wallet_id: Any
    version: int


Outcome = Credited | Obstacle | WriteRefusal

_AMBIGUOUS: Document = {}
"""Stands for the wallets of a user with more than one."""


class Wallets:
    """Projects positions onto wallets. The caller translates the driver's errors."""

    def __init__(self, connection: Connection, mapping: MappingSettings, *, default_currency: str) -> None:
        self._collection = connection.database[mapping.collections.wallets]
        self._names = mapping.wallets
        self._records = WalletRecords(connection, mapping)
        self._default_currency = default_currency

    def project(self, positions: Sequence[WalletPosition]) -> dict[tuple[str, str], Outcome]:
        """Bring wallets to the positions given; returns for each (streamer, currency) what was read back."""
        if not positions:
            return {}
        wallets = self._read(positions)
        going = [one for one in positions if wallets.get(one.streamer_id) is not _AMBIGUOUS]
        refused, lost = self._give_records(going, wallets)
        going = [one for one in going if _key(one) not in refused]
        refused |= self._write(going)
        wallets = self._read(positions)
        return {
            _key(one): refused[_key(one)] if _key(one) in refused else self._outcome(one, wallets, lost)
            for one in positions
        }

    def _give_records(
        self, positions: Sequence[WalletPosition], wallets: Mapping[str, Document]
    ) -> tuple[dict[tuple[str, str], WriteRefusal], set[tuple[str, str]]]:
        """See to it that wallets carry a record, and that MongoDB remembers so, before anything is added to them.

        Returns whose wallet MongoDB refuses to write, and whose has lost its record.
        """
        unheard = [one for one in positions if not one.acknowledged_version]
        known = self._records.known(unheard)
        lacking = [one for one in positions if self._lacks_record(one, wallets)]
        lost = {_key(one) for one in lacking if one.acknowledged_version or _key(one) in known}
        new = [one for one in lacking if _key(one) not in lost]
        empty = [replace(one, available_minor=0, held_minor=0, version=0) for one in new]
        refused = self._write(empty, are_first=True)
        if new:
            wallets = {**wallets, **self._read(new)}
        # Also of those that took theirs before: a process may have died between the two writes.
        new = [one for one in unheard if _key(one) not in known and one.streamer_id in wallets]
        self._records.remember([one for one in new if not self._lacks_record(one, wallets)])
        return refused, lost

    def _lacks_record(self, position: WalletPosition, wallets: Mapping[str, Document]) -> bool:
        wallet = wallets.get(position.streamer_id)
        return wallet is not None and _stored(wallet.get(self._names.ledger), position.currency) is None

    def _write(
        self, positions: Sequence[WalletPosition], *, are_first: bool = False
    ) -> dict[tuple[str, str], WriteRefusal]:
        _, refused = write_each(self._collection, [self._update(one, is_first=are_first) for one in positions])
        return {_key(positions[place]): refusal for place, refusal in refused.items()}

    def _update(self, position: WalletPosition, *, is_first: bool) -> UpdateOne:
        names, currency = self._names, position.currency
        stored = f"{names.ledger}.{currency}"
        is_older: Document = {
            stored: _NO_ARRAY,
            f"{stored}.version": _between(0, position.version - 1),
            # Were a lost amount taken for 0, all that was ever credited would be credited again.
            f"{stored}.availableMinor": _MINOR,
            f"{stored}.heldMinor": _MINOR,
        }
        has_none: Document = {stored: {"$exists": False}}
        currencies = [currency, None] if currency == self._default_currency else [currency]
        query: Document = {
            names.user_id: {"$eq": position.streamer_id} | _NO_ARRAY,
            names.wallet_type: {"$eq": "streamer"} | _NO_ARRAY,
            names.is_active: {"$eq": True} | _NO_ARRAY,
            names.currency: {"$in": currencies} | _NO_ARRAY,
            "$and": [
                has_none if is_first else is_older,
                {"$or": [{names.ledger: {"$exists": False}}, {names.ledger: {"$type": "object"} | _NO_ARRAY}]},
            ],
        }
        major_max = SHARED_MINOR_MAX // minor_per_major(currency)
        query |= dict.fromkeys(self._shared(), _between(-major_max, major_max))
        return UpdateOne(query, [{"$set": self._assignments(position)}])

    def _assignments(self, position: WalletPosition) -> Document:
        names, stored = self._names, f"{self._names.ledger}.{position.currency}"
        available, held = Int64(position.available_minor), Int64(position.held_minor)
        more_available = {"$subtract": [available, {"$toLong": {"$ifNull": [f"${stored}.availableMinor", 0]}}]}
        more_held = {"$subtract": [held, {"$toLong": {"$ifNull": [f"${stored}.heldMinor", 0]}}]}
        both = {"$add": [more_available, more_held]}
        # Not what it is, where it fell since we wrote it: a credit that somebody wrote over stays missing until mended.
        earned, before = f"${names.total_earnings}", f"${stored}.{EARNED}"
        most = {"$cond": [{"$isNumber": before}, {"$max": [earned, before]}, earned]}
        return {
            names.withdrawable_balance: _added(f"${names.withdrawable_balance}", more_available, position.currency),
            names.held_balance: _added(f"${names.held_balance}", more_held, position.currency),
            names.balance: _added(f"${names.balance}", both, position.currency),
            names.total_earnings: _added(earned, both, position.currency),
            f"{stored}.{EARNED}": _added(most, both, position.currency),
            f"{stored}.availableMinor": available,
            f"{stored}.heldMinor": held,
            f"{stored}.version": Int64(position.version),
        }

    def _shared(self) -> tuple[str, ...]:
        names = self._names
        return names.withdrawable_balance, names.held_balance, names.balance, names.total_earnings

    def _read(self, positions: Sequence[WalletPosition]) -> dict[str, Document]:
        names = self._names
        fields = (names.user_id, names.wallet_type, names.is_active, names.currency, names.ledger)
        found: dict[str, Document] = {}
        query = {names.user_id: {"$in": sorted({one.streamer_id for one in positions})}}
        for wallet in self._collection.find(query, dict.fromkeys(fields, 1)):
            user_id = wallet[names.user_id]
            # A list of users is nobody's. Of a user's wallets only that of the streamer counts.
            if isinstance(user_id, str) and (user_id not in found or self._is_streamers(wallet)):
                is_second = user_id in found and self._is_streamers(found[user_id])
                found[user_id] = _AMBIGUOUS if is_second else wallet
        return found

    def _is_streamers(self, wallet: Document) -> bool:
        return wallet is _AMBIGUOUS or wallet.get(self._names.wallet_type) == "streamer"

    def _outcome(
        self, position: WalletPosition, wallets: Mapping[str, Document], lost: Set[tuple[str, str]]
    ) -> Outcome:
        names, wallet = self._names, wallets.get(position.streamer_id)
        if wallet is None:
            return Obstacle.WALLET_MISSING
        if wallet is _AMBIGUOUS:
            return Obstacle.WALLET_AMBIGUOUS
        stored = _stored(wallet.get(names.ledger), position.currency)
        if stored is not None and stored >= position.version:
            return Credited(wallet_id=wallet["_id"], version=stored)
        if wallet.get(names.wallet_type) != "streamer":
            return Obstacle.WALLET_TYPE
        if wallet.get(names.is_active) is not True:
            return Obstacle.WALLET_INACTIVE
        if (wallet.get(names.currency) or self._default_currency) != position.currency:
            return Obstacle.WALLET_CURRENCY
        return Obstacle.BASELINE_LOST if _key(position) in lost else Obstacle.WALLET_MALFORMED


def _key(position: WalletPosition) -> tuple[str, str]:
    return position.streamer_id, position.currency


def _added(before: str | Document, more_minor: Document, currency: str) -> Document:
    """An amount plus so many minor units, rounded to the minor unit, in the type that the amount has.

    Added in decimal: a double's binary dust is rounded away and never accumulates.
    """
    major = {"$divide": [{"$toDecimal": more_minor}, _decimal(minor_per_major(currency))]}
    total = {"$round": [{"$add": [before, major]}, minor_digits(currency)]}
    in_its_type = {"$cond": [{"$eq": [{"$type": before}, "decimal"]}, "$$total", {"$toDouble": "$$total"}]}
    return {"$let": {"vars": {"total": total}, "in": in_its_type}}


@cache
def _decimal(number: int) -> Decimal128:
    """Making one costs more than all the rest of an update."""
    return Decimal128(str(number))


def _stored(ledger: object, currency: str) -> int | None:
    """The version that a wallet says it has seen; None when it says none."""
    of_currency = ledger.get(currency) if isinstance(ledger, Mapping) else None
    return whole_number(of_currency.get("version")) if isinstance(of_currency, Mapping) else None
