"""The books, read: balances then and now, the trial balance, statements, the general ledger."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.reads.brand_statement import brand_statement
from reconciler.ledger.reads.general_ledger import (
    ALL_TIME,
    AccountBalance,
    Period,
    account_balances,
    journal_rows,
    trial_balance,
)
from reconciler.ledger.reads.streamer_statement import CurrencyStatement, StreamerBalance, streamer_statement
from reconciler.ledger.schema import accounts
from tests.support.ledger_history import FULL, START, LedgerHistory, terms_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

HELD, WALLET = "streamer:s1:held", "streamer:s1:wallet"
ESCROW, FUNDING = "campaign:str:c1:escrow", "brand:str:b1:funding"
FEES = "platform:fees"
BUDGET = 3_300_000
FEE = 3_300
"""One percent of a full payout."""


@pytest.fixture
def books(ledger_url: str) -> Iterator[LedgerHistory]:
    engine = open_engine(ledger_url)
    upgrade(engine)
    yield LedgerHistory(engine=engine)
    engine.dispose()


def held_by(books: LedgerHistory, **options: datetime | str) -> dict[str, int]:
    found = account_balances(books.engine, **options)  # type: ignore[arg-type]
    return {one.account: one.balance_minor for one in found}


def statement(books: LedgerHistory, since: datetime | None = None, until: datetime | None = None) -> CurrencyStatement:
    found = streamer_statement(books.engine, "s1", Period(since=since, until=until))
    assert found is not None
    [only] = found.currencies
    return only


def test_an_empty_ledger_reads_as_nothing(books: LedgerHistory) -> None:
    assert list(account_balances(books.engine)) == []
    assert list(account_balances(books.engine, as_of=START)) == []
    assert trial_balance(books.engine) == trial_balance(books.engine, as_of=START) == []
    assert list(journal_rows(books.engine, ALL_TIME)) == []
    assert streamer_statement(books.engine, "s1", ALL_TIME) is None
    assert brand_statement(books.engine, ["str:b1"]) == []


def test_balances_are_those_of_the_accounts_and_those_after_each_batch(books: LedgerHistory) -> None:
    books.pay("p1", "s1", fee_bps=100)
    second = books.later(hours=1)
    books.pay("p2", "s2")

    before, first = START - timedelta(milliseconds=1), second - timedelta(milliseconds=1)
    assert held_by(books, as_of=before) == {}
    assert held_by(books, as_of=START) == held_by(books, as_of=first)
    assert held_by(books, as_of=START) == {
        FUNDING: -BUDGET,
        ESCROW: BUDGET - FULL,
        WALLET: FULL - FEE,
        FEES: FEE,
    }
    assert held_by(books, as_of=second) == held_by(books)
    assert held_by(books)[ESCROW] == BUDGET - 2 * FULL
    assert list(account_balances(books.engine, as_of=second)) == list(account_balances(books.engine))


def test_a_balance_tells_kind_currency_and_how_many_postings_made_it(books: LedgerHistory) -> None:
    books.pay("p1", "s1")
    books.later(hours=1)
    books.pay("p2", "s1", terms=terms_of("c2", currency="JPY"))

    found = list(account_balances(books.engine, prefix="streamer:"))

    assert found == [
        AccountBalance(account=WALLET, kind="wallet", currency="INR", balance_minor=FULL, version=1),
        AccountBalance(account=WALLET, kind="wallet", currency="JPY", balance_minor=3_300, version=1),
    ]


def test_a_prefix_is_literal_and_minds_the_case(books: LedgerHistory) -> None:
    books.pay("p1", "s_%1")
    books.pay("p2", "sxx1")
    books.pay("p3", "S_%1")

    for as_of in ({}, {"as_of": START}):
        assert list(held_by(books, prefix="streamer:s_%", **as_of)) == ["streamer:s_%1:wallet"]


def test_the_trial_balance_sums_to_zero_in_each_currency(books: LedgerHistory) -> None:
    books.hold_days = 2
    books.pay("p1", "s1", fee_bps=250)
    half = books.later(hours=1)
    books.pay("p2", "s2", terms=terms_of("c2", currency="KWD"))

    lines = {(one.currency, one.kind): (one.accounts_count, one.balance_minor) for one in trial_balance(books.engine)}
    then = trial_balance(books.engine, as_of=half - timedelta(milliseconds=1))

    assert lines == {
        ("INR", "escrow"): (1, BUDGET - FULL),
        ("INR", "fees"): (1, 8_250),
        ("INR", "funding"): (1, -BUDGET),
        ("INR", "held"): (1, FULL - 8_250),
        ("KWD", "escrow"): (1, 33_000_000 - 3_300_000),
        ("KWD", "funding"): (1, -33_000_000),
        ("KWD", "held"): (1, 3_300_000),
    }
    assert {one.currency for one in then} == {"INR"}
    assert sum(one.balance_minor for one in then) == 0


def test_the_trial_balance_shows_a_balance_that_was_changed_by_hand(books: LedgerHistory) -> None:
    books.pay("p1", "s1")
    with books.engine.begin() as connection:
        connection.execute(sa.update(accounts).where(accounts.c.account == WALLET).values(balance_minor=FULL + 1))

    assert sum(one.balance_minor for one in trial_balance(books.engine)) == 1


def test_a_clock_that_is_set_back_tears_no_statement(books: LedgerHistory) -> None:
    """A time means the state after the last batch booked by then: one that the ledger really was in."""
    first = books.now
    books.pay("p1", "s1")
    books.later(seconds=-5)
    books.pay("p2", "s2")
    books.pay("p3", "s1", terms=terms_of("c2"))

    for seconds in range(-7, 3):
        at = first + timedelta(seconds=seconds)
        assert sum(one.balance_minor for one in trial_balance(books.engine, as_of=at)) == 0
        early, late = statement(books, until=at), statement(books, since=at)
        assert early.closing == late.opening
        assert len(early.lines) + len(late.lines) == 2
        for part in (early, late):
            assert part.opening.total_minor + sum(line.net_minor for line in part.lines) == part.closing.total_minor


def test_a_statement_tells_payout_release_and_reversal_and_where_the_money_lies(books: LedgerHistory) -> None:
    books.hold_days = 2
    key = books.pay("p1", "s1", fee_bps=100)
    released_at = books.later(days=2)
    assert books.release() == 1
    reversed_at = books.later(hours=1)
    books.reverse(key)
    net = FULL - FEE

    whole = statement(books)

    assert (whole.currency, whole.opening, whole.closing) == ("INR", StreamerBalance(), StreamerBalance())
    assert [
        (one.booked_at, one.kind, one.gross_minor, one.fee_minor, one.net_minor, one.lies) for one in whole.lines
    ] == [
        (START, "payout", FULL, FEE, net, "held"),
        (released_at, "hold_release", 0, 0, 0, "held to wallet"),
        (reversed_at, "reversal", -FULL, -FEE, -net, "wallet"),
    ]
    assert [one.after for one in whole.lines] == [
        StreamerBalance(held_minor=net),
        StreamerBalance(wallet_minor=net),
        StreamerBalance(),
    ]
    assert {one.campaign_id for one in whole.lines} == {"str:c1"}
    assert [one.corrects for one in whole.lines] == [None, key, key]
    assert whole.lines[2].reason == "counted twice"


def test_a_reversal_of_what_is_held_is_taken_from_held(books: LedgerHistory) -> None:
    books.hold_days = 2
    books.reverse(books.pay("p1", "s1"))

    assert [(one.kind, one.lies, one.held_minor, one.wallet_minor) for one in statement(books).lines] == [
        ("payout", "held", FULL, 0),
        ("reversal", "held", -FULL, 0),
    ]


def test_a_statement_of_a_period_begins_with_what_was_there_and_includes_its_first_moment_only(
    books: LedgerHistory,
) -> None:
    books.pay("p1", "s1")
    second = books.later(hours=1)
    books.pay("p2", "s1", terms=terms_of("c2"))
    third = books.later(hours=1)
    books.pay("p3", "s1", terms=terms_of("c3"))

    middle = statement(books, since=second, until=third)

    assert middle.opening == StreamerBalance(wallet_minor=FULL)
    assert [one.campaign_id for one in middle.lines] == ["str:c2"]
    assert [one.after.wallet_minor for one in middle.lines] == [2 * FULL]
    assert middle.closing == StreamerBalance(wallet_minor=2 * FULL) == statement(books, since=third).opening


def test_a_statement_keeps_currencies_apart_and_leaves_other_streamers_out(books: LedgerHistory) -> None:
    books.pay("p1", "s1")
    books.pay("p2", "s1", terms=terms_of("c2", currency="JPY"))
    books.pay("p3", "s11")

    found = streamer_statement(books.engine, "s1", ALL_TIME)

    assert found is not None
    assert [(one.currency, one.closing.total_minor, len(one.lines)) for one in found.currencies] == [
        ("INR", FULL, 1),
        ("JPY", 3_300, 1),
    ]


def test_an_adjustment_is_a_line_without_a_fee(books: LedgerHistory) -> None:
    books.pay("p1", "s1", fee_bps=100)
    books.adjust("gift", FEES, WALLET, 500)

    line = statement(books).lines[-1]

    assert (line.kind, line.gross_minor, line.fee_minor, line.net_minor, line.lies) == (
        "adjustment",
        500,
        0,
        500,
        "wallet",
    )
    assert statement(books).closing.wallet_minor == FULL - FEE + 500


def test_a_brand_sees_what_became_of_its_money_in_each_campaign(books: LedgerHistory) -> None:
    over, open_ = terms_of("c1"), terms_of("c2", budget=5_000)
    key = books.pay("p1", "s1", terms=over, fee_bps=100)
    books.pay("p2", "s2", terms=over)
    books.reverse(key)
    books.refund(over, BUDGET - FULL)
    books.pay("p3", "s3", terms=open_)
    books.pay("p4", "s4", terms=open_)  # does not fit any more
    books.pay("p5", "s5", terms=terms_of("c3", brand="b2"))

    first, second = brand_statement(books.engine, ["oid:b1", "str:b1"])

    assert (first.campaign_id, first.brand_ids, first.currency) == ("str:c1", ("str:b1",), "INR")
    assert (first.budget_minor, first.funded_minor) == (BUDGET, BUDGET)
    assert (first.payouts_count, first.paid_gross_minor, first.reversed_gross_minor) == (2, 2 * FULL, FULL)
    assert (first.fee_minor, first.refunded_minor, first.left_minor) == (0, BUDGET - FULL, 0)
    assert (first.open_holds_count, first.open_holds_minor) == (0, 0)
    assert (second.campaign_id, second.funded_minor, second.paid_gross_minor) == ("str:c2", 500_000, FULL)
    assert (second.left_minor, second.open_holds_count, second.open_holds_minor) == (500_000 - FULL, 1, FULL)


def test_a_brand_statement_adds_up_and_shows_fees_and_adjustments(books: LedgerHistory) -> None:
    books.pay("p1", "s1", fee_bps=100)
    books.adjust("back", FEES, ESCROW, 300)

    [one] = brand_statement(books.engine, ["str:c1"])

    assert (one.fee_minor, one.adjusted_minor) == (FEE, 300)
    assert one.left_minor == BUDGET - FULL + 300
    assert (
        one.funded_minor - one.paid_gross_minor + one.reversed_gross_minor - one.refunded_minor + one.adjusted_minor
        == one.left_minor
    )


def test_a_hold_that_was_closed_is_no_open_hold(books: LedgerHistory) -> None:
    books.pay("p1", "s1", terms=terms_of(budget=5_000))
    books.pay("p2", "s2", terms=terms_of(budget=5_000))
    [before] = brand_statement(books.engine, ["str:c1"])
    books.later(seconds=1)
    books.pay("p2", "s2", terms=terms_of(budget=10_000))

    [after] = brand_statement(books.engine, ["str:c1"])

    assert (before.open_holds_count, before.budget_minor) == (1, 500_000)
    assert (after.open_holds_count, after.open_holds_minor, after.budget_minor) == (0, 0, 1_000_000)
    assert (after.funded_minor, after.left_minor) == (1_000_000, 1_000_000 - 2 * FULL)


def test_a_campaign_is_found_by_its_own_identity_and_type(books: LedgerHistory) -> None:
    hex_id = "64b000000000000000000001"
    books.pay("p1", "s1", terms=terms_of(f"oid:{hex_id}"))
    books.pay("p2", "s2", terms=terms_of(hex_id))

    assert [one.campaign_id for one in brand_statement(books.engine, [f"oid:{hex_id}"])] == [f"oid:{hex_id}"]
    assert len(brand_statement(books.engine, [f"oid:{hex_id}", f"str:{hex_id}"])) == 2
    assert brand_statement(books.engine, ["str:c9"]) == []


def test_the_general_ledger_has_every_leg_once_in_the_order_of_booking(books: LedgerHistory) -> None:
    books.hold_days = 1
    key = books.pay("p1", "s1", fee_bps=100)
    second = books.later(days=1)
    books.release()
    third = books.later(hours=1)
    books.reverse(key)

    rows = list(journal_rows(books.engine, ALL_TIME))

    assert [(one.sequence, one.leg, one.kind, one.account_kind, one.amount_minor) for one in rows] == [
        (1, 0, "fund", "funding", -BUDGET),
        (1, 1, "fund", "escrow", BUDGET),
        (2, 0, "payout", "escrow", -FULL),
        (2, 1, "payout", "held", FULL - FEE),
        (2, 2, "payout", "fees", FEE),
        (3, 0, "hold_release", "held", FEE - FULL),
        (3, 1, "hold_release", "wallet", FULL - FEE),
        (4, 0, "reversal", "escrow", FULL),
        (4, 1, "reversal", "wallet", FEE - FULL),
        (4, 2, "reversal", "fees", -FEE),
    ]
    sums: Counter[int] = Counter()
    for one in rows:
        sums[one.sequence] += one.amount_minor
    assert set(sums.values()) == {0}
    last = rows[-1]
    assert (last.key, last.corrects, last.booked_at, last.effective_at) == (f"reversal:{key}", key, third, third)
    assert (last.account, last.currency, last.reason, last.run_id) == (FEES, "INR", "counted twice", "by-hand")
    assert (last.campaign_id, last.participation_id, last.streamer_id) == ("str:c1", "str:p1", "s1")
    middle = list(journal_rows(books.engine, Period(since=second, until=third)))
    assert {one.kind for one in middle} == {"hold_release"}
    assert list(journal_rows(books.engine, Period(until=second))) + middle == rows[:7]


def test_rows_stream_past_the_size_of_one_fetch(books: LedgerHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.ledger.reads.general_ledger.ROWS_A_FETCH", 3)
    books.post([books.request(f"p{number}", f"s{number}") for number in range(8)])

    assert len(list(journal_rows(books.engine, ALL_TIME))) == 2 + 2 * 8
    assert len(list(account_balances(books.engine))) == len(list(account_balances(books.engine, as_of=START))) == 10


def test_a_reader_that_stops_early_gives_its_connection_back(books: LedgerHistory) -> None:
    books.post([books.request(f"p{number}", f"s{number}") for number in range(8)])
    rows = journal_rows(books.engine, ALL_TIME)
    next(rows)
    rows.close()  # type: ignore[attr-defined]

    assert books.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
