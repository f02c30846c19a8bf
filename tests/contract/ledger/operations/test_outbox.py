"""The queue between the ledger and the projection: nothing is lost, blocked work comes back, versions only grow."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.domain.effects import BlockedEffect, Effect, Obstacle, ProjectionResult, WalletPosition
from reconciler.domain.ids import DocumentId
from reconciler.errors import InvariantBroken
from reconciler.ledger import schema
from reconciler.ledger.operations import outbox as outbox_module
from reconciler.ledger.operations.outbox import SqlOutbox, raise_versions
from reconciler.ledger.reads import wallet_positions as positions_module
from reconciler.ports.outbox import BlockedPayout, OutboxCounts
from tests.support.ledger import FULL, NOW, STAMP, SetClock, asking, everything, journal_of, request, rows_of

MISSING = BlockedEffect(effect=Effect.WALLET, obstacle=Obstacle.WALLET_MISSING)
RETRY = timedelta(minutes=5)


class Queue:
    """An outbox of three payouts: sequences 2 and 3 (streamer ``s``), 6 (streamer ``t``)."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = SetClock()
        journal = journal_of(engine, self.clock)
        for batch in (
            [request("p1", streamer="s", campaign="c1")],
            [request("p2", streamer="s", campaign="c2")],
            [request("p3", streamer="t", campaign="c3")],
        ):
            journal.post(asking(batch), STAMP)
            self.clock.advance(timedelta(seconds=1))
        self.outbox = SqlOutbox(engine, clock=self.clock, blocked_retry=RETRY)

    def ready(self, limit: int = 100) -> list[int]:
        return [task.sequence for task in self.outbox.ready(limit)]

    def settle(
        self,
        done: Sequence[int] = (),
        blocked: Mapping[int, BlockedEffect] | None = None,
        wallets: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self.outbox.settle(ProjectionResult(done=done, blocked=blocked or {}, wallets=wallets or {}))

    def position(self, streamer: str) -> tuple[int, int]:
        """(version, acknowledged version)."""
        [row] = [row for row in rows_of(self.engine, schema.wallet_positions) if row["streamer_id"] == streamer]
        return row["version"], row["projected_version"]


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue(engine)


def test_a_task_says_all_that_the_projection_needs(queue: Queue) -> None:
    task = queue.outbox.ready(1)[0]
    assert (task.sequence, task.payout_key, task.paid_at) == (2, "payout:str:p1:1", NOW)
    assert (task.participation_id, task.campaign_id, task.brand_id) == tuple(
        DocumentId.from_tagged(tagged) for tagged in ("str:p1", "str:c1", "str:brand")
    )
    assert (task.streamer_id, task.currency, task.amount_minor, task.cooloff_hours) == ("s", "INR", FULL, 720)
    assert task.rule == "impressions_target_reached"
    # The position is the wallet's as it is now, with both payments.
    assert task.position == WalletPosition(
        streamer_id="s", currency="INR", version=2, available_minor=2 * FULL, held_minor=0, acknowledged_version=0
    )


def test_the_oldest_come_first_and_no_more_than_asked(queue: Queue) -> None:
    assert queue.ready() == [2, 4, 6]
    assert queue.ready(limit=2) == [2, 4]
    assert queue.ready(limit=0) == []
    assert queue.outbox.counts() == OutboxCounts(pending=3, blocked=0)


def test_what_nothing_blocks_is_ready_whatever_the_clocks_say(queue: Queue) -> None:
    """The ledger's time is in the task, and this host's may be behind it. One of the future waits for nobody either."""
    queue.clock.now = NOW - timedelta(seconds=5)
    with queue.engine.begin() as connection:
        connection.execute(sa.update(schema.outbox).values(not_before=NOW + timedelta(days=365)))
    assert queue.ready() == [2, 4, 6]


def test_the_words_of_a_refusal_come_back_with_it(queue: Queue) -> None:
    refused = BlockedEffect(effect=Effect.WALLET, obstacle=Obstacle.REFUSED, words="It failed: see: a, b (code 1)")
    queue.settle(blocked={2: refused, 4: MISSING})

    assert [one.blocked for one in queue.outbox.blocked()] == [refused, MISSING]


def test_what_is_done_is_told_and_never_ready_again(queue: Queue) -> None:
    queue.settle(done=[2, 6], wallets={("s", "INR"): 1, ("t", "INR"): 1})

    assert queue.ready() == [4]
    assert [task.sequence for task in queue.outbox.projected(["str:p1", "str:p2", "str:p3"])] == [2, 6]
    assert queue.outbox.projected(["str:p2", "nobody"]) == queue.outbox.projected([]) == []
    assert [task.sequence for task in queue.outbox.of_entries([2, 4, 99])] == [4]
    assert queue.outbox.counts() == OutboxCounts(pending=1, blocked=0)
    done = {row["sequence"]: row["done_at"] for row in rows_of(queue.engine, schema.outbox)}
    assert done == {2: queue.clock.now, 4: None, 6: queue.clock.now}


def test_what_is_blocked_waits_and_comes_back(queue: Queue) -> None:
    queue.settle(done=[2, 6], blocked={4: MISSING})

    assert queue.ready() == []
    assert queue.outbox.counts() == OutboxCounts(pending=0, blocked=1)
    [task] = queue.outbox.of_entries([4])  # whoever asks for it by name gets it at once
    assert queue.outbox.blocked() == [BlockedPayout(task=task, blocked=MISSING)]
    assert queue.outbox.blocked(["str:p2"]) == queue.outbox.blocked()
    assert queue.outbox.blocked(["str:p1"]) == queue.outbox.blocked([]) == []
    queue.clock.advance(RETRY - timedelta(milliseconds=1))
    assert queue.ready() == []
    queue.clock.advance(timedelta(milliseconds=1))
    assert queue.ready() == [4]


def test_what_was_blocked_can_end_well(queue: Queue) -> None:
    queue.settle(blocked={4: MISSING})
    queue.clock.advance(RETRY)
    queue.settle(blocked={4: BlockedEffect(effect=Effect.GKEYS, obstacle=Obstacle.GKEY_MALFORMED)})
    assert queue.outbox.blocked()[0].blocked.obstacle is Obstacle.GKEY_MALFORMED
    assert queue.ready() == [2, 6]
    queue.clock.advance(RETRY)
    queue.settle(done=[4])
    assert queue.outbox.blocked() == []
    [row] = [row for row in rows_of(queue.engine, schema.outbox) if row["sequence"] == 4]
    assert (row["status"], row["effect"], row["reason"]) == ("done", None, None)


def test_an_acknowledged_version_never_goes_back(queue: Queue) -> None:
    assert queue.position("s") == (2, 0)
    queue.settle(wallets={("s", "INR"): 2})
    assert queue.position("s") == (2, 2)
    queue.settle(wallets={("s", "INR"): 1})
    assert queue.position("s") == (2, 2)
    assert queue.outbox.ready(1)[0].position.acknowledged_version == 2


def test_nor_when_two_projectors_settle_at_once(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one settles between the first one's read and its write, if the ledger lets it."""
    read_positions = positions_module.read_positions
    later = threading.Thread(target=lambda: queue.settle(wallets={("s", "INR"): 2}))

    def then_settle_another(*given: Any, **named: Any) -> Any:
        positions = read_positions(*given, **named)
        if threading.current_thread() is not later and not later.ident:
            later.start()
            later.join(0.5)
        return positions

    monkeypatch.setattr(outbox_module, "read_positions", then_settle_another)
    queue.settle(wallets={("s", "INR"): 1})
    later.join()

    assert queue.position("s") == (2, 2)


def test_a_wallet_ahead_of_the_ledger_halts_and_changes_nothing(queue: Queue) -> None:
    before = everything(queue.engine)

    with pytest.raises(InvariantBroken, match="the wallet of s has seen version 3 in INR") as broken:
        queue.settle(done=[2], blocked={4: MISSING}, wallets={("s", "INR"): 3, ("t", "INR"): 1})

    assert broken.value.invariant == "ledger_behind"
    assert everything(queue.engine) == before


def test_again_raises_the_wallets_version_and_puts_the_task_back(queue: Queue) -> None:
    queue.settle(done=[2, 4, 6], wallets={("s", "INR"): 2, ("t", "INR"): 1})
    queue.clock.advance(timedelta(hours=1))

    queue.outbox.again([2])

    assert queue.ready() == [2]
    assert (queue.position("s"), queue.position("t")) == ((3, 2), (1, 1))
    [task] = queue.outbox.ready(1)
    assert (task.position.version, task.position.acknowledged_version) == (3, 2)
    [row] = [row for row in rows_of(queue.engine, schema.outbox) if row["sequence"] == 2]
    assert (row["status"], row["not_before"], row["done_at"]) == ("pending", queue.clock.now, None)


def test_a_task_whose_row_was_gone_is_of_the_time_of_its_payment(queue: Queue) -> None:
    """Cool-offs of G-keys count from it, and the new row is younger."""
    with queue.engine.begin() as connection:
        connection.execute(sa.delete(schema.outbox).where(schema.outbox.c.sequence == 2))
    queue.clock.advance(timedelta(days=3))

    queue.outbox.again([2])

    assert queue.outbox.ready(1)[0].paid_at == NOW


def test_again_raises_a_wallet_once_however_many_of_its_payouts(queue: Queue) -> None:
    queue.settle(done=[2, 4, 6])
    queue.outbox.again([2, 4])
    assert (queue.position("s"), queue.position("t")) == ((3, 0), (1, 0))
    assert queue.ready() == [2, 4]


def test_nothing_to_do_changes_nothing(queue: Queue) -> None:
    before = everything(queue.engine)
    queue.settle()
    queue.outbox.again([])
    assert queue.outbox.of_entries([]) == []
    assert everything(queue.engine) == before


def test_a_counter_that_a_wallet_has_come_up_to_is_raised_too(queue: Queue) -> None:
    """A wallet takes only what is newer than it saw: at the same version it would never be brought to the position."""
    assert queue.position("s") == (2, 0)
    assert raise_versions(queue.engine, {("s", "INR"): 2, ("t", "INR"): 0}) == 1
    assert (queue.position("s"), queue.position("t")) == ((3, 0), (1, 0))
    assert raise_versions(queue.engine, {("s", "INR"): 2}) == 0
