"""What the ledger holds about a page of participations: before the decision, and again under the lock.

Each is one statement: all who post wait for the lock meanwhile, and a live payout waits for both.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.domain import accounts
from reconciler.domain.decision import PoolShare, Rule, Settled
from reconciler.domain.ids import DocumentId, payout_key
from reconciler.domain.ledger_snapshot import FrozenLine, Funding, LedgerSnapshot, OpenHold, PayoutRequest, Recent
from reconciler.domain.review import OVER_PACE
from reconciler.ledger.combined_select import CombinedSelect, Given, Pairs, Select
from reconciler.ledger.key_lists import Named, among, pairs
from reconciler.ledger.rows import from_row
from reconciler.ledger.schema import accounts as accounts_table
from reconciler.ledger.schema import (
    adoptions,
    decisions,
    entries,
    fundings,
    hold_events,
    outbox,
    payouts,
    postings,
    settlement_lines,
    settlements,
)
from reconciler.ports.journal import PostingBatch
from reconciler.ports.ledger_reads import SettledFacts

_HALF = 2**32

opened = hold_events.alias("opened")
_closed = hold_events.alias("closed")
_reversal = payouts.alias("reversal")


def settled_facts(
    connection: Connection, participation_ids: Sequence[str], campaign_streamers: Sequence[tuple[str, str]]
) -> SettledFacts:
    """Facts about the participations (tagged) and pairs of (tagged campaign, streamer) of one page."""
    first_keys = {payout_key(DocumentId.from_tagged(one), 1): one for one in participation_ids}
    found = _FACTS.run(
        connection,
        {
            "participations": list(participation_ids),
            "campaigns": sorted({campaign_id for campaign_id, _ in campaign_streamers}),
            "campaign_streamers": Pairs(sorted(set(campaign_streamers))),
            "keys": list(first_keys),
        },
    )
    settled: dict[str, Settled] = {first_keys[row.subject]: Settled.REJECTED for row in found["rejected"]}
    settled |= {row.participation_id: Settled.ADOPTED for row in found["adopted"]}
    voids = {row.participation_id for row in found["voided_lines"]}
    # The currency of a campaign's first funding, or of its frozen settlement, whose shares are in no other.
    pinned = {row.campaign_id: row.currency for row in found["pools"]}
    return SettledFacts(
        settled=settled | settled_of(found["posted"]),
        paid_participations=_paid_participations(found["paid"]),
        pinned_currency=pinned
        | {row.campaign_id: row.currency for row in sorted(found["fundings"], key=attrgetter("n"))},
        pool_lines={row.participation_id: _line(row, voids) for row in found["lines"]},
        pool_campaigns={
            row.campaign_id: PoolShare(settlement_key=row.settlement_key, rule=Rule(row.rule), share_minor=None)
            for row in found["pools"]
        },
        held={hold.participation_id: hold for hold in open_holds_of(found["holds"])},
    )


def read_snapshot(connection: Connection, batch: PostingBatch, now: datetime) -> LedgerSnapshot:
    """Everything :func:`plan_batch` looks at. To be called with the chain's head locked."""
    found = _SNAPSHOT.run(connection, _given(batch, now))
    unreversed = settled_of(found["unreversed"])
    pools = {row.campaign_id: row.currency for row in found["pools"]}
    balance_minor = {(row.account, row.currency): row.balance_minor for row in found["accounts"]}
    return LedgerSnapshot(
        fingerprints={row.payout_key: row.fingerprint for row in found["fingerprints"]},
        paid_participations=_paid_participations(found["paid"]),
        numbers=_numbers(found["paid"]),
        fundings=_fundings(found["fundings"], found["refunds"], found["movements"]),
        escrow_minor={key: minor for key, minor in balance_minor.items() if accounts.kind_of(key[0]) == "escrow"},
        balance_minor=balance_minor,
        open_holds=open_holds_of({row.hold_key: row for row in [*found["holds"], *found["own_holds"]]}.values()),
        holds_count=Counter(row.participation_id for row in found["held_ever"]),
        approved_minor=_approved(batch.requests, found["approved"], found["held_ever"]),
        too_fast=frozenset(row.participation_id for row in found["held_ever"] if row.reason == OVER_PACE),
        rejected=frozenset(row.subject for row in found["rejected"]),
        adopted=frozenset(row.participation_id for row in found["adopted"]),
        adopted_minor={(row.campaign_id, row.currency): row.total_minor for row in found["adopted_totals"]},
        pooled=frozenset(pools),
        pool_currency=pools,
        lines={row.participation_id: from_row(FrozenLine, row) for row in found["lines"]},
        unreversed=frozenset(one for one, state in unreversed.items() if state is Settled.PAID),
        voids=frozenset(row.subject for row in found["voids"]),
        recent=Recent(
            payouts_count=sum(row.times for row in found["recent"]),
            paid_minor={row.currency: row.high * _HALF + row.low for row in found["recent"]},
        ),
    )


