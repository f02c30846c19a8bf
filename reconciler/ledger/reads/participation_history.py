"""Everything the ledger holds about one participation, for a person: payouts, entries, holds, decisions, effects."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.domain.batch import PlannedBatch, PostingRules, plan_batch
from reconciler.domain.ids import DocumentId, payout_key
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.posted import PostedPayout
from reconciler.domain.recomputation import FrozenPool
from reconciler.ledger.engine import reading
from reconciler.ledger.key_lists import among
from reconciler.ledger.reads.ledger_snapshot import read_snapshot
from reconciler.ledger.reads.payout_list import payouts_of_participation
from reconciler.ledger.rows import from_row
from reconciler.ledger.schema import (
    adoptions,
    decisions,
    entries,
    hold_events,
    outbox,
    payouts,
    postings,
    settlement_lines,
    settlements,
    wallet_positions,
)
from reconciler.ports.journal import PostingBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPosted:
    """An entry with its legs: (account, minor units of ``currency``, balance after it)."""

    sequence: int
    key: str
    kind: str
    currency: str
    reason: str
    corrects: str | None
    run_id: str
    booked_at: datetime
    effective_at: datetime
    legs: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldStep:
    """A hold that was opened or closed, and why."""

    hold_key: str
    event: str
    reason: str
    detail: str
    amount_minor: int
    currency: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionMade:
    """Who decided what, when and why; ``state_before`` is what was true then."""

    decision_key: str
    kind: str
    subject: str
    decided_by: str
    reason: str
    state_before: Mapping[str, Any]
    amount_minor: int | None
    currency: str | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectState:
    """How far an entry's effects are projected. ``effect`` and ``reason`` say what is in the way when it is blocked."""

    entry_key: str
    status: str
    attempts: int
    effect: str | None
    reason: str | None
    not_before: datetime
    done_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletState:
    """The version of a streamer's balance in one currency, and the newest one that MongoDB's wallet showed."""

    currency: str
    version: int
    projected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """It was settled before this ledger began, as a person stated."""

    amount_minor: int | None
    currency: str
    decision_key: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipationHistory:
    """All of it, each part in the order of time. Identities are tagged, but streamers'; empty when nothing is known."""

    participation_id: str
    payouts: tuple[PostedPayout, ...] = ()
    """Payouts and reversals."""
    entries: tuple[EntryPosted, ...] = ()
    """Those of the participation: payouts, releases, reversals."""
    holds: tuple[HoldStep, ...] = ()
    decisions: tuple[DecisionMade, ...] = ()
    effects: tuple[EffectState, ...] = ()
    wallets: tuple[WalletState, ...] = ()
    adoption: Adoption | None = None
    pools: Mapping[str, FrozenPool] | None = None
    """Settlement key → the frozen settlement that it has a line in."""

    @property
    def is_empty(self) -> bool:
        """Whether the ledger holds nothing about it."""
        return not (self.entries or self.holds or self.decisions or self.adoption or self.pools)


def participation_history(engine: Engine, participation_id: DocumentId) -> ParticipationHistory:
    """What the ledger holds about one participation, in one snapshot."""
    tagged = participation_id.tagged
    with reading(engine) as connection:
        paid = tuple(payouts_of_participation(connection, tagged))
        posted = _entries(connection, tagged)
        adopted = connection.execute(sa.select(adoptions).where(adoptions.c.participation_id == tagged)).one_or_none()
        subjects = {tagged, payout_key(participation_id, 1)}
        for one in paid:
            subjects |= {one.payout_key, f"reversal:{one.payout_key}", payout_key(participation_id, one.n + 1)}
        named = {one.decision_key for one in paid if one.decision_key}
        return ParticipationHistory(
            participation_id=tagged,
            payouts=paid,
            entries=posted,
            holds=_holds(connection, tagged),
            decisions=_decisions(connection, subjects, named | ({adopted.decision_key} if adopted else set())),
            effects=_effects(connection, posted),
            wallets=_wallets(connection, {(one.streamer_id, one.currency) for one in paid}),
            adoption=None if adopted is None else from_row(Adoption, adopted),
            pools=_pools(connection, tagged),
        )


