"""One batch: what is posted, what is not and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from reconciler.domain.batch import Outcome
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.ledger import schema
from tests.support.ledger import (
    FULL,
    NOW,
    STAMP,
    SetClock,
    asking,
    balances,
    everything,
    journal_of,
    ledger_is_sound,
    request,
    requests,
    reverse,
    rows_of,
)

SECOND = timedelta(seconds=1)


def outcomes(engine: Engine, batch: Sequence[PayoutRequest], clock: SetClock | None = None) -> list[Outcome]:
    posted = journal_of(engine, clock).post(asking(batch), STAMP)
    return [posted.outcomes[one.key] for one in batch]


def test_a_payment_is_written_with_all_that_belongs_to_it(engine: Engine) -> None:
    one = request("oid:64b000000000000000000001", budget=10_000, facts_at=NOW - SECOND)

    posted = journal_of(engine).post(asking([one]), STAMP)

    assert (posted.outcomes, posted.payout_sequences, posted.paid_minor) == (
        {"payout:oid:64b000000000000000000001:1": Outcome.NEW},
        [2],
        {"INR": FULL},
    )
    [payout] = rows_of(engine, schema.payouts)
    assert payout == {
        "payout_key": one.key,
        "sequence": 2,
        "batch": 1,
        "kind": "payout",
        "n": 1,
        "participation_id": "oid:64b000000000000000000001",
        "campaign_id": "str:c1",
        "streamer_id": "s-oid:64b000000000000000000001",
        "brand_id": "str:brand",
        "impressions": 2000,
        "target": 2000,
        "payment_type": "cpm",
        "rate": "1650",
        "overdelivery": "pay",
        "impressions_paid": 2000,
        "rounding": "half_up",
        "gross_minor": FULL,
        "fee_minor": 0,
        "amount_minor": FULL,
        "currency": "INR",
        "rule": "impressions_target_reached",
        "trigger": "test",
        "run_id": "run-1",
        "cooloff_hours": 720,
        "facts_at": NOW - SECOND,
        "fingerprint": one.fingerprint,
        "created_at": NOW,
        "fee_bps": 0,
        "release_at": None,
        "settlement_key": None,
        "reverses": None,
        "decision_key": None,
    }
    [task] = rows_of(engine, schema.outbox)
    assert (task["sequence"], task["status"], task["not_before"], task["done_at"]) == (2, "pending", NOW, None)
    [position] = rows_of(engine, schema.wallet_positions)
    assert (position["version"], position["projected_version"]) == (1, 0)
    assert [(entry["key"], entry["kind"]) for entry in rows_of(engine, schema.entries)] == [
        ("fund:str:c1:1", "fund"),
        (one.key, "payout"),
    ]
    assert balances(engine) == {
        "brand:str:brand:funding": -1_000_000,
        "campaign:str:c1:escrow": 670_000,
        "streamer:s-oid:64b000000000000000000001:wallet": FULL,
    }
    ledger_is_sound(engine)


def test_nothing_asked_writes_nothing(engine: Engine) -> None:
    before = everything(engine)

    posted = journal_of(engine).post(asking([]), STAMP)

    assert (posted.outcomes, posted.payout_sequences, posted.paid_minor) == ({}, [], {})
    assert everything(engine) == before


def test_what_exists_is_not_paid_again_whatever_the_facts_say_now(engine: Engine) -> None:
    assert outcomes(engine, [request(budget=99_000)]) == [Outcome.NEW]
    before = everything(engine)

    again = [request(impressions=impressions, budget=99_000) for impressions in (2000, 2500)]
    for one in again:
        assert outcomes(engine, [one]) == [Outcome.EXISTS]
    # First commit wins, also over facts too old or a budget that changed since.
    assert outcomes(engine, [request(budget=1, facts_at=NOW - timedelta(hours=1))]) == [Outcome.EXISTS]

    assert everything(engine) == before


@pytest.mark.parametrize(
    "other",
    [{"campaign": "c2"}, {"streamer": "somebody else"}, {"currency": "USD"}],
    ids=lambda other: next(iter(other)),
)
def test_another_identity_under_the_key_is_set_aside(engine: Engine, other: dict[str, Any]) -> None:
    outcomes(engine, [request(budget=99_000)])

    found = outcomes(engine, [request(budget=99_000, **other), request("p2", campaign="c3")])

    assert found == [Outcome.EXISTS_DIFFERENT, Outcome.NEW]
    assert len(rows_of(engine, schema.payouts)) == 2
    ledger_is_sound(engine)


def test_a_streamer_is_paid_once_a_campaign(engine: Engine) -> None:
    outcomes(engine, [request("p2", streamer="s", budget=99_000)])
    # p1 sorts before p2, so it is not the order that decides.
    found = outcomes(engine, [request("p1", streamer="s", budget=99_000), request("p1b", streamer="s", campaign="c2")])
    assert found == [Outcome.DUPLICATE_PARTICIPATION, Outcome.NEW]


def test_a_streamer_is_paid_once_a_campaign_within_a_batch(engine: Engine) -> None:
    batch = [request(name, streamer="s", budget=99_000) for name in ("pb", "pa", "oid:64b000000000000000000001")]
    assert outcomes(engine, batch) == [Outcome.DUPLICATE_PARTICIPATION, Outcome.NEW, Outcome.DUPLICATE_PARTICIPATION]
    ledger_is_sound(engine)


def test_a_campaign_keeps_the_currency_it_was_funded_in(engine: Engine) -> None:
    outcomes(engine, [request("p1", budget=99_000)])
    before = everything(engine)

    assert outcomes(engine, [request("p2", budget=99_000, currency="USD")]) == [Outcome.CURRENCY_CHANGED]

    assert everything(engine) == before


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(seconds=30), Outcome.NEW),
        (timedelta(seconds=30, milliseconds=1), Outcome.STALE),
        (timedelta(days=400), Outcome.STALE),
    ],
)
def test_old_facts_are_decided_again(engine: Engine, age: timedelta, expected: Outcome) -> None:
    before = everything(engine)
    assert outcomes(engine, [request(facts_at=NOW - age)]) == [expected]
    assert (everything(engine) == before) is (expected is Outcome.STALE)


def test_each_reason_not_to_pay_leaves_the_others_alone(engine: Engine) -> None:
    outcomes(engine, [request("paid", budget=6600), request("other", campaign="c2")])
    batch = [
        request("paid", budget=6600),
        request("other", campaign="c3"),
        request("twice", streamer="s-paid", budget=6600),
        request("dollars", budget=6600, currency="USD"),
        request("old", budget=6600, facts_at=NOW - timedelta(minutes=5)),
        request("fits", budget=6600),
        request("much", campaign="c4", impressions=2001),
        request("new", campaign="c5"),
    ]

    assert outcomes(engine, batch) == [
        Outcome.EXISTS,
        Outcome.EXISTS_DIFFERENT,
        Outcome.DUPLICATE_PARTICIPATION,
        Outcome.CURRENCY_CHANGED,
        Outcome.STALE,
        Outcome.NEW,
        Outcome.OVER_BUDGET,
        Outcome.NEW,
    ]
    ledger_is_sound(engine)


def test_a_person_may_pay_again_under_the_next_number(engine: Engine) -> None:
    outcomes(engine, [request(budget=99_000)])
    reverse(engine, request().key)

    assert outcomes(engine, [request(budget=99_000)]) == [Outcome.EXISTS]
    assert outcomes(engine, [request(budget=99_000, n=2)]) == [Outcome.NEW]
    assert outcomes(engine, [request(budget=99_000, n=2)]) == [Outcome.EXISTS]


def test_every_wallet_version_counts_the_payments(engine: Engine) -> None:
    for campaign in ("c1", "c2", "c3"):
        outcomes(engine, [request(f"p-{campaign}", campaign=campaign, streamer="s")])
    outcomes(engine, [request("p-usd", campaign="c4", streamer="s", currency="USD")])

    positions = {row["currency"]: row["version"] for row in rows_of(engine, schema.wallet_positions)}
    assert positions == {"INR": 3, "USD": 1}
    assert {(row["account"], row["currency"]): row["balance_minor"] for row in rows_of(engine, schema.accounts)}[
        "streamer:s:wallet", "INR"
    ] == 3 * FULL
    ledger_is_sound(engine)


def test_five_thousand_payouts_in_one_batch(engine: Engine) -> None:
    batch = requests(5000, budget=3300 * 5000)

    posted = journal_of(engine).post(asking(batch), STAMP)

    assert set(posted.outcomes.values()) == {Outcome.NEW}
    assert posted.paid_minor == {"INR": 5000 * FULL}
    assert len(set(posted.payout_sequences)) == len(rows_of(engine, schema.payouts)) == 5000
    assert balances(engine)["campaign:str:c1:escrow"] == 0
    ledger_is_sound(engine)


def test_times_are_read_back_as_they_were_given(engine: Engine) -> None:
    moment = datetime(2026, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    outcomes(engine, [request(facts_at=moment)], SetClock(moment))
    [payout] = rows_of(engine, schema.payouts)
    assert (payout["facts_at"], payout["created_at"]) == (moment, moment)
    assert payout["created_at"].tzinfo is UTC
