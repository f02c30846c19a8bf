"""Projects what the ledger decided onto MongoDB: the effects of a payment, in order, each as often as needed.

Every write is idempotent and says what is, not what changed, so a crash between any two of them is mended by doing them
all again. A payout whose effect cannot be applied stops at that effect and holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from bson.objectid import ObjectId
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure

from reconciler.config.mapping import MappingSettings
from reconciler.domain.effects import (
    BlockedEffect,
    Effect,
    Obstacle,
    ProjectionResult,
    ProjectionTask,
    TaskKind,
    WalletPosition,
)
from reconciler.domain.ids import DocumentId, statement_line_id
from reconciler.mongo.campaigns import CampaignCompletion
from reconciler.mongo.connection import Connection, Document
from reconciler.mongo.driver_errors import translated
from reconciler.mongo.gkeys import GKeys
from reconciler.mongo.refusals import WriteRefusal, in_its_words, refusal_of, refused_places, write_each
from reconciler.mongo.staleness import Staleness
from reconciler.mongo.values import to_bson_id, to_document_money
from reconciler.mongo.wallet_records import CREATED_BY
from reconciler.mongo.wallets import Credited, Outcome, Wallets

_DESCRIPTIONS = {
    "earnings_credit": "Earnings of a campaign that was completed",
    "earnings_hold": "Earnings of a campaign that was completed, held for some days",
    "earnings_release": "Held earnings of a campaign, now withdrawable",
    "earnings_reversal": "Earnings of a campaign, taken back",
}


Blocked = Mapping[int, Obstacle | WriteRefusal]
"""Sequence of a task → what stands in the way of an effect of it."""


class MongoProjection:
    """Applies the effects of payouts. Every method raises Outage when MongoDB does not answer."""

    def __init__(self, connection: Connection, mapping: MappingSettings, *, default_currency: str) -> None:
        collections = mapping.collections
        database = connection.database
        self._names = mapping
        self._participations = database[collections.participations]
        self._transactions = database[collections.transactions]
        self._wallets = Wallets(connection, mapping, default_currency=default_currency)
        self._completion = CampaignCompletion(connection, mapping)
        self._staleness = Staleness(connection, mapping)
        self.gkeys = GKeys(database[collections.gkeys], mapping.gkeys)

    def apply(self, tasks: Sequence[ProjectionTask]) -> ProjectionResult:
        """Apply all effects of some payouts. Campaigns are completed by :meth:`complete_campaigns` afterwards."""
        with translated():
            return _Chunk(self, tasks).run()

    def complete_campaigns(self, totals: Mapping[DocumentId, tuple[int, str]]) -> list[DocumentId]:
        """Complete those campaigns of which every participation is settled; returns them.

        ``totals``: campaign → net amount paid in minor units, and its currency.
        """
        with translated(), in_its_words():
            return self._completion.complete(totals)

    def find_stale(self, tasks: Sequence[ProjectionTask]) -> Mapping[int, str]:
        """Find fully projected payouts whose effects in MongoDB have since been changed."""
        return self._staleness.find(tasks)

    def show_positions(self, positions: Sequence[WalletPosition]) -> ProjectionResult:
        """Bring wallets to positions, apart from any payout. What cannot be applied is left for the next time."""
        with translated():
            try:
                outcomes = self._wallets.project(positions)
            except OperationFailure as error:
                if refusal_of(error) is None:
                    raise
                outcomes = {}
        credited = {key: outcome.version for key, outcome in outcomes.items() if isinstance(outcome, Credited)}
        return ProjectionResult(done=(), blocked={}, wallets=credited)

    def negative_wallets(self, streamer_ids: Iterable[str]) -> list[str]:
        """Streamers of some whose withdrawable balance lies below zero."""
        return self._staleness.negative_wallets(streamer_ids)

    def settle_participations(self, tasks: Sequence[ProjectionTask]) -> Blocked:
        """Mark participations as their latest payout says; returns those that are gone or refuse it."""
        names = self._names.participations
        updates = []
        for task in tasks:
            shown = {
                names.status: "completed",
                names.completion_reason: task.shown.rule,
                names.completed_at: task.shown.paid_at,
                names.final_earnings: to_document_money(task.shown.amount_minor, task.currency),
            }
            if task.shown.reversed_at is None:
                update: Document = {"$set": shown, "$unset": {names.earnings_reversed_at: ""}}
            else:
                update = {"$set": shown | {names.earnings_reversed_at: task.shown.reversed_at}}
            updates.append(UpdateOne({"_id": to_bson_id(task.participation_id)}, update))
        matched_count, refused = write_each(self._participations, updates)
        blocked = _refusals(tasks, refused)
        if matched_count + len(refused) == len(tasks):
            return blocked
        wanted = [to_bson_id(task.participation_id) for task in tasks]
        present = set(self._participations.distinct("_id", {"_id": {"$in": wanted}}))
        gone = [task.sequence for task, raw in zip(tasks, wanted, strict=True) if raw not in present]
        return blocked | dict.fromkeys(gone, Obstacle.PARTICIPATION_MISSING)

    def credit_wallets(self, tasks: Sequence[ProjectionTask]) -> dict[tuple[str, str], Outcome]:
        """Bring the wallets of some payouts to what the ledger says of them."""
        positions = {(task.streamer_id, task.currency): task.position for task in tasks}
        return self._wallets.project(list(positions.values()))

    def write_statement_lines(
        self, tasks: Sequence[ProjectionTask], wallet_ids: Mapping[tuple[str, str], object]
    ) -> Blocked:
        """One line a payout, under an identity that follows from its key; nothing for a payout of zero."""
        tasks = [task for task in tasks if task.amount_minor != 0]
        names = self._names.transactions
        lines = [
            UpdateOne(
                {"_id": ObjectId(statement_line_id(task.key))},
                {
                    "$setOnInsert": {
                        names.wallet_id: wallet_ids[task.streamer_id, task.currency],
                        names.user_id: task.streamer_id,
                        names.transaction_type: task.statement_type,
                        names.amount: to_document_money(task.amount_minor, task.currency),
                        names.currency: task.currency,
                        names.status: "completed",
                        names.campaign_id: to_bson_id(task.campaign_id),
                        names.description: _DESCRIPTIONS[task.statement_type],
                        names.metadata: {
                            "payoutKey": task.payout_key,
                            "participationId": to_bson_id(task.participation_id),
                        },
                        names.processed_at: task.posted_at,
                        names.created_by: CREATED_BY,
                    }
                },
                upsert=True,
            )
            for task in tasks
        ]
        return _refusals(tasks, write_each(self._transactions, lines)[1])

    def rest_keys(self, tasks: Sequence[ProjectionTask]) -> Blocked:
        """Send the G-keys of payouts into cool-off."""
        payouts = [task for task in tasks if task.kind is TaskKind.PAYOUT]
        try:
            return dict.fromkeys(self.gkeys.rest(payouts), Obstacle.GKEY_MALFORMED)
        except BulkWriteError as error:
            refused = _refusals(payouts, refused_places(error))
        return dict.fromkeys(self.gkeys.unreadable(payouts), Obstacle.GKEY_MALFORMED) | refused

    def give_receipts(self, tasks: Sequence[ProjectionTask]) -> Blocked:
        """Set the receipt, last: everything else has been applied."""
        names = self._names.participations
        payouts = [task for task in tasks if task.kind is TaskKind.PAYOUT]
        receipts = [
            UpdateOne(
                {"_id": to_bson_id(task.participation_id)},
                {"$set": {names.final_earnings_transferred: True, names.earnings_transferred_at: task.paid_at}},
            )
            for task in payouts
        ]
        return _refusals(payouts, write_each(self._participations, receipts)[1])


class _Chunk:
    """One pass over some payouts: those that are blocked drop out, the others go on to the next effect."""

    def __init__(self, projection: MongoProjection, tasks: Sequence[ProjectionTask]) -> None:
        self._projection = projection
        self._tasks = tasks
        self._blocked: dict[int, BlockedEffect] = {}
        self._credited: dict[tuple[str, str], Credited] = {}

    def run(self) -> ProjectionResult:
        projection = self._projection
        # A deleted participation, or one that refuses it, does not keep its streamer from being credited: it only has
        # no place for a receipt.
        without_place = self._blocked_at(
            Effect.PARTICIPATION, projection.settle_participations, [task for task in self._tasks if _is_shown(task)]
        )
        self._apply(Effect.WALLET, self._credit_wallets)
        wallet_ids = {key: credited.wallet_id for key, credited in self._credited.items()}
        self._apply(Effect.TRANSACTION, lambda tasks: projection.write_statement_lines(tasks, wallet_ids))
        self._apply(Effect.GKEYS, projection.rest_keys)
        self._blocked = without_place | self._blocked
        self._apply(Effect.RECEIPT, projection.give_receipts)
        return ProjectionResult(
            done=[task.sequence for task in self._going()],
            blocked=self._blocked,
            wallets={key: credited.version for key, credited in self._credited.items()},
        )

    def _apply(self, effect: Effect, write: Callable[[Sequence[ProjectionTask]], Blocked]) -> None:
        """Apply an effect of those that nothing stands before yet."""
        self._blocked |= self._blocked_at(effect, write, self._going())

    def _blocked_at(
        self,
        effect: Effect,
        write: Callable[[Sequence[ProjectionTask]], Blocked],
        tasks: Sequence[ProjectionTask],
    ) -> dict[int, BlockedEffect]:
        if not tasks:
            return {}
        try:
            found = dict(write(tasks))
        except OperationFailure as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            # The whole command is refused, by a missing right say: no task of it is better than another.
            found = dict.fromkeys((task.sequence for task in tasks), refusal)
        return {
            sequence: BlockedEffect(effect=effect, obstacle=Obstacle.REFUSED, words=what)
            if isinstance(what, WriteRefusal)
            else BlockedEffect(effect=effect, obstacle=what)
            for sequence, what in found.items()
        }

    def _going(self) -> list[ProjectionTask]:
        return [task for task in self._tasks if task.sequence not in self._blocked]

    def _credit_wallets(self, tasks: Sequence[ProjectionTask]) -> Blocked:
        outcomes = self._projection.credit_wallets(tasks)
        self._credited = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, Credited)}
        found = {task.sequence: outcomes[task.streamer_id, task.currency] for task in tasks}
        return {sequence: outcome for sequence, outcome in found.items() if not isinstance(outcome, Credited)}


def _refusals(
    tasks: Sequence[ProjectionTask], refused: Mapping[int, WriteRefusal]
) -> dict[int, Obstacle | WriteRefusal]:
    return {tasks[place].sequence: refusal for place, refusal in refused.items()}


def _is_shown(task: ProjectionTask) -> bool:
    """Whether the participation says anything of this entry: a release only moves money between two balances."""
    return task.kind is not TaskKind.HOLD_RELEASE
