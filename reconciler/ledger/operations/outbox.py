"""The outbox: entries whose effects are still to be projected, between the ledger and the projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.clock import CLOCKS_DIFFER_MAX, Clock, is_of_the_future
from reconciler.domain import accounts
from reconciler.domain.effects import (
    BlockedEffect,
    Effect,
    Obstacle,
    ProjectionResult,
    ProjectionTask,
    Shown,
    TaskKind,
    WalletPosition,
)
from reconciler.domain.ids import DocumentId
from reconciler.errors import InvariantBroken
from reconciler.ledger import bulk
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.journal.writing import lock_head
from reconciler.ledger.key_lists import among
from reconciler.ledger.operations.events import EventLog
from reconciler.ledger.reads.wallet_positions import account_of, read_positions
from reconciler.ledger.rows import from_row
from reconciler.ledger.schema import entries, outbox, payouts, postings, wallet_positions
from reconciler.ports.outbox import BlockedPayout, OutboxCounts

_reversal = payouts.alias("reversal")


class SqlOutbox:
    """The table ``outbox``. ``blocked_retry``: how long a blocked task waits, since a person has to act first.

    Every write here takes the lock of posting. Both change many wallet positions: without the lock they would deadlock
    on PostgreSQL, and of two acknowledgements the older one could be written last.
    """

    def __init__(
        self, engine: Engine, *, clock: Clock, blocked_retry: timedelta, events: EventLog | None = None
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._events = events or EventLog(engine, clock=clock, subscriptions={})
        self._blocked_retry = blocked_retry

    def ready(self, limit: int) -> list[ProjectionTask]:
        """The oldest tasks whose time has come: those that nothing blocks, and those that were blocked long enough.

        A time further ahead than this program ever writes came from a clock that was wrong, and counts as due.
        """
        now = self._clock()
        latest = now + self._blocked_retry + CLOCKS_DIFFER_MAX
        is_due = (outbox.c.not_before <= now) | (outbox.c.not_before > latest)
        is_ready = (outbox.c.status == "pending") | ((outbox.c.status == "blocked") & is_due)
        with reading(self._engine) as connection:
            return [task for task, _ in _read_tasks(connection, is_ready, limit)]

    def of_entries(self, sequences: Sequence[int]) -> list[ProjectionTask]:
        """The tasks of some entries that are not done."""
        with reading(self._engine) as connection:
            chosen = among(connection, outbox.c.sequence, sequences)
            return [task for task, _ in _read_tasks(connection, chosen & (outbox.c.status != "done"), limit=None)]

    def projected(self, participation_ids: Sequence[str]) -> list[ProjectionTask]:
        """Payouts of participations (tagged) of which MongoDB was told everything."""
        with reading(self._engine) as connection:
            chosen = among(connection, payouts.c.participation_id, participation_ids)
            return [task for task, _ in _read_tasks(connection, chosen & (outbox.c.status == "done"), limit=None)]

    def blocked(self, participation_ids: Sequence[str] | None = None) -> list[BlockedPayout]:
        """Payouts of which an effect cannot be applied; all, or those of participations (tagged)."""
        with reading(self._engine) as connection:
            chosen: sa.ColumnElement[bool] = sa.true()
            if participation_ids is not None:
                chosen = among(connection, payouts.c.participation_id, participation_ids)
            found = _read_tasks(connection, chosen & (outbox.c.status == "blocked"), limit=None)
        return [BlockedPayout(task=task, blocked=_blocked_effect(row.effect, row.obstacle)) for task, row in found]

    def again(self, sequences: Sequence[int]) -> None:
        """Queue entries again, since MongoDB no longer shows their effects.

        The versions of their wallets are raised with it: a wallet that lost a credit takes the difference again.
        """
        now = self._clock()
        with writing(self._engine) as connection:
            lock_head(connection)
            chosen = among(connection, entries.c.sequence, sequences)
            wallets = connection.execute(sa.select(entries.c.streamer_id, entries.c.currency).distinct().where(chosen))
            raised = [
                {"streamer_id": streamer_id, "currency": currency, "version": 1, "projected_version": 0}
                for streamer_id, currency in sorted(wallets)
            ]
            bulk.upsert(connection, wallet_positions, raised, {"version": "wallet_positions.version + 1"})
            pending: dict[str, Any] = {"status": "pending", "attempts": 0, "effect": None, "reason": None}
            times = {"created_at": now, "not_before": now, "done_at": None}
            # A row may be gone: the entry alone says that its effects have to be projected, and the queue only when.
            bulk.upsert(
                connection,
                outbox,
                [{"sequence": sequence, **pending, **times} for sequence in sequences],
                {column: f"excluded.{column}" for column in ("status", "not_before", "done_at")},
            )

    def settle(self, result: ProjectionResult) -> None:
        """Record what became of some tasks: done, blocked, and the wallet versions that were read back."""
        now = self._clock()
        with writing(self._engine) as connection:
            lock_head(connection)
            bulk.update(
                connection,
                outbox,
                [
                    {"sequence": sequence, "status": "done", "effect": None, "reason": None, "done_at": now}
                    for sequence in result.done
                ],
                ("status", "effect", "reason", "done_at"),
            )
            bulk.update(
                connection,
                outbox,
                [
                    {
                        "sequence": sequence,
                        "status": "blocked",
                        "effect": blocked.effect.value,
                        "reason": _reason(blocked),
                        "not_before": now + self._blocked_retry,
                    }
                    for sequence, blocked in result.blocked.items()
                ],
                ("status", "effect", "reason", "not_before"),
            )
            _acknowledge_wallets(connection, result)
            self._events.settled(connection, result)

    def overdue(self, within: timedelta, after: int, limit: int) -> list[ProjectionTask]:
        """Entries after sequence ``after`` that should have been projected by now, and that nothing blocks.

        They are found by the entries themselves: a row of the outbox may be gone, or wait for a time that never comes.
        """
        is_late = _is_not_new(self._clock(), within) & entries.c.kind.in_([kind.value for kind in TaskKind])
        is_unprojected = outbox.c.status.is_(None) | (outbox.c.status == "pending")
        with reading(self._engine) as connection:
            condition = is_late & is_unprojected & (entries.c.sequence > after)
            return [task for task, _ in _read_tasks(connection, condition, limit, also_unqueued=True)]

    def lagging(self, limit: int, within: timedelta | None = None) -> list[WalletPosition]:
        """Positions that no wallet shows yet and no queued entry will project, such as after an adjustment.

        With ``within``: only those whose last change is older.
        """
        table = wallet_positions
        changed_lately = sa.exists().where(
            (postings.c.sequence == entries.c.sequence)
            & postings.c.account.in_([account_of(accounts.wallet), account_of(accounts.held)])
            & (postings.c.currency == table.c.currency)
            & ~_is_not_new(self._clock(), within or timedelta())
        )
        is_queued = sa.exists().where(
            (outbox.c.sequence == entries.c.sequence)
            & (outbox.c.status != "done")
            & (entries.c.streamer_id == table.c.streamer_id)
            & (entries.c.currency == table.c.currency)
        )
        query = (
            sa.select(table.c.streamer_id, table.c.currency)
            .where(
                table.c.projected_version < table.c.version,
                ~is_queued,
                sa.true() if within is None else ~changed_lately,
            )
            .order_by(table.c.streamer_id, table.c.currency)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            keys = [(row.streamer_id, row.currency) for row in connection.execute(query)]
            return list(read_positions(connection, keys).values())

    def counts(self) -> OutboxCounts:
        """How much is still to be projected."""
        with reading(self._engine) as connection:
            return outbox_counts(connection)


def outbox_counts(connection: Connection) -> OutboxCounts:
    """How many payouts, releases and reversals are still to be projected."""
    query = sa.select(outbox.c.status, sa.func.count()).where(outbox.c.status != "done").group_by(outbox.c.status)
    found: dict[str, int] = dict(connection.execute(query).all())
    return OutboxCounts(pending=found.get("pending", 0), blocked=found.get("blocked", 0))


def _reason(blocked: BlockedEffect) -> str:
    """As the column holds it: the obstacle, and MongoDB's words behind it."""
    return f"{blocked.obstacle.value}: {blocked.words}" if blocked.words else blocked.obstacle.value


