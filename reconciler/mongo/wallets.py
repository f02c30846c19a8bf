"""The wallet: the one document that others write too, so it is only ever added to.

The wallet keeps, per currency, what the ledger had said so far and under which version. One update adds the difference
to the shared fields and stores the new cumulative amounts: applied twice, late or out of order it ends right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from pymongo import UpdateOne
from pymongo.collection import Collection

from reconciler.config.mapping import WalletFields
from reconciler.domain.effects import Obstacle, WalletPosition
from reconciler.domain.money import AMOUNT_MINOR_MAX, minor_digits, minor_per_major
from reconciler.mongo.connection import Document
from reconciler.mongo.values import whole_number

SHARED_MINOR_MAX = 10**15
"""Largest shared amount that is added to. MongoDB takes 15 digits of a double into a decimal sum, so a larger one would
lose minor units; and a sum beyond 34 digits, rounded to the minor unit, is NaN."""

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


class Wallets:
    """Projects positions onto wallets. The caller translates the driver's errors."""

    def __init__(self, collection: Collection[Document], names: WalletFields, *, default_currency: str) -> None:
        self._collection = collection
        self._names = names
        self._default_currency = default_currency

    def project(self, positions: Sequence[WalletPosition]) -> dict[tuple[str, str], Credited | Obstacle]:
        """Bring wallets to the positions given; answers for each (streamer, currency) what was read back."""
        if not positions:
            return {}
        self._collection.bulk_write([self._update(position) for position in positions], ordered=False)
        wallets = self._read([position.streamer_id for position in positions])
        return {
            (position.streamer_id, position.currency): self._outcome(position, wallets.get(position.streamer_id))
            for position in positions
        }

    def _update(self, position: WalletPosition) -> UpdateOne:
        names, currency = self._names, position.currency
        stored = f"{names.ledger}.{currency}"
        is_older: Document = {
            stored: _NO_ARRAY,
            f"{stored}.version": _between(0, position.version - 1),
            # Were a lost amount taken for 0, all that was ever credited would be credited again.
            f"{stored}.availableMinor": _MINOR,
            f"{stored}.heldMinor": _MINOR,
        }
        # With nothing stored, adding the whole position is right only while no wallet ever acknowledged one.
        allowed = [is_older] if position.acknowledged_version else [is_older, {stored: {"$exists": False}}]
        currencies = [currency, None] if currency == self._default_currency else [currency]
        query: Document = {
            names.user_id: {"$eq": position.streamer_id} | _NO_ARRAY,
            names.wallet_type: {"$eq": "streamer"} | _NO_ARRAY,
            names.is_active: {"$eq": True} | _NO_ARRAY,
            names.currency: {"$in": currencies} | _NO_ARRAY,
            "$and": [
                {"$or": allowed},
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
        return {
            names.withdrawable_balance: _added(names.withdrawable_balance, more_available, position.currency),
            names.held_balance: _added(names.held_balance, more_held, position.currency),
            names.balance: _added(names.balance, both, position.currency),
            names.total_earnings: _added(names.total_earnings, both, position.currency),
            f"{stored}.availableMinor": available,
            f"{stored}.heldMinor": held,
            f"{stored}.version": Int64(position.version),
        }

    def _shared(self) -> tuple[str, ...]:
        names = self._names
        return names.withdrawable_balance, names.held_balance, names.balance, names.total_earnings

    def _read(self, streamer_ids: Sequence[str]) -> dict[str, Document]:
        names = self._names
        fields = (names.user_id, names.wallet_type, names.is_active, names.currency, names.ledger, *self._shared())
        found: dict[str, Document] = {}
        query = {names.user_id: {"$in": sorted(set(streamer_ids))}}
        for wallet in self._collection.find(query, dict.fromkeys(fields, 1)):
            user_id = wallet[names.user_id]
            # One user has one wallet; should there be more, the streamer's is the one that counts. A list of users
            # is nobody's.
            if isinstance(user_id, str) and (user_id not in found or wallet.get(names.wallet_type) == "streamer"):
                found[user_id] = wallet
        return found

    def _outcome(self, position: WalletPosition, wallet: Document | None) -> Credited | Obstacle:
        names = self._names
        if wallet is None:
            return Obstacle.WALLET_MISSING
        stored = _stored(wallet.get(names.ledger), position.currency)
        if stored is not None and stored >= position.version:
            return Credited(wallet_id=wallet["_id"], version=stored)
        if wallet.get(names.wallet_type) != "streamer":
            return Obstacle.WALLET_TYPE
        if wallet.get(names.is_active) is not True:
            return Obstacle.WALLET_INACTIVE
        if (wallet.get(names.currency) or self._default_currency) != position.currency:
            return Obstacle.WALLET_CURRENCY
        if stored is None and position.acknowledged_version:
            return Obstacle.BASELINE_LOST
        return Obstacle.WALLET_MALFORMED


def _added(field: str, more_minor: Document, currency: str) -> Document:
    """``field`` plus so many minor units, rounded to the minor unit, in the type that the field has.

    Added in decimal: a double's binary dust is rounded away and never accumulates.
    """
    major = {"$divide": [{"$toDecimal": more_minor}, _decimal(minor_per_major(currency))]}
    total = {"$round": [{"$add": [f"${field}", major]}, minor_digits(currency)]}
    in_its_type = {"$cond": [{"$eq": [{"$type": f"${field}"}, "decimal"]}, "$$total", {"$toDouble": "$$total"}]}
    return {"$let": {"vars": {"total": total}, "in": in_its_type}}


@cache
def _decimal(number: int) -> Decimal128:
    """Making one costs more than all the rest of an update."""
    return Decimal128(str(number))


def _stored(ledger: object, currency: str) -> int | None:
    """The version that a wallet says it has seen; None when it says none."""
    of_currency = ledger.get(currency) if isinstance(ledger, Mapping) else None
    return whole_number(of_currency.get("version")) if isinstance(of_currency, Mapping) else None
