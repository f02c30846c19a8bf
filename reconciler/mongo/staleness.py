"""Whether MongoDB still shows what was projected: people and other programs change documents afterwards."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from bson.objectid import ObjectId

from reconciler.config.mapping import MappingSettings
from reconciler.domain.effects import ProjectionTask, TaskKind
from reconciler.domain.ids import statement_line_id
from reconciler.domain.money import parse_amount_minor
from reconciler.mongo.connection import Connection, Document
from reconciler.mongo.driver_errors import translated
from reconciler.mongo.gkeys import LOCK_TOLERANCE
from reconciler.mongo.values import to_bson_id, to_plain


class Staleness:
    """Compares documents with payouts whose effects were all applied. Raises Outage when MongoDB does not answer."""

    def __init__(self, connection: Connection, mapping: MappingSettings) -> None:
        collections = mapping.collections
        self._names = mapping
        self._participations = connection.database[collections.participations]
        self._transactions = connection.database[collections.transactions]
        self._wallets = connection.database[collections.wallets]
        self._gkeys = connection.database[collections.gkeys]

    def find(self, tasks: Sequence[ProjectionTask]) -> Mapping[int, str]:
        """Sequence → which effect is no longer shown as it was projected, in words; payouts in order are absent."""
        if not tasks:
            return {}
        found: dict[int, list[str]] = defaultdict(list)
        with translated():
            for sequence, what in (
                *self._participation(tasks),
                *self._statement(tasks),
                *self._keys(tasks),
            ):
                found[sequence].append(what)
        return {sequence: ", ".join(what) for sequence, what in found.items()}

    def negative_wallets(self, streamer_ids: Iterable[str]) -> list[str]:
        """Streamers of some whose withdrawable balance lies below zero, as after a reversal of what was withdrawn."""
        names = self._names.wallets
        query = {
            names.user_id: {"$in": sorted(set(streamer_ids))},
            names.wallet_type: "streamer",
            names.withdrawable_balance: {"$lt": 0, "$gt": -math.inf},
        }
        with translated():
            return sorted(str(wallet[names.user_id]) for wallet in self._wallets.find(query, {names.user_id: 1}))

    def _participation(self, tasks: Sequence[ProjectionTask]) -> Iterable[tuple[int, str]]:
        names = self._names.participations
        fields = (names.status, names.completion_reason, names.final_earnings, names.final_earnings_transferred)
        tasks = [task for task in tasks if task.kind is not TaskKind.HOLD_RELEASE]
        wanted = [to_bson_id(task.participation_id) for task in tasks]
        documents = {
            document["_id"]: document
            for document in self._participations.find({"_id": {"$in": wanted}}, dict.fromkeys(fields, 1))
        }
        for task, raw in zip(tasks, wanted, strict=True):
            document = documents.get(raw)
            if document is None:
                yield task.sequence, "participation: gone"
                continue
            expected = {
                names.status: "completed",
                names.completion_reason: task.shown.rule,
                names.final_earnings_transferred: True,
            }
            for field, value in expected.items():
                if document.get(field) != value:
                    yield task.sequence, f"participation: {field}"
            shown = parse_amount_minor(to_plain(document.get(names.final_earnings)), task.currency)
            if shown != task.shown.amount_minor:
                yield task.sequence, f"participation: {names.final_earnings}"

    def _statement(self, tasks: Sequence[ProjectionTask]) -> Iterable[tuple[int, str]]:
        lines = {ObjectId(statement_line_id(task.key)): task for task in tasks if task.amount_minor != 0}
        amount = self._names.transactions.amount
        found = self._transactions.find({"_id": {"$in": list(lines)}}, {amount: 1})
        shown = {line["_id"]: line.get(amount) for line in found}
        for line_id, task in lines.items():
            if line_id not in shown:
                yield task.sequence, "transaction: missing"
            elif parse_amount_minor(to_plain(shown[line_id]), task.currency) != task.amount_minor:
                yield task.sequence, f"transaction: {amount}"

    def _keys(self, tasks: Sequence[ProjectionTask]) -> Iterable[tuple[int, str]]:
        names = self._names.gkeys
        query = {
            names.user_id: {"$in": sorted({task.streamer_id for task in tasks})},
            names.status: "locked",
            names.locked_with: {"$in": sorted({task.campaign_id.value for task in tasks})},
        }
        locked: dict[tuple[str, str], list[Document]] = defaultdict(list)
        for key in self._gkeys.find(query, {names.user_id: 1, names.locked_with: 1, names.locked_at: 1}):
            locked[str(key[names.user_id]), str(key[names.locked_with])].append(key)
        for task in (task for task in tasks if task.kind is TaskKind.PAYOUT):
            for key in locked[task.streamer_id, task.campaign_id.value]:
                locked_at = key.get(names.locked_at)
                if not isinstance(locked_at, datetime):
                    continue  # Projecting it again says so: `gkey_malformed`.
                is_later = locked_at > task.paid_at + LOCK_TOLERANCE
                yield (
                    task.sequence,
                    "gkey: locked after the payment" if is_later else "gkey: still locked",
                )
