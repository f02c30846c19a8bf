"""Events: none is lost, none comes twice, and none is told of what did not happen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.domain.effects import BlockedEffect, Effect, Obstacle, ProjectionResult
from reconciler.domain.events import Event, EventType, gkey_released
from reconciler.domain.ids import DocumentId
from reconciler.errors import InvariantBroken
from reconciler.ledger import schema
from reconciler.ledger.operations.events import EventLog, read_event
from reconciler.ledger.operations.outbox import SqlOutbox
from reconciler.ledger.operations.runs import RunLog
from reconciler.ports.runs import RunRecord
from tests.support.ledger import FULL, NOW, STAMP, SetClock, asking, journal_of, request, reverse, rows_of

ALL = frozenset(EventType)
EVERYTHING = {"billing": ALL, "reversals": frozenset({EventType.PAYOUT_REVERSED})}
REVERSED = "payout.reversed"


class Teller:
    """A ledger with two payouts, sequences 2 and 4, and who tells of them."""

    def __init__(self, engine: Engine, subscriptions: dict[str, frozenset[EventType]]) -> None:
        self.engine = engine
        self.clock = SetClock()
        self.log = EventLog(engine, clock=self.clock, subscriptions=subscriptions)
        journal_of(engine, self.clock).post(asking([request("oid:64b000000000000000000001", fee_bps=1000)]), STAMP)
        journal_of(engine, self.clock).post(asking([request("p2", campaign="c2")]), STAMP)
        self.outbox = SqlOutbox(engine, clock=self.clock, blocked_retry=timedelta(minutes=5), events=self.log)

    def settle(self, done: Sequence[int], campaigns: Sequence[str] = ()) -> None:
        completed = [DocumentId.from_tagged(one) for one in campaigns]
        self.outbox.settle(ProjectionResult(done=done, blocked={}, wallets={}, campaigns_completed=completed))

    def told(self) -> list[tuple[str, str]]:
        return [(row["type"], row["subject"]) for row in self.rows()]

    def rows(self) -> list[dict[str, Any]]:
        return sorted(rows_of(self.engine, schema.events), key=lambda row: row["position"])

    def deliveries(self) -> list[tuple[str, str, int]]:
        rows = rows_of(self.engine, schema.webhook_deliveries)
        return sorted((row["endpoint"], row["status"], row["position"]) for row in rows)


@pytest.fixture
def teller(engine: Engine) -> Teller:
    return Teller(engine, EVERYTHING)


def key_event(teller: Teller, name: str = "k1") -> Event:
    return gkey_released(DocumentId.from_tagged(f"str:{name}"), "s", "drinks", teller.clock() - timedelta(hours=1))


def test_a_settled_participation_is_told_with_plain_values(teller: Teller) -> None:
    teller.settle([2])

    [row] = teller.rows()
    payload = json.loads(row["payload"])
    assert payload["type"] == row["type"] == "participation.settled"
    assert (payload["version"], payload["id"], payload["timestamp"]) == (1, row["event_id"], "2026-03-01T12:00:00.125Z")
    assert payload["data"] == {
        "payout_key": "payout:oid:64b000000000000000000001:1",
        "participation_id": "64b000000000000000000001",
        "campaign_id": "c1",
        "brand_id": "brand",
        "streamer_id": "s-oid:64b000000000000000000001",
        "gross_minor": FULL,
        "fee_minor": FULL // 10,
        "amount_minor": FULL - FULL // 10,
        "currency": "INR",
        "impressions": 2000,
        "target": 2000,
        "rule": "impressions_target_reached",
        "paid_at": "2026-03-01T12:00:00.125Z",
        "held_until": None,
    }
    assert teller.deliveries() == [("billing", "pending", 1)]


def test_told_again_it_is_the_same_event(teller: Teller) -> None:
    teller.settle([2, 4], ["str:c1"])
    before = teller.rows()

    teller.settle([2], ["str:c1"])
    teller.outbox.again([2, 4])
    teller.clock.advance(timedelta(days=1))
    teller.settle([2, 4], ["str:c1"])

    assert teller.rows() == before
    assert [row["position"] for row in before] == [1, 2, 3]
    assert len(teller.deliveries()) == 3


def test_what_is_blocked_is_not_told(teller: Teller) -> None:
    missing = BlockedEffect(effect=Effect.WALLET, obstacle=Obstacle.WALLET_MISSING)
    teller.outbox.settle(ProjectionResult(done=[4], blocked={2: missing}))
    assert teller.told() == [("participation.settled", "participation:str:p2")]


def test_a_reversal_is_told_after_the_payout_to_each_who_wants_it(teller: Teller, engine: Engine) -> None:
    teller.settle([4])
    teller.clock.advance(timedelta(hours=1))
    reverse(engine, "payout:str:p2:1", teller.clock)
    [task] = [task for task in teller.outbox.ready(10) if task.entry_key.startswith("reversal:")]
    teller.settle([task.sequence])

    assert teller.told() == [
        ("participation.settled", "participation:str:p2"),
        (REVERSED, "participation:str:p2"),
    ]
    data = json.loads(teller.rows()[1]["payload"])["data"]
    assert (data["payout_key"], data["reverses"]) == ("reversal:payout:str:p2:1", "payout:str:p2:1")
    assert (data["amount_minor"], data["reversed_at"]) == (-FULL, "2026-03-01T13:00:00.125Z")
    assert teller.deliveries() == [("billing", "pending", 1), ("billing", "pending", 2), ("reversals", "pending", 2)]


def test_a_completed_campaign_is_told_with_its_total(teller: Teller) -> None:
    teller.settle([2], ["str:c1", "str:c2"])
    completed = [row for row in teller.rows() if row["type"] == "campaign.completed"]
    assert [json.loads(row["payload"])["data"] for row in completed] == [
        {"campaign_id": "c1", "total_minor": FULL - FULL // 10, "currency": "INR"},
        {"campaign_id": "c2", "total_minor": FULL, "currency": "INR"},
    ]


@pytest.mark.parametrize("subscriptions", [{}, {"keys": frozenset({EventType.GKEY_RELEASED})}])
def test_what_nobody_wants_is_not_written(engine: Engine, subscriptions: dict[str, frozenset[EventType]]) -> None:
    teller = Teller(engine, subscriptions)
    teller.settle([2], ["str:c1"])
    assert teller.rows() == []
    # And what an endpoint that came later wants of it, it gets when the effects are applied again.
    assert not teller.log.wants(EventType.PARTICIPATION_SETTLED)


class Dies(Exception):
    """The process ends."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_death_at_the_commit_leaves_both_or_neither(
    teller: Teller, engine: Engine, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    commit = engine.dialect.do_commit

    def dying(connection: Any) -> None:
        if moment == "after":
            commit(connection)
        raise Dies

    monkeypatch.setattr(engine.dialect, "do_commit", dying)
    with pytest.raises(Dies):
        teller.settle([2], ["str:c1"])
    monkeypatch.undo()
    engine.dispose()

    is_done = [row["status"] for row in rows_of(engine, schema.outbox) if row["sequence"] == 2] == ["done"]
    assert (is_done, len(teller.rows())) == ((True, 2) if moment == "after" else (False, 0))

    teller.settle([2], ["str:c1"])
    assert teller.told() == [
        ("participation.settled", "participation:oid:64b000000000000000000001"),
        ("campaign.completed", "campaign:str:c1"),
    ]
    assert len(teller.deliveries()) == 2


