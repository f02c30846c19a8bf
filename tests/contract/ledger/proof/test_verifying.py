"""What verifying proves on a ledger that is right, and how it names what is wrong with a sequence of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.domain import accounts
from reconciler.domain.accounts import Entry, Posting
from reconciler.domain.plan import BatchPlan, NewTransfer
from reconciler.ledger import schema
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.proof.verify import SqlVerifier
from tests.support.tampering import Tamperer
from tests.support.varied_ledger import Writer, terms_of, write_varied


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    engine = open_engine(ledger_url)
    upgrade(engine)
    yield engine
    engine.dispose()


def test_an_empty_ledger_verifies(engine: Engine) -> None:
    found = SqlVerifier(engine).verify()

    assert (found.faults, found.entries, found.chain_verified_to) == ((), 0, 0)


def test_a_varied_ledger_verifies(engine: Engine) -> None:
    writer = write_varied(engine)

    found = SqlVerifier(engine).verify()

    assert found.faults == ()
    assert found.chain_verified_to == writer.batches
    assert (found.entries, found.payouts) == (16, 10)
    assert found.ledger_sequence == found.entries


def edited(
    engine: Engine, table: sa.Table, where: dict[str, Any], changes: dict[str, Any]
) -> list[tuple[str, int | None]]:
    """Edit rows and make every hash right again: kind and entry of each fault that is left to tell."""
    tamperer = Tamperer(engine)
    rows = [row for row in tamperer.rows(table) if all(row[name] == value for name, value in where.items())]
    assert rows
    for row in rows:
        for name, value in changes.items():
            tamperer.update(table, row, name, value)
    tamperer.rehash()
    return [(fault.kind, fault.sequence) for fault in SqlVerifier(engine).verify().faults]


# In the varied ledger entry 2 pays 3300.00 without a fee, 5 pays 2.47 with one, and 8 takes 2 back.
@pytest.mark.parametrize(
    ("table", "where", "changes", "expected"),
    [
        pytest.param("payouts", {"sequence": 2}, {"rate": "1651"}, ("amount_differs", 2), id="rate"),
        pytest.param("payouts", {"sequence": 2}, {"impressions": 1999}, ("amount_differs", 2), id="impressions"),
        pytest.param("payouts", {"sequence": 2}, {"target": 1999}, ("amount_differs", 2), id="target"),
        pytest.param("payouts", {"sequence": 5}, {"overdelivery": "pay"}, ("amount_differs", 5), id="overdelivery"),
        pytest.param("payouts", {"sequence": 2}, {"payment_type": "fixed"}, ("amount_differs", 2), id="payment type"),
        pytest.param("payouts", {"sequence": 2}, {"currency": "KWD"}, ("amount_differs", 2), id="currency"),
        pytest.param("payouts", {"sequence": 2}, {"rounding": "none"}, ("amount_differs", 2), id="rounding"),
        pytest.param("payouts", {"sequence": 2}, {"fee_bps": 100}, ("amount_differs", 2), id="fee"),
        pytest.param(
            "payouts", {"sequence": 2}, {"gross_minor": 1, "amount_minor": 1}, ("amount_differs", 2), id="amounts"
        ),
        pytest.param(
            "payouts", {"sequence": 8}, {"gross_minor": -1, "amount_minor": -1}, ("amount_differs", 8), id="mirror"
        ),
        pytest.param("payouts", {"sequence": 8}, {"streamer_id": "x"}, ("amount_differs", 8), id="mirror's streamer"),
        pytest.param("payouts", {"sequence": 2}, {"kind": "gift"}, ("amount_differs", 2), id="kind"),
        pytest.param("entries", {"sequence": 2}, {"key": "payout:x:1"}, ("amount_differs", 2), id="entry's key"),
        pytest.param(
            "settlement_lines", {"impressions": 700}, {"share_minor": 1}, ("amount_differs", None), id="share"
        ),
        pytest.param(
            "settlement_lines", {"impressions": 700}, {"impressions": 701}, ("amount_differs", None), id="sum"
        ),
        pytest.param("settlements", {"n": 1}, {"rate": "1001"}, ("amount_differs", None), id="pool's rate"),
        pytest.param("settlements", {"n": 1}, {"pool_minor": 1}, ("amount_differs", None), id="pool"),
        pytest.param("postings", {"sequence": 2, "leg": 0}, {"currency": "JPY"}, ("ledger_unbalanced", 2), id="leg"),
        pytest.param(
            "postings", {"sequence": 2, "leg": 1}, {"amount_minor": 5}, ("ledger_unbalanced", 2), id="zero sum"
        ),
        pytest.param(
            "postings",
            {"sequence": 3, "leg": 0},
            {"balance_after_minor": 5},
            ("balance_differs", 3),
            id="balance after",
        ),
        pytest.param(
            "postings", {"sequence": 3, "leg": 0}, {"account_version": 99}, ("balance_differs", 3), id="version"
        ),
        pytest.param("entries", {"sequence": 16}, {"sequence": 17}, ("chain_broken", 17), id="gap"),
    ],
)
def test_it_is_derived_and_not_only_hashed(
    engine: Engine, table: str, where: dict[str, Any], changes: dict[str, Any], expected: tuple[str, int | None]
) -> None:
    """With every hash made right again, the contradiction itself is what is left to find."""
    write_varied(engine)

    found = edited(engine, schema.metadata.tables[table], where, changes)

    assert expected in found, found


@pytest.mark.parametrize(("sequence", "sign"), [(2, -1), (8, 1)], ids=["payout", "reversal"])
@pytest.mark.parametrize("row_too", [False, True])
def test_what_was_moved_is_what_the_row_says_and_its_payout_gives(
    engine: Engine, sequence: int, sign: int, *, row_too: bool
) -> None:
    """Postings that still sum to zero and move one minor unit only, with and without the payout's row."""
    write_varied(engine)
    tamperer = Tamperer(engine)
    for row in tamperer.rows(schema.postings):
        if row["sequence"] == sequence:
            amount_minor = sign if row["leg"] == 0 else -sign
            tamperer.update(schema.postings, row, "amount_minor", amount_minor)

    changes = {"gross_minor": -sign, "amount_minor": -sign} if row_too else {}
    found = edited(engine, schema.payouts, {"sequence": sequence}, changes)

    assert ("amount_differs", sequence) in found
    assert ("ledger_unbalanced", sequence) not in found


