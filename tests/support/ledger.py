"""Requests to the ledger, a clock that stands still, and the ledger read back without the code under test."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.clock import Clock
from reconciler.domain.batch import PostingRules
from reconciler.domain.campaign import CampaignTerms, PaymentType
from reconciler.domain.decision import Due, ParticipationFacts, Policy, Rule, Scope, Settled
from reconciler.domain.earnings import Earnings, Overdelivery, earnings
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.ledger_snapshot import HoldWithdrawal, PayoutRequest
from reconciler.domain.money import minor_per_major
from reconciler.domain.participation import Participation
from reconciler.domain.settlement import PoolDue, PoolFacts, decide_pool
from reconciler.ledger import schema
from reconciler.ledger.database_clock import DatabaseTimes, LedgerClock
from reconciler.ledger.engine import open_engine
from reconciler.ledger.journal.chain import batch_hash
from reconciler.ledger.journal.decisions import Decisions, Signature
from reconciler.ledger.journal.escrows import Treasury
from reconciler.ledger.journal.posting import SqlJournal
from reconciler.ports.journal import BatchStamp, PostingBatch

Row = dict[str, Any]

NOW = datetime(2026, 3, 1, 12, 0, 0, 125_000, tzinfo=UTC)
STAMP = BatchStamp(run_id="run-1", trigger="test")
SIGNED = Signature(by="asha", reason="counted twice")
POOLED = Policy(
    overdelivery=Overdelivery.CAP_AT_TARGET, rules=frozenset({Rule.IMPRESSIONS_TARGET_REACHED}), scope=Scope.CAMPAIGN
)
FULL = 330_000
"""What a request of the reference case earns, in paise: rate 1650, target 2,000."""


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, delta: timedelta) -> datetime:
        self.now += delta
        return self.now


class ToldClock(LedgerClock):
    """The ledger's time is what a test says, whatever its database thinks."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(host=clock)

    def now(self, times: DatabaseTimes, began_at: datetime, *, may_be_off: bool = False) -> datetime:
        del times, began_at, may_be_off
        return self.host()


def identity(text: str) -> DocumentId:
    """``oid:…`` as it says; every other text is a string identity."""
    return DocumentId.from_tagged(text) if text.startswith("oid:") else DocumentId(IdKind.STRING, text)


def request(
    participation: str = "p1",
    *,
    campaign: str = "c1",
    streamer: str | None = None,
    impressions: int = 2000,
    budget: int = 3300,
    currency: str = "INR",
    facts_at: datetime = NOW,
    n: int = 1,
    fee_bps: int = 0,
) -> PayoutRequest:
    """The reference case: 2,000 impressions at 1650 a thousand, ``budget`` in major units, so 3300.00."""
    terms = CampaignTerms(
        campaign_id=identity(campaign),
        brand_id=identity("brand"),
        status="active",
        payment_type=PaymentType.CPM,
        rate=Fraction(1650),
        budget_minor=budget * minor_per_major(currency),
        target_impressions=2000,
        currency=currency,
        cooloff_hours=720,
        cooloff_was_read=True,
        end_date=None,
    )
    due = Due(
        participation=Participation(
            participation_id=identity(participation),
            campaign_id=terms.campaign_id,
            streamer_id=f"s-{participation}" if streamer is None else streamer,
            status="active",
            impressions=impressions,
            forfeited=False,
            marked_paid=False,
        ),
        terms=terms,
        impressions=impressions,
        earned=earnings(terms, impressions, Overdelivery.PAY),
        overdelivery=Overdelivery.PAY,
        rule=Rule.IMPRESSIONS_TARGET_REACHED,
        fee_bps=fee_bps,
    )
    return PayoutRequest(due=due, facts_at=facts_at, n=n)


def requests(count: int, **options: Any) -> list[PayoutRequest]:
    """Requests of participations ``p0001``, ``p0002``, … of one campaign."""
    return [request(f"p{number:04}", **options) for number in range(1, count + 1)]


def journal_of(engine: Engine, clock: SetClock | None = None, **rules: Any) -> SqlJournal:
    """``rules``: settings of posting other than the defaults."""
    told = ToldClock(clock or SetClock())
    return SqlJournal(engine, clock=told, rules=PostingRules(facts_age_max=timedelta(seconds=30), **rules))


def asking(requests: Sequence[PayoutRequest], withdrawals: Sequence[HoldWithdrawal] = ()) -> PostingBatch:
    """A batch of requests, and of holds that are to go."""
    return PostingBatch(requests=requests, withdrawals=withdrawals)


def post_from_elsewhere(url: str, batch: list[PayoutRequest]) -> Mapping[str, str]:
    """Post with an engine of our own, as another process does; answers key → outcome."""
    engine = open_engine(url)
    try:
        return {key: outcome.value for key, outcome in journal_of(engine).post(asking(batch), STAMP).outcomes.items()}
    finally:
        engine.dispose()


def rows_of(engine: Engine, table: sa.Table) -> list[Row]:
    """All rows, in the order of the primary key (compared here: databases collate text differently)."""
    key = [column.name for column in table.primary_key.columns]
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
    return sorted(rows, key=lambda row: [row[name] for name in key])


def everything(engine: Engine) -> dict[str, list[Row]]:
    """Every row of every table."""
    return {table.name: rows_of(engine, table) for table in schema.metadata.sorted_tables}


