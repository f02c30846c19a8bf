"""What MongoDB remembers of the ledger, so that an older copy of it neither pays again nor falls silent."""

from __future__ import annotations

from collections.abc import Callable

from pymongo import ReturnDocument

from reconciler.config.mapping import MappingSettings
from reconciler.errors import InvariantBroken
from reconciler.mongo.connection import Connection, translated

_ID = "ledger"


class LedgerState:
    """One document in the collection ``reconciler_state``: the ledger's identity and the last sequence told of it.

    ``identity`` and ``sequence`` read the ledger's own; they are asked anew each time, since it may be swapped.
    """

    def __init__(
        self,
        connection: Connection,
        mapping: MappingSettings,
        *,
        identity: Callable[[], str],
        sequence: Callable[[], int],
    ) -> None:
        self._collection = connection.database[mapping.collections.state]
        self._identity = identity
        self._sequence = sequence

    def check(self) -> None:
        """Raises InvariantBroken("ledger_behind") when MongoDB has seen a later sequence, or another ledger."""
        with translated():
            state = self._collection.find_one({"_id": _ID})
        if state is None:
            return
        ledger_id, sequence = self._identity(), self._sequence()
        if state.get("ledger_id") != ledger_id:
            raise InvariantBroken(
                "ledger_behind", f"MongoDB was told by the ledger {state.get('ledger_id')}, and this one is {ledger_id}"
            )
        if state.get("sequence", 0) > sequence:
            raise InvariantBroken(
                "ledger_behind",
                f"MongoDB was told of sequence {state.get('sequence')}, and this ledger ends at {sequence}: "
                "an older copy of it was put in place",
            )

    def advance(self, sequence: int) -> None:
        """Write down how far the ledger is. Raises InvariantBroken when another ledger has written there."""
        ledger_id = self._identity()
        with translated():
            state = self._collection.find_one_and_update(
                {"_id": _ID},
                {"$setOnInsert": {"ledger_id": ledger_id}, "$max": {"sequence": sequence}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        told_by = state["ledger_id"] if state else ledger_id
        if told_by != ledger_id:
            raise InvariantBroken(
                "ledger_behind", f"MongoDB was told by the ledger {told_by}, and this one is {ledger_id}"
            )

    def take_over(self) -> None:
        """Make this ledger the one that counts: a person's decision, after what it lacks was recovered."""
        with translated():
            self._collection.replace_one(
                {"_id": _ID}, {"_id": _ID, "ledger_id": self._identity(), "sequence": self._sequence()}, upsert=True
            )
