"""Remembers, beside the wallets, which of them were given a record of the ledger, in which currency.

A platform that saves a whole wallet may drop the record in it. What is remembered here, and each of our statement
lines, is evidence that the record was there, also where the ledger never heard of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pymongo import UpdateOne

from reconciler.config.mapping import MappingSettings
from reconciler.domain.effects import WalletPosition
from reconciler.mongo.connection import Connection

CREATED_BY = "payout-reconciler"
"""Who wrote our statement lines."""


class WalletRecords:
    """One document a wallet and currency in the collection ``reconciler_state``."""

    def __init__(self, connection: Connection, mapping: MappingSettings) -> None:
        self._state = connection.database[mapping.collections.state]
        self._lines = connection.database[mapping.collections.transactions]
        self._names = mapping.transactions

    def known(self, positions: Sequence[WalletPosition]) -> set[tuple[str, str]]:
        """Return those (streamer, currency) whose wallet was once given a record, or credited."""
        by_id = {_id(one.streamer_id, one.currency): (one.streamer_id, one.currency) for one in positions}
        found = {by_id[document["_id"]] for document in self._state.find({"_id": {"$in": sorted(by_id)}}, {"_id": 1})}
        names = self._names
        ours = {
            names.user_id: {"$in": sorted({one.streamer_id for one in positions})},
            names.created_by: CREATED_BY,
        }
        for line in self._lines.find(ours, {"_id": 0, names.user_id: 1, names.currency: 1}):
            found.add((str(line.get(names.user_id)), str(line.get(names.currency))))
        return found & set(by_id.values())

    def remember(self, positions: Iterable[WalletPosition]) -> None:
        """Record that these wallets carry a record of the ledger."""
        updates = [
            UpdateOne(
                {"_id": _id(one.streamer_id, one.currency)},
                {"$setOnInsert": {"userId": one.streamer_id, "currency": one.currency}},
                upsert=True,
            )
            for one in positions
        ]
        if updates:
            self._state.bulk_write(updates, ordered=False)


def _id(streamer_id: str, currency: str) -> str:
    return f"wallet:{currency}:{streamer_id}"
