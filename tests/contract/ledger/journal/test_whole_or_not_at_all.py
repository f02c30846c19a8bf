"""A batch is written whole or not at all: it dies, it would break an invariant, or it was only rehearsed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from reconciler.domain.accounts import Posting
from reconciler.domain.batch import Outcome, plan_batch
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.errors import Defect, InvariantBroken
from reconciler.ledger import bulk, schema
from reconciler.ledger.engine import writing
from reconciler.ledger.journal import posting as journal
from reconciler.ledger.journal import writing as rows
from tests.support.ledger import (
    FULL,
    NOW,
    STAMP,
    SetClock,
    asking,
    everything,
    journal_of,
    ledger_is_sound,
    request,
    rows_of,
)


def outcomes(engine: Engine, batch: Sequence[PayoutRequest], clock: SetClock | None = None) -> list[Outcome]:
    posted = journal_of(engine, clock).post(asking(batch), STAMP)
    return [posted.outcomes[one.key] for one in batch]


WRITTEN = (*(table.name for table in schema.JOURNAL_TABLES), "accounts", "wallet_positions", "outbox")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_batch_that_dies_half_way_leaves_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    outcomes(engine, [request("before", campaign="c0", budget=99_000)])
    before = everything(engine)
    batch = [request("p1"), request("p2"), request("p3", campaign="c0", budget=99_000)]

    for table in WRITTEN:
        with monkeypatch.context() as patch:
            for name in ("insert", "upsert"):
                patch.setattr(bulk, name, _dying(getattr(bulk, name), table, moment))
            with pytest.raises(_Died):
                outcomes(engine, batch)
        assert everything(engine) == before, table

    assert outcomes(engine, batch) == [Outcome.NEW, Outcome.OVER_BUDGET, Outcome.NEW]
    ledger_is_sound(engine)


class _Died(Exception):
    pass


def _dying(write: Callable[..., None], table: str, moment: str) -> Callable[..., None]:
    def wrapped(connection: Any, written: Any, *rest: Any) -> None:
        if moment == "after" or written.name != table:
            write(connection, written, *rest)
        if written.name == table:
            raise _Died

    return wrapped


def test_an_entry_that_does_not_sum_to_zero_is_never_written(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(engine)

    def crooked(*given: Any, **named: Any) -> Any:
        planned = plan_batch(*given, **named)
        entry = planned.plan.posted[-1].entry
        # Entry refuses such postings itself; this is the second of the two paths.
        object.__setattr__(entry, "postings", (*entry.postings, Posting(account="platform:fees", amount_minor=1)))
        return planned

    monkeypatch.setattr(journal, "plan_batch", crooked)
    with pytest.raises(InvariantBroken) as broken:
        outcomes(engine, [request()])

    assert broken.value.invariant == "zero_sum"
    assert everything(engine) == before


def test_an_overdrawn_escrow_is_refused_by_the_database(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(engine)
    monkeypatch.setattr(journal, "plan_batch", _generous)

    with pytest.raises(Defect, match="escrow_not_negative"):
        outcomes(engine, [request()])

    assert everything(engine) == before


def _generous(*given: Any, **named: Any) -> Any:
    """A plan that moves one paisa more out of escrow than there is."""
    planned = plan_batch(*given, **named)
    [entry] = [item.entry for item in planned.plan.posted if item.entry.kind == "payout"]
    more = (
        Posting(account="campaign:str:c1:escrow", amount_minor=-1),
        Posting(account="platform:fees", amount_minor=1),
    )
    object.__setattr__(entry, "postings", (*entry.postings, *more))
    return planned


@pytest.mark.parametrize("whose", ["the clock", "the facts"])
def test_a_time_finer_than_the_ledgers_is_refused(engine: Engine, whose: str) -> None:
    """It would be another one when it is read back, and the chain would break."""
    before = everything(engine)
    finer = NOW + timedelta(microseconds=1)
    clock = SetClock(finer if whose == "the clock" else NOW)

    with pytest.raises(Defect, match="a time finer than a millisecond reached the ledger"):
        outcomes(engine, [request(facts_at=finer if whose == "the facts" else NOW)], clock)

    assert everything(engine) == before


def test_a_time_without_a_zone_is_refused(engine: Engine) -> None:
    outcomes(engine, [request()])
    [link] = rows_of(engine, schema.chain)
    naive = link | {"batch": 2, "created_at": link["created_at"].replace(tzinfo=None)}

    with pytest.raises(Defect, match="a time without a time zone"), writing(engine) as connection:
        bulk.insert(connection, schema.chain, [naive])

    assert rows_of(engine, schema.chain) == [link]


def test_a_rehearsal_leaves_nothing_but_sees_itself(engine: Engine) -> None:
    outcomes(engine, [request("p0", budget=9900)])
    before = everything(engine)
    one, two, three = (request(name, budget=9900) for name in ("p1", "p2", "p3"))

    with journal_of(engine).rehearsal() as poster:
        assert poster.post(asking([one]), STAMP).outcomes == {one.key: Outcome.NEW}
        second = poster.post(asking([one, two, three]), STAMP)

    assert second.outcomes == {one.key: Outcome.EXISTS, two.key: Outcome.NEW, three.key: Outcome.OVER_BUDGET}
    assert second.paid_minor == {"INR": FULL}
    assert everything(engine) == before
    assert outcomes(engine, [one, two, three]) == [Outcome.NEW, Outcome.NEW, Outcome.OVER_BUDGET]


def test_a_rehearsal_that_raises_leaves_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(engine)
    journal_ = journal_of(engine)

    with pytest.raises(_Died), journal_.rehearsal() as poster:
        poster.post(asking([request("p1")]), STAMP)
        monkeypatch.setattr(rows, "batch_hash", _die)
        poster.post(asking([request("p2", campaign="c2")]), STAMP)

    assert everything(engine) == before


def _die(**_: Any) -> str:
    raise _Died
