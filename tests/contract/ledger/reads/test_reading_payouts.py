"""Payouts, listed and told one by one, and what the ledger would make of another one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from reconciler.domain.batch import Outcome
from reconciler.domain.plan import NewAdoption
from reconciler.domain.posted import PayoutStatus, PostedPayout
from reconciler.ledger.engine import open_engine
from reconciler.ledger.journal.decisions import Decisions
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.reads.general_ledger import Period
from reconciler.ledger.reads.participation_history import foresee, participation_history
from reconciler.ledger.reads.payout_list import (
    PayoutFilter,
    known_accounts,
    payout_lines,
    payouts_of,
)
from reconciler.ledger.schema import chain_head, outbox
from tests.support.ledger_history import FULL, SIGNED, START, LedgerHistory, terms_of, text_id

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def books(ledger_url: str) -> Iterator[LedgerHistory]:
    engine = open_engine(ledger_url)
    upgrade(engine)
    yield LedgerHistory(engine=engine)
    engine.dispose()


def listed(books: LedgerHistory, **chosen: Any) -> list[PostedPayout]:
    return list(payout_lines(books.engine, PayoutFilter(**chosen)))


def keys(books: LedgerHistory, **chosen: Any) -> list[str]:
    return [one.payout_key for one in listed(books, **chosen)]


def standing(books: LedgerHistory) -> dict[str, str]:
    return {one.payout_key: one.status for one in listed(books)}


def test_each_payout_stands_somewhere(books: LedgerHistory) -> None:
    paid = books.pay("p1", "s1")
    books.hold_days = 2
    released, back = books.pay("p2", "s2"), books.pay("p3", "s3")
    released_at = books.later(days=2)
    books.release()
    held = books.pay("p4", "s4")
    reversed_at = books.later(hours=1)
    books.reverse(back)

    lines = {one.payout_key: one for one in listed(books)}

    assert standing(books) == {
        paid: "paid",
        released: "released",
        back: "reversed",
        held: "held",
        f"reversal:{back}": "reversal",
    }
    assert (lines[paid].release_at, lines[paid].released_at, lines[paid].reversed_at) == (None, None, None)
    assert (lines[released].released_at, lines[released].reversed_at) == (released_at, None)
    assert (lines[back].released_at, lines[back].reversed_at) == (released_at, reversed_at)
    assert lines[held].release_at == released_at + timedelta(days=2)
    assert (lines[f"reversal:{back}"].kind, lines[f"reversal:{back}"].reverses) == ("reversal", back)
    assert sum(one.amount_minor for one in lines.values()) == 3 * FULL
    for status, expected in (("paid", paid), ("released", released), ("reversed", back), ("held", held)):
        assert keys(books, status=PayoutStatus(status)) == [expected]


def test_a_held_payout_that_is_reversed_is_reversed(books: LedgerHistory) -> None:
    books.hold_days = 2
    key = books.pay("p1", "s1")
    books.reverse(key)

    assert standing(books)[key] == "reversed"
    assert keys(books, status=PayoutStatus.HELD) == []


def test_pending_are_those_that_mongodb_was_not_told_of(books: LedgerHistory) -> None:
    told, blocked, waiting = (books.pay(f"p{number}", f"s{number}") for number in (1, 2, 3))
    [first, second, _] = listed(books)
    with books.engine.begin() as connection:
        done = {"status": "done", "done_at": START}
        connection.execute(sa.update(outbox).where(outbox.c.sequence == first.sequence).values(done))
        connection.execute(sa.update(outbox).where(outbox.c.sequence == second.sequence).values(status="blocked"))

    assert keys(books, status=PayoutStatus.PENDING) == [blocked, waiting]
    assert [(one.payout_key, one.projection, one.told_at) for one in listed(books)] == [
        (told, "done", START),
        (blocked, "blocked", None),
        (waiting, "pending", None),
    ]


def test_filters_narrow_and_go_together(books: LedgerHistory) -> None:
    first = books.pay("p1", "s1")
    second_at = books.later(hours=1)
    second = books.pay("p2", "s2", terms=terms_of("c2", currency="JPY"), trigger="watch")
    third_at = books.later(hours=1)
    third = books.pay("p3", "s1", terms=terms_of("c3"))

    assert keys(books) == [first, second, third]
    assert keys(books, period=Period(since=second_at)) == [second, third]
    assert keys(books, period=Period(until=second_at)) == [first]
    assert keys(books, period=Period(since=second_at, until=third_at)) == [second]
    assert keys(books, campaigns=["oid:c2", "str:c2"]) == [second]
    assert keys(books, streamer_id="s1") == [first, third]
    assert keys(books, streamer_id="s1", period=Period(since=second_at)) == [third]
    assert keys(books, trigger="watch") == [second]
    assert keys(books, currency="JPY") == [second]
    assert keys(books, currency="JPY", trigger="sweep") == []
    assert keys(books, newest=2) == [third, second]


def test_a_line_has_the_row_of_the_ledger_table(books: LedgerHistory) -> None:
    key = books.pay("p1", "s1", fee_bps=100)

    [line] = listed(books)

    assert (line.payout_key, line.n, line.kind) == (key, 1, "payout")
    assert (line.participation_id, line.campaign_id, line.streamer_id, line.brand_id) == (
        "str:p1",
        "str:c1",
        "s1",
        "str:b1",
    )
    assert (line.impressions, line.target) == (2000, 2000)
    assert (line.gross_minor, line.fee_minor, line.amount_minor) == (FULL, 3_300, FULL - 3_300)
    assert (line.currency, line.rule, line.trigger) == ("INR", "impressions_target_reached", "sweep")
    assert (line.run_id, line.created_at, line.projection) == ("run-1", START, "pending")


def test_payouts_are_found_by_key_and_by_participation(books: LedgerHistory) -> None:
    key = books.pay("p1", "s1")
    books.pay("p2", "s2")
    books.reverse(key)

    assert [one.payout_key for one in payouts_of(books.engine, key, [])] == [key]
    assert [one.payout_key for one in payouts_of(books.engine, f"reversal:{key}", [])] == [f"reversal:{key}"]
    found = payouts_of(books.engine, "p1", ["oid:p1", "str:p1"])
    assert [one.payout_key for one in found] == [key, f"reversal:{key}"]
    assert payouts_of(books.engine, "p9", ["str:p9"]) == []


def test_accounts_tell_whether_somebody_is_known(books: LedgerHistory) -> None:
    books.pay("p1", "s1")

    wanted = ["streamer:s1:wallet", "streamer:s1:held", "campaign:str:c1:escrow", "campaign:str:c2:escrow"]
    assert known_accounts(books.engine, wanted) == {"streamer:s1:wallet", "campaign:str:c1:escrow"}


def test_the_history_of_a_participation_has_everything_about_it(books: LedgerHistory) -> None:
    books.approval_threshold_minor = {"INR": 1}
    request = books.request("p1", "s1", fee_bps=100)
    assert books.post([request]).outcomes == {request.key: Outcome.OVER_APPROVAL_THRESHOLD}
    approved_at = books.later(seconds=1)
    books.decisions.approve(request.key, SIGNED)
    books.hold_days = 2
    paid_at = books.later(seconds=1)
    books.post([books.request("p1", "s1", fee_bps=100)])
    books.pay("p2", "s1", terms=terms_of("c2"))
    books.later(days=2)
    books.release()
    books.reverse(request.key)

    history = participation_history(books.engine, text_id("p1"))

    assert [(one.payout_key, one.kind, one.amount_minor) for one in history.payouts] == [
        (request.key, "payout", FULL - 3_300),
        (f"reversal:{request.key}", "reversal", 3_300 - FULL),
    ]
    assert history.payouts[0].fee_bps == 100
    assert [one.kind for one in history.entries] == ["payout", "hold_release", "reversal"]
    assert history.entries[0].legs[1] == ("streamer:s1:held", FULL - 3_300, FULL - 3_300)
    assert [(one.event, one.reason) for one in history.holds] == [
        ("opened", "over_approval_threshold"),
        ("closed", "paid"),
    ]
    assert history.holds[1].occurred_at == paid_at
    assert [(one.kind, one.decided_by, one.reason) for one in history.decisions] == [
        ("approve", "asha", "counted twice"),
        ("reverse", "asha", "counted twice"),
    ]
    assert history.decisions[0].occurred_at == approved_at
    assert history.decisions[0].state_before["state"] == "held"
    assert [one.status for one in history.effects] == ["pending"] * 3
    assert [one.entry_key for one in history.effects] == [one.key for one in history.entries]
    [wallet] = history.wallets
    assert (wallet.currency, wallet.projected_version) == ("INR", 0)
    assert wallet.version >= 3
    assert not history.is_empty


def test_a_request_that_waits_for_another_person_is_part_of_the_history(books: LedgerHistory) -> None:
    key = books.pay("p1", "s1")
    Decisions(books.journal, run_id="by-hand", four_eyes=True).reverse(key, SIGNED)

    history = participation_history(books.engine, text_id("p1"))

    assert [(one.kind, one.subject, one.decided_by) for one in history.decisions] == [
        ("request", f"reversal:{key}", "asha")
    ]
    assert [one.kind for one in history.entries] == ["payout"]


def test_what_was_settled_before_this_ledger_has_its_adoption_and_who_stated_it(books: LedgerHistory) -> None:
    adopted = NewAdoption(
        participation_id="str:p1",
        campaign_id="str:c1",
        streamer_id="s1",
        amount_minor=12_345,
        currency="INR",
        decision_key="adopt:2026",
    )
    books.decisions.adopt([adopted], SIGNED, "adopt:2026")

    history = participation_history(books.engine, text_id("p1"))

    assert history.adoption is not None
    assert (history.adoption.amount_minor, history.adoption.occurred_at) == (12_345, START)
    assert [(one.kind, one.decided_by) for one in history.decisions] == [("adopt", "asha")]
    assert not history.is_empty
    assert participation_history(books.engine, text_id("p2")).is_empty


def test_a_share_of_a_pool_comes_with_the_whole_settlement(books: LedgerHistory) -> None:
    terms = terms_of("c1", budget=3300)
    key = books.freeze_and_pay({"p1": 1000, "p2": 500, "p3": 501}, terms)

    history = participation_history(books.engine, text_id("p2"))

    assert history.pools is not None
    pool = history.pools[key]
    assert (pool.pool_minor, pool.impressions, dict(pool.weights)) == (
        FULL,
        2001,
        {"str:p1": 1000, "str:p2": 500, "str:p3": 501},
    )
    assert sum(pool.shares_minor.values()) == FULL
    assert history.payouts[0].settlement_key == key
    assert history.payouts[0].gross_minor == pool.shares_minor["str:p2"]


def test_an_unknown_participation_has_an_empty_history(books: LedgerHistory) -> None:
    books.pay("p1", "s1")

    assert participation_history(books.engine, text_id("p9")).is_empty
    assert participation_history(books.engine, text_id("p")).is_empty


def test_what_would_happen_is_foreseen_without_a_trace(books: LedgerHistory) -> None:
    books.pay("p1", "s1", terms=terms_of(budget=3300))

    fits = foresee(books.engine, books.request("p2", "s2", terms=terms_of("c2")), books.rules, books.now)
    short = foresee(books.engine, books.request("p3", "s3", terms=terms_of(budget=3300)), books.rules, books.now)

    assert list(fits.outcomes.values()) == [Outcome.NEW]
    assert list(short.outcomes.values()) == [Outcome.OVER_BUDGET]
    assert short.plan.hold_events[0].detail == "escrow holds 0.00 INR, the payout needs 3300.00"
    with books.engine.connect() as connection:
        assert connection.execute(sa.select(chain_head.c.batch)).scalar_one() == 1