def _given(batch: PostingBatch, now: datetime) -> dict[str, Given]:
    """The lists and times that the snapshot of a batch is read for."""
    requests = batch.requests
    terms = {request.due.terms.campaign_id.tagged: request.due.terms for request in requests}
    participations = [request.due.participation for request in requests]
    by_person = [one.due.participation.participation_id.tagged for one in requests if one.decision_key is not None]
    keys = [request.key for request in requests]
    tagged = [one.participation_id.tagged for one in participations]
    return {
        "participations": tagged,
        "campaigns": sorted({*terms, *(withdrawal.campaign_id.tagged for withdrawal in batch.withdrawals)}),
        "campaign_streamers": Pairs(sorted({(one.campaign_id.tagged, one.streamer_id) for one in participations})),
        "keys": keys,
        "keys_or_voids": [*keys, *(payout_key(one, 1) for one in batch.voids)],
        "subjects": [*tagged, *(one.tagged for one in batch.voids)],
        "accounts": sorted(
            {
                accounts.FEES,
                *(accounts.escrow(one.campaign_id) for one in terms.values()),
                *(accounts.funding(one.brand_id) for one in terms.values()),
                *(accounts.wallet(one.streamer_id) for one in participations),
                *(accounts.held(one.streamer_id) for one in participations),
            }
        ),
        "by_person": by_person,
        "an_hour_ago": now - timedelta(hours=1),
        "in_an_hour": now + timedelta(hours=1),
    }


def open_holds_select(condition: sa.ColumnElement[bool]) -> Select:
    """Open holds for which ``condition`` is true of the opening row, for :func:`open_holds_of`."""
    is_closed = sa.exists().where((_closed.c.hold_key == opened.c.hold_key) & (_closed.c.event == "closed"))
    return sa.select(opened).where(opened.c.event == "opened", ~is_closed, condition)


def open_holds_of(rows: Iterable[Any]) -> list[OpenHold]:
    """Rows of :func:`open_holds_select` as holds, in the order in which they are retried."""
    holds = [from_row(OpenHold, row, opened_at=row.occurred_at) for row in rows]
    return sorted(holds, key=lambda hold: hold.order)


def posted_select(condition: sa.ColumnElement[bool]) -> Select:
    """Payouts and reversals of participations, for :func:`settled_of`."""
    return sa.select(payouts.c.participation_id, payouts.c.kind, payouts.c.n).where(condition)


def settled_of(rows: Sequence[Any]) -> dict[str, Settled]:
    """Tagged participation → paid, or reversed when no payout of it stands any more."""
    paid: dict[str, set[int]] = defaultdict(set)
    reversed_: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        (paid if row.kind == "payout" else reversed_)[row.participation_id].add(row.n)
    return {
        participation_id: Settled.PAID if numbers - reversed_[participation_id] else Settled.REVERSED
        for participation_id, numbers in paid.items()
    }


def _facts_selects(connection: Connection) -> Mapping[str, Select]:
    line = settlement_lines.c.participation_id
    is_asked_for = among(connection, line, Named("participations"))
    is_void = (decisions.c.kind == "void") & (decisions.c.subject == line)
    return {
        **_selects_of_both(connection),
        "posted": posted_select(among(connection, payouts.c.participation_id, Named("participations"))),
        "lines": sa.select(
            line,
            settlement_lines.c.settlement_key,
            settlement_lines.c.share_minor,
            settlement_lines.c.impressions,
            settlement_lines.c.streamer_id,
            settlements.c.campaign_id,
            settlements.c.rule,
        )
        .join(settlements, settlements.c.settlement_key == settlement_lines.c.settlement_key)
        .where(is_asked_for),
        "voided_lines": sa.select(line).where(is_asked_for, sa.exists().where(is_void)),
        "holds": open_holds_select(among(connection, opened.c.participation_id, Named("participations"))),
    }


