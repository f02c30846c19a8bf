"""What MongoDB remembers of the ledger, so that a restored backup of it is noticed before it pays anybody again."""

from __future__ import annotations

from collections.abc import Callable

from pymongo import ReturnDocument

from reconciler.config.mapping import MappingSettings
from reconciler.errors import InvariantBroken
from reconciler.mongo.connection import Connection
from reconciler.mongo.driver_errors import translated
from reconciler.mongo.refusals import in_its_words
from reconciler.mongo.values import to_plain, whole_number
from reconciler.ports.ledger_guard import LedgerPosition

_ID = "ledger"


class MongoLedgerGuard:
    """One document in the collection ``reconciler_state``: the ledger's identity, and its last projected sequence.

    ``position`` reads the ledger's own; it is asked anew each time, since the ledger may be swapped.
    """

    def __init__(
        self,
        connection: Connection,
        mapping: MappingSettings,
        *,
        position: Callable[[], LedgerPosition],
    ) -> None:
        self._collection = connection.database[mapping.collections.state]
        self._position = position

    def check(self) -> None:
        """Raises InvariantBroken("ledger_behind") when MongoDB has seen a later sequence, or another ledger."""
        with translated():
            state = self._collection.find_one({"_id": _ID})
        if state is None:
            return
        ledger = self._position()
        told_by = state.get("ledger_id")
        if told_by != ledger.ledger_id:
            raise _other_ledger(told_by, ledger.ledger_id)
        sequence = whole_number(state.get("sequence", 0))
        if sequence is None:
            raise InvariantBroken(
                "ledger_behind", "reconciler_state does not say in a number up to which sequence MongoDB was told"
            )
        if sequence > ledger.sequence:
            raise InvariantBroken(
                "ledger_behind",
                f"MongoDB was told of sequence {sequence}, and this ledger ends at {ledger.sequence}: "
                "an older copy of it was put in place",
            )

    def advance(self, sequence: int) -> None:
        """Record the ledger's last sequence. Raises InvariantBroken when another ledger has written there."""
        ledger_id = self._position().ledger_id
        with translated(), in_its_words():
            state = self._collection.find_one_and_update(
                {"_id": _ID},
                {"$setOnInsert": {"ledger_id": ledger_id}, "$max": {"sequence": sequence}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        told_by = state.get("ledger_id") if state else ledger_id
        if told_by != ledger_id:
            raise _other_ledger(told_by, ledger_id)

    def take_over(self) -> None:
        """Make this ledger the one that counts: a person's decision, after what it lacks was recovered."""
        ledger = self._position()
        with translated():
            self._collection.replace_one(
                {"_id": _ID}, {"_id": _ID, "ledger_id": ledger.ledger_id, "sequence": ledger.sequence}, upsert=True
            )


def _other_ledger(told_by: object, ledger_id: str) -> InvariantBroken:
    return InvariantBroken(
        "ledger_behind", f"MongoDB was told by the ledger {to_plain(told_by)}, and this one is {ledger_id}"
    )
