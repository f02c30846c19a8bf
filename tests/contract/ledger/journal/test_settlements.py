"""Frozen settlements: once a campaign whoever races, paid from their lines, void where forfeited, never half."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy.engine import Engine

from reconciler.domain.batch import Outcome
from reconciler.domain.decision import PoolShare, Rule
from reconciler.domain.ids import DocumentId
from reconciler.errors import Halted
from reconciler.ledger import schema
from reconciler.ledger.journal import writing as rows
from reconciler.ledger.reads.ledger_reads import SqlLedgerReads
from reconciler.ports.journal import PostingBatch
from tests.support.ledger import (
    FULL,
    NOW,
    STAMP,
    SetClock,
    asking,
    balances,
    decisions_of,
    everything,
    identity,
    journal_of,
    ledger_is_sound,
    line_request,
    pool_due,
    request,
    rows_of,
)

SHARES = {"p1": 1000, "p2": 1000, "p3": 1001}
"""Impressions: 3,001 together, so the pool is the whole 3300.00."""
KEY = "settlement:str:c1:1"


def shares(engine: Engine) -> dict[str, int]:
    return {row["participation_id"]: row["share_minor"] for row in rows_of(engine, schema.settlement_lines)}


def unposted(engine: Engine) -> list[str]:
    return [one.tagged for one in SqlLedgerReads(engine).unposted_lines("", 100)]


def test_a_settlement_is_kept_as_it_was_frozen(engine: Engine) -> None:
    assert journal_of(engine).freeze(pool_due("c1", SHARES), NOW, STAMP)

    [frozen] = rows_of(engine, schema.settlements)
    assert frozen == {
        "settlement_key": KEY,
        "batch": 1,
        "n": 1,
        "campaign_id": "str:c1",
        "rule": "impressions_target_reached",
        "payment_type": "cpm",
        "rate": "1650",
        "overdelivery": "cap_at_target",
        "target": 2000,
        "impressions": 3001,
        "pool_minor": FULL,
        "currency": "INR",
        "trigger": "test",
        "run_id": "run-1",
        "facts_at": NOW,
        "created_at": NOW,
    }
    # 330000 · 1000 / 3001 = 109963.345…, and · 1001 / 3001 = 110073.308…: the missing paisa goes to p1.
    assert shares(engine) == {"str:p1": 109_964, "str:p2": 109_963, "str:p3": 110_073}
    assert {row["settlement_key"] for row in rows_of(engine, schema.settlement_lines)} == {KEY}
    assert unposted(engine) == ["str:p1", "str:p2", "str:p3"]
    assert balances(engine) == {}
    ledger_is_sound(engine)


def test_a_campaign_is_settled_once_whoever_races(engine: Engine) -> None:
    barrier = Barrier(6)

    def freeze(number: int) -> bool:
        # Viewers go on counting: each of them saw something else.
        due = pool_due("c1", {"p1": 1000 + number, "p2": 1500})
        barrier.wait()
        return journal_of(engine).freeze(due, NOW, STAMP)

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(freeze, range(6)))

    assert sorted(found) == [False] * 5 + [True]
    [frozen] = rows_of(engine, schema.settlements)
    assert frozen["impressions"] == 2500 + found.index(True)
    assert sum(shares(engine).values()) == FULL
    ledger_is_sound(engine)


def test_a_second_settlement_writes_nothing(engine: Engine) -> None:
    journal_of(engine).freeze(pool_due("c1", SHARES), NOW, STAMP)
    before = everything(engine)
    assert not journal_of(engine).freeze(pool_due("c1", SHARES | {"p9": 5000}), NOW, STAMP)
    assert everything(engine) == before
    assert journal_of(engine).freeze(pool_due("c2", {"q1": 2000}), NOW, STAMP)


def test_facts_too_old_freeze_nothing(engine: Engine) -> None:
    before = everything(engine)
    due = pool_due("c1", SHARES)
    assert not journal_of(engine).freeze(due, NOW - timedelta(seconds=30, milliseconds=1), STAMP)
    assert everything(engine) == before
    assert journal_of(engine).freeze(due, NOW - timedelta(seconds=30), STAMP)


def test_a_settlement_that_dies_half_way_leaves_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(engine)

    def die(**_: object) -> str:
        raise RuntimeError

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(rows, "batch_hash", die)
        journal_of(engine).freeze(pool_due("c1", SHARES), NOW, STAMP)

    assert everything(engine) == before
    with journal_of(engine).rehearsal() as poster:
        assert poster.freeze(pool_due("c1", SHARES), NOW, STAMP)
        assert not poster.freeze(pool_due("c1", SHARES), NOW, STAMP)
    assert everything(engine) == before


def test_its_lines_are_paid_and_sum_to_the_pool(engine: Engine) -> None:
    due, journal = pool_due("c1", SHARES), journal_of(engine)
    journal.freeze(due, NOW, STAMP)

    posted = journal.post(asking([line_request(due, name) for name in ("p3", "p1", "p2")]), STAMP)

    assert set(posted.outcomes.values()) == {Outcome.NEW}
    assert posted.paid_minor == {"INR": FULL}
    assert {(row["settlement_key"], row["rounding"]) for row in rows_of(engine, schema.payouts)} == {
        (KEY, "largest_remainder")
    }
    assert balances(engine)["campaign:str:c1:escrow"] == 0
    assert unposted(engine) == []
    before = everything(engine)
    again = journal.post(asking([line_request(due, name) for name in SHARES]), STAMP)
    assert set(again.outcomes.values()) == {Outcome.EXISTS}
    assert everything(engine) == before
    ledger_is_sound(engine)


def test_after_it_nobody_is_paid_but_from_a_line(engine: Engine) -> None:
    journal = journal_of(engine)
    journal.freeze(pool_due("c1", SHARES), NOW, STAMP)
    before = everything(engine)
    # Decided before the settlement was frozen, by another sweep: on its own impressions, and not on its share.
    overtaken = [request("p1"), request("late")]
    assert set(journal.post(asking(overtaken), STAMP).outcomes.values()) == {Outcome.STALE}
    assert everything(engine) == before


def test_what_is_known_of_it(engine: Engine) -> None:
    journal_of(engine).freeze(pool_due("c1", SHARES), NOW, STAMP)
    journal_of(engine).post(PostingBatch(voids=[identity("p2")]), STAMP)

    known = SqlLedgerReads(engine).settled_facts(["str:p1", "str:p2", "str:late"], [("str:c1", "s-late")])

    line = PoolShare(
        settlement_key=KEY,
        rule=Rule.IMPRESSIONS_TARGET_REACHED,
        share_minor=109_964,
        impressions=1000,
        frozen_for=("str:c1", "s-p1"),
    )
    assert known.pool_lines["str:p1"] == line
    assert known.pool_lines["str:p2"].is_void
    assert "str:late" not in known.pool_lines
    assert known.pool_campaigns == {
        "str:c1": PoolShare(settlement_key=KEY, rule=Rule.IMPRESSIONS_TARGET_REACHED, share_minor=None)
    }


def test_a_void_share_stays_in_escrow_and_is_said_once(engine: Engine) -> None:
    due, journal = pool_due("c1", SHARES), journal_of(engine)
    journal.freeze(due, NOW, STAMP)

    journal.post(
        PostingBatch(requests=[line_request(due, "p1"), line_request(due, "p3")], voids=[identity("p2")]), STAMP
    )

    [void] = rows_of(engine, schema.decisions)
    assert (void["decision_key"], void["kind"], void["subject"]) == ("void:str:p2", "void", "str:p2")
    assert void["decided_by"] == "reconciler"
    assert balances(engine)["campaign:str:c1:escrow"] == 109_963
    assert unposted(engine) == []
    before = everything(engine)
    journal.post(PostingBatch(voids=[identity("p2"), identity("p2")]), STAMP)
    assert everything(engine) == before
    ledger_is_sound(engine)


def test_lines_are_listed_page_by_page(engine: Engine) -> None:
    journal_of(engine).freeze(pool_due("c1", SHARES), NOW, STAMP)
    reader = SqlLedgerReads(engine)

    def page(after: str) -> Sequence[DocumentId]:
        return reader.unposted_lines(after, 2)

    assert [one.tagged for one in page("")] == ["str:p1", "str:p2"]
    assert [one.tagged for one in page("str:p2")] == ["str:p3"]
    assert page("str:p3") == []


def test_nothing_is_frozen_while_paying_is_halted(engine: Engine) -> None:
    decisions_of(engine, SetClock()).halt("chain_broken", "batch 1")
    before = everything(engine)
    with pytest.raises(Halted):
        journal_of(engine).freeze(pool_due("c1", SHARES), NOW, STAMP)
    assert everything(engine) == before