def test_an_escrow_below_zero_is_named(engine: Engine) -> None:
    """Balanced, hashed and running right: only that an escrow may not owe."""
    Tamperer(engine)
    terms = terms_of(0x10)
    overdrawn = Entry(
        key="adjustment:too-much",
        kind="adjustment",
        currency="INR",
        reason="none",
        postings=(
            Posting(account=accounts.escrow(terms.campaign_id), amount_minor=-1),
            Posting(account=accounts.FEES, amount_minor=1),
        ),
    )
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            connection.exec_driver_sql("BEGIN")
            connection.rollback()
    Writer(engine).write(BatchPlan(posted=[NewTransfer(entry=overdrawn)]))

    owing, rule = SqlVerifier(engine).verify().faults
    assert (owing.kind, owing.sequence) == ("escrow_negative", 1)
    assert rule.detail.endswith("of accounts breaks the rule ck_accounts_escrow_not_negative")


@pytest.mark.parametrize(
    ("table", "column", "value", "rule"),
    [
        (schema.payouts, "amount_minor", 1, "net_and_fee_are_gross"),
        (schema.payouts, "fee_minor", -7, "net_and_fee_are_gross"),
        (schema.hold_events, "event", "forgotten", "event"),
        (schema.outbox, "status", "lost", "status"),
        (schema.accounts, "balance_minor", -1, "escrow_not_negative"),
        (schema.wallet_positions, "projected_version", 99, "projected_not_ahead"),
    ],
    ids=str,
)
def test_a_row_that_breaks_a_rule_of_its_table_is_named(
    engine: Engine, table: sa.Table, column: str, value: object, rule: str
) -> None:
    """Written past the rule, by somebody who switched it off: SQLite alone says no more than in which table."""
    write_varied(engine)
    tamperer = Tamperer(engine)
    row = next(one for one in tamperer.rows(table) if table is not schema.accounts or one["kind"] == "escrow")
    tamperer.update(table, row, column, value)

    faults = SqlVerifier(engine).verify().faults

    key = ", ".join(str((row | {column: value})[one.name]) for one in table.primary_key.columns)
    said = f"the row {key} of {table.name} breaks the rule ck_{table.name}_{rule}"
    [named] = [one for one in faults if one.detail == said]
    if "sequence" in row and "batch" in row:
        assert (faults[0].batch, faults[0].sequence) == (row["batch"], row["sequence"])
    assert named.kind == "chain_broken"