def _blocked_effect(effect: str, reason: str) -> BlockedEffect:
    obstacle, _, words = reason.partition(": ")
    return BlockedEffect(effect=Effect(effect), obstacle=Obstacle(obstacle), words=words)


def _is_not_new(now: datetime, within: timedelta) -> sa.ColumnElement[bool]:
    """Whether an entry is older than ``within``; one that is dated in the future counts as old."""
    return sa.not_(entries.c.booked_at.between(now - within, now + within))


def _acknowledge_wallets(connection: Connection, result: ProjectionResult) -> None:
    """Keep the newest version that each wallet was read back with.

    A wallet that has seen a version this ledger never gave out was credited by a later copy of it.
    """
    positions = read_positions(connection, sorted(result.wallets))
    newer = []
    for (streamer_id, currency), version in sorted(result.wallets.items()):
        position = positions[streamer_id, currency]
        if version > position.version:
            raise InvariantBroken(
                "ledger_behind",
                f"the wallet of {streamer_id} has seen version {version} in {currency}, "
                f"and the ledger is at {position.version}",
            )
        if version > position.acknowledged_version:
            newer.append({"streamer_id": streamer_id, "currency": currency, "projected_version": version})
    bulk.update(connection, wallet_positions, newer, ("projected_version",))


def _read_tasks(
    connection: Connection, condition: sa.ColumnElement[bool], limit: int | None, *, also_unqueued: bool = False
) -> list[tuple[ProjectionTask, sa.Row[Any]]]:
    """Tasks, each with the row of its payout. ``also_unqueued``: of entries that have no row in the outbox, too."""
    is_its_row = outbox.c.sequence == entries.c.sequence
    queued = sa.outerjoin(entries, outbox, is_its_row) if also_unqueued else sa.join(outbox, entries, is_its_row)
    is_its_payout = payouts.c.payout_key == sa.func.coalesce(entries.c.corrects, entries.c.key)
    query = (
        sa.select(
            payouts,
            entries.c.sequence.label("task_sequence"),
            sa.func.coalesce(outbox.c.created_at, entries.c.booked_at).label("queued_at"),
            outbox.c.effect,
            outbox.c.reason.label("obstacle"),
            entries.c.kind.label("entry_kind"),
            entries.c.key.label("entry_key"),
            entries.c.booked_at,
        )
        .select_from(sa.join(queued, payouts, is_its_payout))
        .where(condition)
        .order_by(entries.c.sequence if also_unqueued else outbox.c.sequence)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    positions = read_positions(connection, sorted({(row.streamer_id, row.currency) for row in rows}))
    shown = _read_shown(connection, sorted({row.participation_id for row in rows}))
    return [(_task(row, positions[row.streamer_id, row.currency], shown[row.participation_id]), row) for row in rows]


def _read_shown(connection: Connection, participation_ids: Sequence[str]) -> dict[str, Shown]:
    """Of each participation, its latest payout, reversed or not."""
    query = (
        sa.select(payouts, _reversal.c.created_at.label("reversed_at"))
        .outerjoin(_reversal, _reversal.c.reverses == payouts.c.payout_key)
        .where(payouts.c.kind == "payout", among(connection, payouts.c.participation_id, participation_ids))
        .order_by(payouts.c.n)
    )
    return {
        row.participation_id: Shown(
            amount_minor=row.amount_minor if row.reversed_at is None else 0,
            rule=row.rule,
            paid_at=row.created_at,
            reversed_at=row.reversed_at,
        )
        for row in connection.execute(query)
    }


def _task(row: sa.Row[Any], position: WalletPosition, shown: Shown) -> ProjectionTask:
    kind = TaskKind(row.entry_kind)
    return from_row(
        ProjectionTask,
        row,
        sequence=row.task_sequence,
        kind=kind,
        participation_id=DocumentId.from_tagged(row.participation_id),
        campaign_id=DocumentId.from_tagged(row.campaign_id),
        brand_id=DocumentId.from_tagged(row.brand_id),
        amount_minor=-row.amount_minor if kind is TaskKind.REVERSAL else row.amount_minor,
        # Where the ledger is dated in the future, the task is not: nobody rests for years for that.
        paid_at=row.queued_at if is_of_the_future(row.created_at, row.queued_at) else row.created_at,
        posted_at=row.booked_at,
        is_held=row.release_at is not None,
        shown=shown,
        position=position,
    )


def raise_versions(engine: Engine, seen: Mapping[tuple[str, str], int]) -> int:
    """Raise the versions that are not above what wallets have seen, so that these take the next projection."""
    with writing(engine) as connection:
        lock_head(connection)
        known = {key: position.version for key, position in read_positions(connection, sorted(seen)).items()}
        raised = [
            {"streamer_id": streamer_id, "currency": currency, "version": version + 1, "projected_version": 0}
            for (streamer_id, currency), version in sorted(seen.items())
            if known.get((streamer_id, currency), 0) <= version
        ]
        bulk.upsert(connection, wallet_positions, raised, {"version": "excluded.version"})
    return len(raised)