def test_a_refused_acknowledgement_takes_its_events_with_it(teller: Teller) -> None:
    with pytest.raises(InvariantBroken):
        teller.outbox.settle(ProjectionResult(done=[2], blocked={}, wallets={("s-p2", "INR"): 99}))
    assert teller.rows() == []


def test_the_end_of_a_check_is_told_and_nothing_of_sweeps_and_failures(teller: Teller, engine: Engine) -> None:
    runs = RunLog(engine, events=teller.log)
    for run_id, kind, outcome in (
        ("r1", "full_check", "breaks"),
        ("r2", "sweep", "complete"),
        ("r3", "full_check", "failed"),
    ):
        run = RunRecord(run_id=run_id, kind=kind, trigger="test", started_at=NOW)
        runs.start(run)
        counts = {"report_id": "20260301-r1", "held": 2, "something_else": 7}
        ended = RunRecord(
            run_id=run_id, kind=kind, trigger="test", started_at=NOW, finished_at=NOW, outcome=outcome, counts=counts
        )
        runs.finish(ended)
        runs.finish(ended)

    assert teller.told() == [("check.finished", "check:r1")]
    data = json.loads(teller.rows()[0]["payload"])["data"]
    assert (data["report_id"], data["verdict"], data["breaks"]) == ("20260301-r1", "breaks", {"held": 2})


def test_an_expected_event_goes_out_when_it_came_true(teller: Teller, engine: Engine) -> None:
    events = [key_event(teller, name) for name in ("k1", "k2")]
    teller.log.expect(events)
    teller.log.expect(events)
    assert teller.deliveries() == []
    assert {row["status"] for row in teller.rows()} == {"expected"}
    assert [one.subject for one in teller.log.expected(EventType.GKEY_RELEASED)] == ["gkey:str:k1", "gkey:str:k2"]

    teller.log.conclude([events[0].event_id], [events[1].event_id])
    teller.log.conclude([events[0].event_id], [events[1].event_id])

    assert teller.deliveries() == [("billing", "pending", 1)]
    assert [row["status"] for row in teller.rows()] == ["recorded"]
    assert teller.log.expected(EventType.GKEY_RELEASED) == []


def test_what_is_concluded_is_not_taken_back(teller: Teller, engine: Engine) -> None:
    event = key_event(teller)
    teller.log.expect([event])
    teller.log.conclude([event.event_id], [])
    teller.log.conclude([], [event.event_id])
    assert read_event(engine, event.event_id) is not None


def test_an_event_is_looked_up_by_its_identity(teller: Teller, engine: Engine) -> None:
    teller.settle([2, 4], ["str:c1", "str:c2"])
    for row in teller.rows():
        found = read_event(engine, row["event_id"])
        assert found is not None
        assert {name: getattr(found, name) for name in row} == row
    assert read_event(engine, "evt_0") is None


def test_an_identity_fits_into_a_header_whatever_the_ids_hold() -> None:
    event = gkey_released(DocumentId.from_tagged("str:ключ\r\nx: y"), "s", "", NOW)
    assert event.event_id.isascii()
    assert event.event_id.replace("_", "").isalnum()
    assert event.payload.isascii()


def test_positions_are_unique_even_where_the_code_errs(teller: Teller, engine: Engine) -> None:
    teller.settle([2])
    [row] = teller.rows()
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.insert(schema.events).values(row | {"event_id": "evt_x"}))
