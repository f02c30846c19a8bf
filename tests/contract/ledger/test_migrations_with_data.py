"""A ledger that was filled at an earlier revision goes on at this one, on both databases, and its chain still holds.

The rows and the hash of revision 0001 are written here by hand, as the program of that time wrote them: nothing that
this program may change later takes part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.domain.entries import reversal_entry
from reconciler.domain.plan import BatchPlan, NewReversal
from reconciler.errors import NotMigrated, UsageError
from reconciler.ledger import schema
from reconciler.ledger.engine import open_engine, reading, writing
from reconciler.ledger.migrate import current_revision, head_revision, require_current, upgrade
from reconciler.ledger.proof.verify import SqlVerifier
from tests.support.tampering import Tamperer, another
from tests.support.varied_ledger import (
    Writer,
    decision_of,
    participation_of,
    payout_of,
    posted_of,
    request_of,
    terms_of,
    write_varied,
)

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
TERMS = terms_of(0xA0)
PAID = payout_of(request_of(participation_of(0xA1, TERMS), TERMS))
CAMPAIGN, BRAND = TERMS.campaign_id.tagged, TERMS.brand_id.tagged
PARTICIPATION, STREAMER = PAID.entry.participation_id, PAID.entry.streamer_id
ESCROW, FUNDING, WALLET = f"campaign:{CAMPAIGN}:escrow", f"brand:{BRAND}:funding", f"streamer:{STREAMER}:wallet"

Row = dict[str, Any]


def entry(sequence: int, key: str, kind: str, participation_id: str | None, streamer_id: str | None, why: str) -> Row:
    return {
        "sequence": sequence,
        "batch": 1,
        "key": key,
        "kind": kind,
        "campaign_id": CAMPAIGN,
        "participation_id": participation_id,
        "streamer_id": streamer_id,
        "currency": "INR",
        "reason": why,
        "corrects": None,
        "run_id": "run-of-old",
        "booked_at": AT,
        "effective_at": AT,
    }


def posting(sequence: int, leg: int, account: str, amount_minor: int, after_minor: int, version: int) -> Row:
    return {
        "sequence": sequence,
        "leg": leg,
        "batch": 1,
        "account": account,
        "currency": "INR",
        "amount_minor": amount_minor,
        "balance_after_minor": after_minor,
        "account_version": version,
    }


JOURNAL: dict[str, list[Row]] = {
    "entries": [
        entry(1, f"fund:{CAMPAIGN}:1", "fund", None, None, "budget seen: 10000.00 INR"),
        entry(2, f"payout:{PARTICIPATION}:1", "payout", PARTICIPATION, STREAMER, "impressions_target_reached"),
    ],
    "postings": [
        posting(1, 0, FUNDING, -1_000_000, -1_000_000, 1),
        posting(1, 1, ESCROW, 1_000_000, 1_000_000, 1),
        posting(2, 0, ESCROW, -330_000, 670_000, 2),
        posting(2, 1, WALLET, 330_000, 330_000, 1),
    ],
    "payouts": [
        {
            "payout_key": f"payout:{PARTICIPATION}:1",
            "sequence": 2,
            "batch": 1,
            "kind": "payout",
            "n": 1,
            "participation_id": PARTICIPATION,
            "campaign_id": CAMPAIGN,
            "streamer_id": STREAMER,
            "brand_id": BRAND,
            "impressions": 2001,
            "target": 2000,
            "payment_type": "cpm",
            "rate": "1650",
            "overdelivery": "cap_at_target",
            "impressions_paid": 2000,
            "rounding": "half_up",
            "gross_minor": 330_000,
            "fee_minor": 0,
            "amount_minor": 330_000,
            "currency": "INR",
            "rule": "impressions_target_reached",
            "trigger": "sweep",
            "run_id": "run-of-old",
            "cooloff_hours": 720,
            "facts_at": AT,
            "fingerprint": PAID.request.fingerprint,
            "created_at": AT,
        }
    ],
    "fundings": [
        {
            "campaign_id": CAMPAIGN,
            "n": 1,
            "sequence": 1,
            "batch": 1,
            "currency": "INR",
            "budget_minor": 1_000_000,
            "amount_minor": 1_000_000,
            "facts_at": AT,
        }
    ],
    "hold_events": [
        {
            "hold_key": "hold:oid:00:1",
            "event": "opened",
            "batch": 1,
            "participation_id": "oid:00",
            "campaign_id": CAMPAIGN,
            "streamer_id": "00",
            "reason": "over_budget",
            "detail": "",
            "amount_minor": 5,
            "currency": "INR",
            "occurred_at": AT,
        }
    ],
}
ACCOUNTS = [
    {"account": FUNDING, "currency": "INR", "kind": "funding", "balance_minor": -1_000_000, "version": 1},
    {"account": ESCROW, "currency": "INR", "kind": "escrow", "balance_minor": 670_000, "version": 2},
    {"account": WALLET, "currency": "INR", "kind": "wallet", "balance_minor": 330_000, "version": 1},
]


def hash_of_format_1(ledger_id: str) -> str:
    """Format 1 by its definition: every column in the order above, times in UTC with microseconds."""

    def plain(value: object) -> object:
        return "2026-01-02T03:04:05.678000+00:00" if value is AT else value

    tables = [[table, [[plain(value) for value in row.values()] for row in rows]] for table, rows in JOURNAL.items()]
    body = [1, 1, plain(AT), *tables]
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    genesis = hashlib.sha256(ledger_id.encode()).hexdigest()
    return hashlib.sha256(genesis.encode() + b"\n" + text.encode()).hexdigest()


def insert(connection: Connection, table: str, row: Row) -> None:
    """Raw SQL: today's table objects have columns that the table does not have yet."""
    columns = ", ".join(f'"{name}"' for name in row)
    values = ", ".join(f":{name}" for name in row)
    times = [sa.bindparam(name, value, schema.UtcDateTime) for name, value in row.items() if value is AT]
    rest = {name: value for name, value in row.items() if value is not AT}
    connection.execute(sa.text(f"INSERT INTO {table} ({columns}) VALUES ({values})").bindparams(*times), rest)


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    """A ledger of revision 0001 with one batch."""
    engine = open_engine(ledger_url)
    upgrade(engine, "0001")
    with writing(engine) as connection:
        ledger_id = connection.execute(sa.text("SELECT ledger_id FROM ledger_identity")).scalar_one()
        of_chain = hash_of_format_1(ledger_id)
        genesis = hashlib.sha256(ledger_id.encode()).hexdigest()
        for account in ACCOUNTS:
            insert(connection, "accounts", account)
        for table, rows in JOURNAL.items():
            for row in rows:
                insert(connection, table, row)
        insert(
            connection, "chain", {"batch": 1, "format": 1, "previous_hash": genesis, "hash": of_chain, "created_at": AT}
        )
        insert(
            connection,
            "outbox",
            {"sequence": 2, "status": "pending", "attempts": 0, "created_at": AT, "not_before": AT},
        )
        insert(
            connection,
            "wallet_positions",
            {"streamer_id": STREAMER, "currency": "INR", "version": 1, "projected_version": 0},
        )
        connection.execute(sa.text("UPDATE chain_head SET batch = 1, sequence = 2, hash = :hash"), {"hash": of_chain})
    yield engine
    engine.dispose()