def _snapshot_selects(connection: Connection) -> Mapping[str, Select]:
    adopted = adoptions.c
    of_adoptions = (adopted.campaign_id, adopted.currency)
    return {
        **_selects_of_both(connection),
        "fingerprints": sa.select(payouts.c.payout_key, payouts.c.fingerprint).where(
            among(connection, payouts.c.payout_key, Named("keys_or_voids"))
        ),
        # A funding before the last refund moves no budget any more.
        "refunds": sa.select(entries.c.campaign_id, sa.func.max(entries.c.sequence).label("sequence"))
        .where(entries.c.kind == "refund", among(connection, entries.c.campaign_id, Named("campaigns")))
        .group_by(entries.c.campaign_id),
        "movements": sa.select(
            fundings.c.campaign_id, fundings.c.n, postings.c.leg, postings.c.account, postings.c.amount_minor
        )
        .join(postings, postings.c.sequence == fundings.c.sequence)
        .where(among(connection, fundings.c.campaign_id, Named("campaigns"))),
        "accounts": sa.select(
            accounts_table.c.account, accounts_table.c.currency, accounts_table.c.balance_minor
        ).where(among(connection, accounts_table.c.account, Named("accounts"))),
        "holds": open_holds_select(among(connection, opened.c.campaign_id, Named("campaigns"))),
        # Wherever they are: a participation that moved to another campaign left its hold behind.
        "own_holds": open_holds_select(among(connection, opened.c.participation_id, Named("participations"))),
        "held_ever": sa.select(
            opened.c.participation_id, opened.c.hold_key, opened.c.campaign_id, opened.c.streamer_id, opened.c.reason
        ).where(opened.c.event == "opened", among(connection, opened.c.participation_id, Named("participations"))),
        "approved": sa.select(
            decisions.c.subject,
            decisions.c.amount_minor,
            decisions.c.currency,
            decisions.c.state_before,
            decisions.c.batch,
        ).where(decisions.c.kind == "approve", among(connection, decisions.c.subject, Named("keys"))),
        "lines": sa.select(
            settlement_lines.c.participation_id,
            settlement_lines.c.settlement_key,
            settlements.c.campaign_id,
            settlement_lines.c.streamer_id,
            settlement_lines.c.share_minor,
        )
        .join(settlements, settlements.c.settlement_key == settlement_lines.c.settlement_key)
        .where(among(connection, settlement_lines.c.participation_id, Named("participations"))),
        "adopted_totals": sa.select(
            *of_adoptions, sa.func.coalesce(sa.func.sum(adopted.amount_minor), 0).label("total_minor")
        )
        .where(among(connection, adopted.campaign_id, Named("campaigns")))
        .group_by(*of_adoptions),
        "unreversed": posted_select(among(connection, payouts.c.participation_id, Named("by_person"))),
        "voids": sa.select(decisions.c.subject).where(
            decisions.c.kind == "void", among(connection, decisions.c.subject, Named("subjects"))
        ),
        "recent": _recent_select(),
    }