def balances(engine: Engine) -> dict[str, int]:
    """Account → balance; for ledgers of one currency."""
    return {row["account"]: row["balance_minor"] for row in rows_of(engine, schema.accounts)}


def chain_is_sound(engine: Engine) -> None:
    """Every stored hash follows from the rows as they are read back, and from the hash before it."""
    [ledger] = rows_of(engine, schema.ledger_identity)
    previous = hashlib.sha256(ledger["ledger_id"].encode()).hexdigest()
    links = rows_of(engine, schema.chain)
    for expected, link in enumerate(links, start=1):
        rows = {
            table.name: [row for row in rows_of(engine, table) if row["batch"] == link["batch"]]
            for table in schema.JOURNAL_TABLES[:-1]
        }
        derived = batch_hash(previous=previous, batch=link["batch"], created_at=link["created_at"], rows=rows)
        assert (link["batch"], link["previous_hash"], link["hash"]) == (expected, previous, derived)
        previous = link["hash"]
    [head] = rows_of(engine, schema.chain_head)
    assert (head["batch"], head["hash"]) == (len(links), previous)
    assert head["sequence"] == max((row["sequence"] for row in rows_of(engine, schema.entries)), default=0)


def ledger_is_sound(engine: Engine) -> None:
    """Invariants 2, 3, 4 and 6, and that an entry, its payout and its task are there together."""
    chain_is_sound(engine)
    entries, postings = rows_of(engine, schema.entries), rows_of(engine, schema.postings)
    sums: Counter[int] = Counter()
    legs: Counter[int] = Counter()
    running: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for posting in postings:
        sums[posting["sequence"]] += posting["amount_minor"]
        legs[posting["sequence"]] += 1
        running[posting["account"], posting["currency"]].append(posting)
    assert {entry["sequence"] for entry in entries} == set(legs)
    assert set(sums.values()) <= {0}
    assert min(legs.values(), default=2) >= 2
    for account in rows_of(engine, schema.accounts):
        own = running.pop((account["account"], account["currency"]))
        own.sort(key=lambda posting: posting["account_version"])
        balance_minor = 0
        for version, posting in enumerate(own, start=1):
            balance_minor += posting["amount_minor"]
            assert (posting["account_version"], posting["balance_after_minor"]) == (version, balance_minor)
        assert (account["balance_minor"], account["version"]) == (balance_minor, len(own))
        assert account["kind"] != "escrow" or balance_minor >= 0
    assert not running
    payout_entries = {entry["sequence"] for entry in entries if entry["kind"] in ("payout", "reversal")}
    assert payout_entries == _sequences(engine, schema.payouts)
    releases = {entry["sequence"] for entry in entries if entry["kind"] == "hold_release"}
    assert payout_entries | releases == _sequences(engine, schema.outbox)
    assert {entry["sequence"] for entry in entries if entry["kind"] == "fund"} == _sequences(engine, schema.fundings)


def _sequences(engine: Engine, table: sa.Table) -> set[int]:
    return {row["sequence"] for row in rows_of(engine, table)}


def insert_rows(engine: Engine, table: sa.Table, rows: Iterable[Row]) -> None:
    """Insert behind the journal's back."""
    with engine.begin() as connection:
        connection.execute(sa.insert(table), list(rows))


def decisions_of(engine: Engine, clock: SetClock | None = None, *, four_eyes: bool = False, **rules: Any) -> Decisions:
    return Decisions(journal_of(engine, clock, **rules), run_id="by-hand", four_eyes=four_eyes)


def reverse(engine: Engine, payout_key: str, clock: SetClock | None = None) -> None:
    """Take a payout back, as a person does."""
    decisions_of(engine, clock).reverse(payout_key, SIGNED)


def treasury_of(engine: Engine, clock: SetClock) -> Treasury:
    return Treasury(engine, journal_of(engine, clock), clock=clock)


def pool_due(campaign: str, impressions: Mapping[str, int], *, budget: int = 3300) -> PoolDue:
    """A pool of the reference case that is due: participation → impressions."""
    one = request(campaign=campaign, budget=budget).due
    members = [
        ParticipationFacts(
            participation=replace(
                one.participation, participation_id=identity(name), streamer_id=f"s-{name}", impressions=count
            ),
            campaign=one.terms,
            settled=Settled.NOTHING,
        )
        for name, count in impressions.items()
    ]
    decision = decide_pool(PoolFacts(terms=one.terms, members=members, paid_minor=0, now=NOW), POOLED)
    assert isinstance(decision, PoolDue)
    return decision


def line_request(due: PoolDue, name: str, *, facts_at: datetime = NOW) -> PayoutRequest:
    """A request for one member's share of a pool that was frozen."""
    [line] = [one for one in due.lines if one.participation.participation_id == identity(name)]
    earned = Earnings(gross_minor=line.share_minor, impressions_paid=line.impressions, rounding="largest_remainder")
    return PayoutRequest(
        due=Due(
            participation=line.participation,
            terms=due.terms,
            impressions=line.impressions,
            earned=earned,
            overdelivery=due.overdelivery,
            rule=due.rule,
            settlement_key=f"settlement:{due.terms.campaign_id.tagged}:1",
        ),
        facts_at=facts_at,
    )
