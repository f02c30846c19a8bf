"""Payouts: the list that a filter admits, and all about one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.domain import accounts
from reconciler.domain.ids import DocumentId
from reconciler.domain.posted import PayoutStatus, PostedPayout
from reconciler.domain.recomputation import FrozenPool
from reconciler.ledger.engine import Engine
from reconciler.ledger.reads.general_ledger import ALL_TIME, Period
from reconciler.ledger.reads.participation_history import (
    DecisionMade,
    EffectState,
    EntryPosted,
    ParticipationHistory,
    participation_history,
)
from reconciler.ledger.reads.payout_list import PayoutFilter, known_accounts, payout_lines, payouts_of
from reconciler.queries import Document
from reconciler.queries.history import decision_document, effect_document, entry_document, settlement_document
from reconciler.queries.identities import UnknownName, identities_of, streamer_forms, tagged_forms
from reconciler.reports.payout_rows import PAYOUT_COLUMNS
from reconciler.reports.tables import Column, Columns, Kind, record

FACT_COLUMNS: Columns = (
    Column("payment_type"),
    Column("rate"),
    Column("overdelivery"),
    Column("impressions_paid", Kind.COUNT),
    Column("rounding"),
    Column("fee_bps", Kind.COUNT),
    Column("facts_at", Kind.TIME),
    Column("decision_key"),
)
"""The stored facts of a payout that the list does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutQuery:
    """Which payouts: all that every field given agrees with. Identities are as people type them.

    ``limit``: only the newest so many, newest first; else all, in the order of posting. ``before`` is the ledger
    sequence that the page before ended with.
    """

    period: Period = ALL_TIME
    campaign: str | None = None
    streamer: str | None = None
    status: str | None = None
    trigger: str | None = None
    currency: str | None = None
    before: int | None = None
    limit: int | None = None


def find_payouts(engine: Engine, query: PayoutQuery) -> Iterator[PostedPayout]:
    """The payouts and reversals that a query admits. Streams. Raises UnknownName for whom the ledger does not know."""
    return payout_lines(
        engine,
        PayoutFilter(
            period=query.period,
            campaigns=() if query.campaign is None else _known_campaigns(engine, query.campaign),
            streamer_id=None if query.streamer is None else _known_streamer(engine, query.streamer),
            status=None if query.status is None else PayoutStatus(query.status),
            trigger=query.trigger,
            currency=query.currency,
            newest=query.limit,
            before=query.before,
        ),
    )


def payout_rows(engine: Engine, query: PayoutQuery) -> list[Document]:
    """The same for JSON. Whom the ledger does not know has no payouts."""
    try:
        return [record(line, PAYOUT_COLUMNS) for line in find_payouts(engine, query)]
    except UnknownName:
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutFound:
    """One payout or reversal, with what the ledger holds about it and its participation."""

    line: PostedPayout
    history: ParticipationHistory

    @property
    def pool(self) -> FrozenPool | None:
        """The frozen settlement that the payout is a line of."""
        return (self.history.pools or {}).get(self.line.settlement_key or "")

    @property
    def entries(self) -> list[EntryPosted]:
        """The entries of the payout, its release and its reversal."""
        return [one for one in self.history.entries if one.key in self._keys]

    @property
    def effects(self) -> list[EffectState]:
        """How far the effects of these entries are projected."""
        return [one for one in self.history.effects if one.entry_key in self._keys]

    @property
    def decisions(self) -> list[DecisionMade]:
        """What people decided about the payout or its participation."""
        own, subjects = self.line.decision_key, self._keys | {self.line.participation_id}
        return [one for one in self.history.decisions if one.subject in subjects or one.decision_key == own]

    @property
    def _keys(self) -> set[str]:
        key = self.line.payout_key
        return {key, f"release:{key}", f"reversal:{key}"}


def find_payout(engine: Engine, text: str) -> list[PayoutFound]:
    """The payout with a key, or all payouts of the participations that a text names; empty for none.

    Raises UnknownName on text that cannot name anything.
    """
    lines = payouts_of(engine, text, tagged_forms(text))
    histories = {
        tagged: participation_history(engine, DocumentId.from_tagged(tagged))
        for tagged in {line.participation_id for line in lines}
    }
    return [PayoutFound(line=line, history=histories[line.participation_id]) for line in lines]


def payout_document(found: PayoutFound) -> Document:
    """All about one payout for JSON."""
    return {
        **record(found.line, PAYOUT_COLUMNS),
        **record(found.line, FACT_COLUMNS),
        "entries": [entry_document(one) for one in found.entries],
        "settlement_line": None if found.pool is None else settlement_document(found.pool, found.line.participation_id),
        "decisions": [decision_document(one) for one in found.decisions],
        "effects": [effect_document(one) for one in found.effects],
    }


def payout_documents(engine: Engine, text: str) -> list[Document]:
    """All about the payouts that a key or a participation's identity names; empty where there is none."""
    try:
        return [payout_document(one) for one in find_payout(engine, text)]
    except UnknownName:
        return []


def _known_campaigns(engine: Engine, text: str) -> list[str]:
    escrows = {accounts.escrow(one): one.tagged for one in identities_of(text)}
    found = known_accounts(engine, list(escrows))
    if not found:
        raise UnknownName(f"the ledger has no campaign {text!r}")
    return [tagged for account, tagged in escrows.items() if account in found]


def _known_streamer(engine: Engine, text: str) -> str:
    for one in streamer_forms(text):
        if known_accounts(engine, [accounts.wallet(one), accounts.held(one)]):
            return one
    raise UnknownName(f"the ledger has no earnings of a streamer {text!r}")