def foresee(engine: Engine, request: PayoutRequest, rules: PostingRules, now: datetime) -> PlannedBatch:
    """What the ledger would post for a request now: its own plan, made without the lock and never written."""
    batch = PostingBatch(requests=[request])
    with reading(engine) as connection:
        return plan_batch(batch.requests, (), read_snapshot(connection, batch, now), rules, now)


def _entries(connection: Connection, tagged: str) -> tuple[EntryPosted, ...]:
    # By the keys that can be about it, since an entry's participation has no index: n is small.
    paid = sa.select(payouts.c.payout_key).where(payouts.c.participation_id == tagged).subquery()
    keys = sa.union_all(sa.select(paid.c.payout_key), sa.select(sa.literal("release:") + paid.c.payout_key)).subquery()
    query = (
        sa.select(entries, postings.c.account, postings.c.amount_minor, postings.c.balance_after_minor)
        .join_from(entries, postings, postings.c.sequence == entries.c.sequence)
        .where(entries.c.key.in_(sa.select(keys.c.payout_key)))
        .order_by(entries.c.sequence, postings.c.leg)
    )
    legs: dict[int, list[sa.Row[Any]]] = defaultdict(list)
    for row in connection.execute(query):
        legs[row.sequence].append(row)
    return tuple(
        from_row(
            EntryPosted, rows[0], legs=tuple((row.account, row.amount_minor, row.balance_after_minor) for row in rows)
        )
        for rows in legs.values()
    )


def _holds(connection: Connection, tagged: str) -> tuple[HoldStep, ...]:
    query = sa.select(hold_events).where(hold_events.c.participation_id == tagged)
    # In one batch a hold closes before the next one opens.
    rows = sorted(connection.execute(query), key=lambda row: (row.batch, row.event == "opened"))
    return tuple(from_row(HoldStep, row) for row in rows)


def _decisions(connection: Connection, subjects: set[str], keys: set[str]) -> tuple[DecisionMade, ...]:
    chosen = among(connection, decisions.c.subject, sorted(subjects)) | among(
        connection, decisions.c.decision_key, sorted(keys)
    )
    query = sa.select(decisions).where(chosen).order_by(decisions.c.batch, decisions.c.decision_key)
    return tuple(
        from_row(DecisionMade, row, state_before=json.loads(row.state_before)) for row in connection.execute(query)
    )


def _effects(connection: Connection, posted: Sequence[EntryPosted]) -> tuple[EffectState, ...]:
    keys = {one.sequence: one.key for one in posted}
    query = sa.select(outbox).where(among(connection, outbox.c.sequence, sorted(keys))).order_by(outbox.c.sequence)
    return tuple(from_row(EffectState, row, entry_key=keys[row.sequence]) for row in connection.execute(query))


def _wallets(connection: Connection, wanted: set[tuple[str, str]]) -> tuple[WalletState, ...]:
    table = wallet_positions
    query = sa.select(table).where(among(connection, table.c.streamer_id, sorted({one for one, _ in wanted})))
    rows = [row for row in connection.execute(query) if (row.streamer_id, row.currency) in wanted]
    return tuple(from_row(WalletState, row) for row in sorted(rows, key=lambda row: row.currency))


def _pools(connection: Connection, tagged: str) -> dict[str, FrozenPool]:
    own = sa.select(settlement_lines.c.settlement_key).where(settlement_lines.c.participation_id == tagged)
    found = {}
    for frozen in connection.execute(sa.select(settlements).where(settlements.c.settlement_key.in_(own))).all():
        columns = (
            settlement_lines.c.participation_id,
            settlement_lines.c.impressions,
            settlement_lines.c.share_minor,
        )
        lines = connection.execute(
            sa.select(*columns).where(settlement_lines.c.settlement_key == frozen.settlement_key)
        ).all()
        found[frozen.settlement_key] = from_row(
            FrozenPool,
            frozen,
            weights={row.participation_id: row.impressions for row in lines},
            shares_minor={row.participation_id: row.share_minor for row in lines},
        )
    return found
