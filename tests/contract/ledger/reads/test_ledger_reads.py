"""What decisions ask of the ledger, outside its lock."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.engine import Engine

from reconciler.domain.decision import Settled
from reconciler.ledger.reads.ledger_reads import SqlLedgerReads
from reconciler.ports.ledger_reads import PaidTotals, SettledFacts
from tests.support.ledger import FULL, NOW, STAMP, SetClock, asking, identity, journal_of, request, reverse


@pytest.fixture
def reader(engine: Engine) -> SqlLedgerReads:
    """Paid: p1 and p2 of c1, usd of c2. Held: p3, and a moment later p0."""
    clock = SetClock()
    journal = journal_of(engine, clock)
    journal.post(asking([request(name, budget=6600) for name in ("p1", "p2", "p3")]), STAMP)
    clock.advance(timedelta(seconds=1))
    journal.post(asking([request("p0", budget=6600), request("usd", campaign="c2", currency="USD")]), STAMP)
    return SqlLedgerReads(engine)


def test_an_empty_ledger_knows_nothing(engine: Engine) -> None:
    reader = SqlLedgerReads(engine)
    nothing = SettledFacts(settled={}, paid_participations={}, pinned_currency={}, held={})
    assert reader.settled_facts(["str:p1"], [("str:c1", "s-p1")]) == nothing
    assert reader.settled_facts([], []) == nothing
    assert (reader.open_holds(), reader.totals(), reader.campaign_totals([])) == ([], [], {})


def test_settled_facts_are_those_of_what_was_asked(reader: SqlLedgerReads) -> None:
    found = reader.settled_facts(
        ["str:p1", "str:p3", "oid:p2", "str:usd"],
        [("str:c1", "s-p1"), ("str:c1", "s-p3"), ("str:c2", "s-p1"), ("str:c3", "s-p1")],
    )
    assert found.settled == {"str:p1": Settled.PAID, "str:usd": Settled.PAID}
    assert found.paid_participations == {("str:c1", "s-p1"): "str:p1"}
    assert found.pinned_currency == {"str:c1": "INR", "str:c2": "USD"}
    assert {key: (hold.hold_key, hold.amount_minor) for key, hold in found.held.items()} == {
        "str:p3": ("hold:str:p3:1", FULL)
    }


def test_a_pair_is_matched_as_a_pair(reader: SqlLedgerReads) -> None:
    crossed = reader.settled_facts([], [("str:c1", "s-usd"), ("str:c2", "s-p1")])
    assert crossed.paid_participations == {}
    twice = reader.settled_facts([], [("str:c1", "s-p1"), ("str:c1", "s-p2"), ("str:c1", "s-p1")])
    assert twice.paid_participations == {("str:c1", "s-p1"): "str:p1", ("str:c1", "s-p2"): "str:p2"}


def test_what_was_reversed_is_reversed_until_it_is_repaid(engine: Engine, reader: SqlLedgerReads) -> None:
    reverse(engine, "payout:str:p1:1")
    assert reader.settled_facts(["str:p1", "str:p2"], []).settled == {
        "str:p1": Settled.REVERSED,
        "str:p2": Settled.PAID,
    }
    # Reversed or not, another participation of this streamer is not paid in its place.
    assert reader.settled_facts([], [("str:c1", "s-p1")]).paid_participations == {("str:c1", "s-p1"): "str:p1"}


def test_a_second_payout_outlives_the_reversal_of_the_first(engine: Engine) -> None:
    reader = SqlLedgerReads(engine)
    journal_of(engine).post(asking([request(budget=99_000)]), STAMP)
    reverse(engine, "payout:str:p1:1")
    journal_of(engine).post(asking([request(budget=99_000, n=2)]), STAMP)
    assert reader.settled_facts(["str:p1"], []).settled == {"str:p1": Settled.PAID}


def test_thousands_are_asked_at_once(reader: SqlLedgerReads) -> None:
    names = [f"str:n{number}" for number in range(40_000)]
    found = reader.settled_facts([*names, "str:p1"], [("str:c1", name) for name in [*names, "s-p2"]])
    assert found.settled == {"str:p1": Settled.PAID}
    assert found.paid_participations == {("str:c1", "s-p2"): "str:p2"}


def test_odd_text_is_only_text(engine: Engine) -> None:
    odd = """'"%(x)s:y\\ {a,b},NULL[0] é𝄞"""
    journal_of(engine).post(asking([request(odd, streamer=odd, campaign=odd)]), STAMP)
    found = SqlLedgerReads(engine).settled_facts([f"str:{odd}"], [(f"str:{odd}", odd)])
    assert found.settled == {f"str:{odd}": Settled.PAID}
    assert found.paid_participations == {(f"str:{odd}", odd): f"str:{odd}"}


def test_open_holds_stand_in_the_order_in_which_they_are_paid(reader: SqlLedgerReads) -> None:
    holds = reader.open_holds()
    assert [(hold.participation_id, hold.opened_at) for hold in holds] == [
        ("str:p3", NOW),
        ("str:p0", NOW + timedelta(seconds=1)),
    ]


def test_a_hold_that_was_paid_is_closed(engine: Engine, reader: SqlLedgerReads) -> None:
    journal = journal_of(engine, SetClock(NOW + timedelta(seconds=2)))
    journal.post(asking([request("p3", budget=9900, facts_at=NOW + timedelta(seconds=2))]), STAMP)
    assert [hold.participation_id for hold in reader.open_holds()] == ["str:p0"]
    assert list(reader.settled_facts(["str:p3", "str:p0"], []).held) == ["str:p0"]


def test_campaign_totals_take_reversals_off(engine: Engine, reader: SqlLedgerReads) -> None:
    reverse(engine, "payout:str:p1:1")
    found = reader.campaign_totals([identity("c1"), identity("c2"), identity("c3")])
    assert found == {identity("c1"): (FULL, "INR"), identity("c2"): (FULL, "USD")}
    assert list(reader.campaign_totals([identity("c2")])) == [identity("c2")]


def test_totals_a_currency(engine: Engine, reader: SqlLedgerReads) -> None:
    reverse(engine, "payout:str:p1:1")
    assert reader.totals() == [
        PaidTotals(currency="INR", payouts_count=2, paid_minor=2 * FULL, reversed_minor=FULL, held_minor=2 * FULL),
        PaidTotals(currency="USD", payouts_count=1, paid_minor=FULL, reversed_minor=0, held_minor=0),
    ]


def test_a_currency_with_nothing_but_holds_has_totals_too(engine: Engine) -> None:
    journal_of(engine).post(asking([request(budget=100)]), STAMP)
    assert SqlLedgerReads(engine).totals() == [
        PaidTotals(currency="INR", payouts_count=0, paid_minor=0, reversed_minor=0, held_minor=FULL)
    ]