def test_it_is_upgraded_and_verifies(engine: Engine) -> None:
    assert upgrade(engine) == ("0001", head_revision())

    found = SqlVerifier(engine).verify()

    assert found.faults == ()
    assert (found.entries, found.payouts, found.chain_verified_to) == (2, 1, 1)
    with reading(engine) as connection:
        row = connection.execute(sa.select(schema.payouts)).mappings().one()
    assert {name: row[name] for name in JOURNAL["payouts"][0]} == JOURNAL["payouts"][0]
    assert (row["fee_bps"], row["release_at"], row["settlement_key"], row["reverses"]) == (0, None, None, None)


def test_it_goes_on_posting(engine: Engine) -> None:
    upgrade(engine)
    writer = Writer(engine, batches=1)
    reversal = NewReversal(
        entry=reversal_entry(posted_of(PAID), reason="fraud"), payout=posted_of(PAID), decision_key="k"
    )
    writer.write(BatchPlan(posted=[reversal], decisions=[decision_of("k", "reverse", PAID.request.key, 330_000)]))
    write_varied(engine)

    found = SqlVerifier(engine).verify()

    assert found.faults == ()
    assert (found.payouts, found.chain_verified_to) == (12, 10)


def test_what_the_old_format_does_not_cover_is_not_open_to_edits(engine: Engine) -> None:
    upgrade(engine)
    tamperer = Tamperer(engine)
    row = tamperer.rows(schema.payouts)[0]
    for name in ("fee_bps", "release_at", "settlement_key", "reverses", "decision_key"):
        tamperer.update(schema.payouts, row, name, another(schema.payouts.c[name], row[name]))
        found = SqlVerifier(engine).verify()
        tamperer.update(schema.payouts, row, name, row[name])
        assert found.faults, name
        assert found.faults[0].batch == 1
    made_up = {
        "decision_key": "approve:p",
        "batch": 1,
        "kind": "approve",
        "subject": "p",
        "decided_by": "nobody",
        "reason": "none",
        "state_before": "{}",
        "amount_minor": None,
        "currency": None,
        "occurred_at": AT,
    }
    tamperer.insert(schema.decisions, made_up)
    assert [fault.detail for fault in SqlVerifier(engine).verify().faults] == [
        "batch 1 holds a row of decisions, which is younger than its format"
    ]


def test_an_edit_made_before_the_upgrade_is_found_after_it(engine: Engine) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER payouts_no_update")
        else:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql("UPDATE payouts SET impressions = 2000")
    upgrade(engine)

    found = SqlVerifier(engine).verify()

    assert [(fault.kind, fault.batch) for fault in found.faults] == [("chain_broken", 1)]
    assert found.chain_verified_to == 0


def test_an_older_one_is_brought_up_or_refused_with_the_command(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        require_current(engine)
        assert current_revision(engine) == head_revision()
    else:
        with pytest.raises(NotMigrated, match=r"is at revision 0001, and this program needs .* migrate"):
            require_current(engine)


@pytest.mark.parametrize("ask", [upgrade, require_current])
def test_a_newer_one_that_breaks_with_this_program_is_refused_with_a_sentence(engine: Engine, ask: Any) -> None:
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.exec_driver_sql("INSERT INTO compatibility (oldest_program) VALUES ('9999')")

    with pytest.raises(UsageError, match="is at revision 9999, which is newer than this program"):
        ask(engine)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "9999"
