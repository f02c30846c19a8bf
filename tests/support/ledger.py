"""Requests to the ledger, a clock that stands still, and the ledger read back without the code under test."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.domain.batch import PayoutRequest
from reconciler.domain.campaign import CampaignTerms, PaymentType
from reconciler.domain.decision import Due, Rule
from reconciler.domain.earnings import Overdelivery, earnings
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.money import minor_per_major
from reconciler.domain.participation import Participation
from reconciler.ledger import schema
from reconciler.ledger.chain import batch_hash
from reconciler.ledger.engine import open_engine
from reconciler.ledger.journal import Journal
from reconciler.ports import BatchStamp

Row = dict[str, Any]

NOW = datetime(2026, 3, 1, 12, 0, 0, 125_000, tzinfo=UTC)
STAMP = BatchStamp(run_id="run-1", trigger="test")
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
    )
    return PayoutRequest(due=due, facts_at=facts_at, n=n)


def requests(count: int, **options: Any) -> list[PayoutRequest]:
    """Requests of participations ``p0001``, ``p0002``, … of one campaign."""
    return [request(f"p{number:04}", **options) for number in range(1, count + 1)]


def journal_of(engine: Engine, clock: SetClock | None = None) -> Journal:
    return Journal(engine, clock=clock or SetClock(), facts_age_max=timedelta(seconds=30))


def post_from_elsewhere(url: str, batch: list[PayoutRequest]) -> Mapping[str, str]:
    """Post with an engine of our own, as another process does; answers key → outcome."""
    engine = open_engine(url)
    try:
        return {key: outcome.value for key, outcome in journal_of(engine).post(batch, STAMP).outcomes.items()}
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
    payout_entries = {entry["sequence"] for entry in entries if entry["kind"] == "payout"}
    assert payout_entries == _sequences(engine, schema.payouts) == _sequences(engine, schema.outbox)
    assert {entry["sequence"] for entry in entries if entry["kind"] == "fund"} == _sequences(engine, schema.fundings)


def _sequences(engine: Engine, table: sa.Table) -> set[int]:
    return {row["sequence"] for row in rows_of(engine, table)}


def insert_rows(engine: Engine, table: sa.Table, rows: Iterable[Row]) -> None:
    """Insert behind the journal's back."""
    with engine.begin() as connection:
        connection.execute(sa.insert(table), list(rows))


def insert_reversal(engine: Engine, payout_key: str) -> None:
    """The rows of a reversal, behind the journal's back: whatever it will post must be read like this."""
    [payout] = [row for row in rows_of(engine, schema.payouts) if row["payout_key"] == payout_key]
    [entry] = [row for row in rows_of(engine, schema.entries) if row["key"] == payout_key]
    key, sequence = f"reversal:{payout_key}", 1_000_000 + payout["sequence"]
    insert_rows(
        engine, schema.entries, [entry | {"key": key, "sequence": sequence, "kind": "reversal", "corrects": payout_key}]
    )
    negative = {name: -payout[name] for name in ("gross_minor", "fee_minor", "amount_minor")}
    insert_rows(
        engine, schema.payouts, [payout | {"payout_key": key, "sequence": sequence, "kind": "reversal"} | negative]
    )
