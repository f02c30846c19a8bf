"""`payout.hold_days`: earnings lie in *held*, are moved out once, and a reversal takes them from where they lie."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.engine import Engine

from reconciler.errors import Halted
from reconciler.ledger import schema
from reconciler.ledger.journal import escrows
from reconciler.ledger.operations.outbox import SqlOutbox
from tests.support.ledger import (
    NOW,
    STAMP,
    SetClock,
    asking,
    balances,
    decisions_of,
    everything,
    journal_of,
    ledger_is_sound,
    request,
    requests,
    reverse,
    rows_of,
    treasury_of,
)

DAY = timedelta(days=1)
P1 = "payout:str:p1:1"
NET, FEE = 297_000, 33_000


class Streamer:
    """p1 was paid 3300.00, a fee of 330.00 in it, to be held for three days."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = SetClock()
        journal_of(engine, self.clock, hold_days=3).post(asking([request(fee_bps=1000)]), STAMP)

    def release(self) -> int:
        return treasury_of(self.engine, self.clock).release_due(STAMP)

    def lies(self) -> tuple[int, int, int, int]:
        """(held, wallet, fees, escrow)."""
        found = balances(self.engine)
        held, wallet = found["streamer:s-p1:held"], found.get("streamer:s-p1:wallet", 0)
        return held, wallet, found["platform:fees"], found["campaign:str:c1:escrow"]

    def told(self) -> list[tuple[str, int]]:
        """(statement line, amount) of everything that MongoDB is to be told."""
        outbox = SqlOutbox(self.engine, clock=self.clock, blocked_retry=DAY)
        return [(task.statement_type, task.amount_minor) for task in outbox.ready(100)]


@pytest.fixture
def streamer(engine: Engine) -> Streamer:
    return Streamer(engine)


def test_a_payout_lies_held_until_its_days_are_over(streamer: Streamer) -> None:
    [payout] = rows_of(streamer.engine, schema.payouts)
    assert payout["release_at"] == NOW + 3 * DAY
    assert streamer.lies() == (NET, 0, FEE, 0)
    streamer.clock.now = NOW + 3 * DAY - timedelta(milliseconds=1)
    before = everything(streamer.engine)

    assert streamer.release() == 0

    assert everything(streamer.engine) == before
    assert streamer.told() == [("earnings_hold", NET)]


def test_a_release_moves_it_once(streamer: Streamer) -> None:
    streamer.clock.now = NOW + 3 * DAY

    assert streamer.release() == 1

    assert streamer.lies() == (0, NET, FEE, 0)
    [entry] = [row for row in rows_of(streamer.engine, schema.entries) if row["kind"] == "hold_release"]
    assert (entry["key"], entry["corrects"], entry["booked_at"]) == (f"release:{P1}", P1, NOW + 3 * DAY)
    assert streamer.told() == [("earnings_hold", NET), ("earnings_release", NET)]
    [position] = rows_of(streamer.engine, schema.wallet_positions)
    assert position["version"] == 2
    before = everything(streamer.engine)
    streamer.clock.advance(3 * DAY)
    assert streamer.release() == 0
    assert everything(streamer.engine) == before
    ledger_is_sound(streamer.engine)


def test_a_reversal_before_the_release_takes_it_from_held(streamer: Streamer) -> None:
    streamer.clock.advance(DAY)
    reverse(streamer.engine, P1, streamer.clock)

    assert streamer.lies() == (0, 0, 0, NET + FEE)
    streamer.clock.advance(10 * DAY)
    assert streamer.release() == 0
    assert streamer.told() == [("earnings_hold", NET), ("earnings_reversal", -NET)]
    [decision] = rows_of(streamer.engine, schema.decisions)
    assert '"lies": "held"' in decision["state_before"]
    ledger_is_sound(streamer.engine)


def test_a_reversal_after_the_release_takes_it_from_the_wallet(streamer: Streamer) -> None:
    streamer.clock.advance(3 * DAY)
    streamer.release()
    reverse(streamer.engine, P1, streamer.clock)

    assert streamer.lies() == (0, 0, 0, NET + FEE)
    wallet = [row["amount_minor"] for row in rows_of(streamer.engine, schema.postings) if "wallet" in row["account"]]
    assert wallet == [NET, -NET]
    assert streamer.told()[-1] == ("earnings_reversal", -NET)
    ledger_is_sound(streamer.engine)


def test_without_hold_days_nothing_is_ever_held(engine: Engine) -> None:
    clock = SetClock()
    journal_of(engine, clock).post(asking([request()]), STAMP)
    assert rows_of(engine, schema.payouts)[0]["release_at"] is None
    clock.advance(400 * DAY)
    assert treasury_of(engine, clock).release_due(STAMP) == 0


def test_more_than_a_batch_is_released_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(escrows, "_RELEASES_A_BATCH", 4)
    clock = SetClock()
    journal_of(engine, clock, hold_days=1).post(asking(requests(10, budget=33_000)), STAMP)
    clock.advance(DAY)

    assert treasury_of(engine, clock).release_due(STAMP) == 10

    assert sum(value for name, value in balances(engine).items() if name.endswith(":held")) == 0
    assert len(rows_of(engine, schema.chain)) == 1 + 3
    ledger_is_sound(engine)


def test_nothing_is_released_while_paying_is_halted(streamer: Streamer) -> None:
    streamer.clock.advance(3 * DAY)
    decisions_of(streamer.engine, streamer.clock).halt("chain_broken", "batch 1")
    before = everything(streamer.engine)
    with pytest.raises(Halted):
        streamer.release()
    assert everything(streamer.engine) == before