def _recent_select() -> Select:
    """Payouts between ``an_hour_ago`` and ``in_an_hour``, by currency: how many times, and gross minor units.

    The sum comes in two halves: one beyond 64 bits is an error to SQLite, and would stop everybody for an hour.
    """
    gross_minor = payouts.c.gross_minor
    begin, end = (sa.bindparam(one, type_=payouts.c.created_at.type) for one in ("an_hour_ago", "in_an_hour"))
    # Where a batch was dated in the future, all after it are too; their rows in the outbox have the true time.
    was_posted = (outbox.c.created_at > begin) & (outbox.c.created_at <= end)
    is_dated_right = payouts.c.created_at <= end
    was_posted_then = sa.exists().where((outbox.c.sequence == payouts.c.sequence) & was_posted)
    return (
        sa.select(
            payouts.c.currency,
            sa.func.count().label("times"),
            sa.func.sum(gross_minor // _HALF).label("high"),
            sa.func.sum(gross_minor % _HALF).label("low"),
        )
        .where(payouts.c.created_at > begin, payouts.c.kind == "payout", is_dated_right | was_posted_then)
        .group_by(payouts.c.currency)
    )


def _selects_of_both(connection: Connection) -> dict[str, Select]:
    wanted = pairs(connection, Named("campaign_streamers"))
    return {
        # A condition, not a join: without statistics SQLite takes `kind` alone for the best use of the index, and
        # compares every payout there is with every pair.
        "paid": sa.select(
            payouts.c.campaign_id,
            payouts.c.streamer_id,
            payouts.c.participation_id,
            payouts.c.n,
            sa.exists().where(_reversal.c.reverses == payouts.c.payout_key).label("is_reversed"),
        ).where(
            payouts.c.kind == "payout",
            sa.tuple_(payouts.c.campaign_id, payouts.c.streamer_id).in_(sa.select(wanted.c.first, wanted.c.second)),
        ),
        "fundings": sa.select(fundings).where(among(connection, fundings.c.campaign_id, Named("campaigns"))),
        "pools": sa.select(
            settlements.c.campaign_id, settlements.c.settlement_key, settlements.c.rule, settlements.c.currency
        ).where(among(connection, settlements.c.campaign_id, Named("campaigns"))),
        "rejected": sa.select(decisions.c.subject).where(
            decisions.c.kind == "reject", among(connection, decisions.c.subject, Named("keys"))
        ),
        "adopted": sa.select(adoptions.c.participation_id).where(
            among(connection, adoptions.c.participation_id, Named("participations"))
        ),
    }


_FACTS = CombinedSelect(_facts_selects)
_SNAPSHOT = CombinedSelect(_snapshot_selects)


def _paid_participations(rows: Sequence[Any]) -> dict[tuple[str, str], str]:
    """Of several payments the one that stands, else the last."""
    in_order = sorted(rows, key=lambda row: (not row.is_reversed, row.n))
    return {(row.campaign_id, row.streamer_id): row.participation_id for row in in_order}


def _numbers(rows: Sequence[Any]) -> dict[tuple[str, str], dict[int, str | None]]:
    numbers: dict[tuple[str, str], dict[int, str | None]] = defaultdict(dict)
    for row in rows:
        numbers[row.campaign_id, row.streamer_id][row.n] = None if row.is_reversed else row.participation_id
    return numbers


def _approved(requests: Sequence[PayoutRequest], approvals: Sequence[Any], held: Sequence[Any]) -> dict[str, int]:
    """The last approval of each key, if it was given for what is asked now: this campaign, streamer and currency."""
    holds = {row.hold_key: (row.campaign_id, row.streamer_id) for row in held}
    asked = {
        one.key: (one.due.participation.campaign_id.tagged, one.due.participation.streamer_id, one.due.terms.currency)
        for one in requests
    }
    approved: dict[str, int] = {}
    for row in sorted(approvals, key=attrgetter("batch")):
        approved.pop(row.subject, None)
        if (*holds.get(json.loads(row.state_before).get("hold"), ()), row.currency) == asked[row.subject]:
            approved[row.subject] = row.amount_minor
    return approved


def _fundings(rows: Sequence[Any], refunds: Sequence[Any], movements: Sequence[Any]) -> dict[str, Funding]:
    refunded = {row.campaign_id: row.sequence for row in refunds}
    brands: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for row in sorted(movements, key=lambda one: (one.n, one.leg)):
        if accounts.kind_of(row.account) == "funding":
            brands[row.campaign_id].append((row.account, -row.amount_minor))
    found: dict[str, Funding] = {}
    for row in sorted(rows, key=attrgetter("n")):
        before = found.get(row.campaign_id)
        found[row.campaign_id] = Funding(
            n=row.n,
            currency=row.currency,
            budget_minor=row.budget_minor,
            funded_minor=row.amount_minor + (before.funded_minor if before else 0),
            facts_at=row.facts_at,
            was_refunded=refunded.get(row.campaign_id, 0) > row.sequence,
            movements=brands[row.campaign_id],
        )
    return found


def _line(row: Any, voids: set[str]) -> PoolShare:
    return PoolShare(
        settlement_key=row.settlement_key,
        rule=Rule(row.rule),
        share_minor=row.share_minor,
        impressions=row.impressions,
        is_void=row.participation_id in voids,
        frozen_for=(row.campaign_id, row.streamer_id),
    )
