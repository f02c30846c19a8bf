"""Many posters at once, threads and processes: every key is posted once, and no budget is spent twice."""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from multiprocessing.synchronize import Barrier as ProcessBarrier
from threading import Barrier

from sqlalchemy.engine import Engine

from reconciler.domain.effects import ProjectionResult
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.ledger import schema
from reconciler.ledger.operations.outbox import SqlOutbox
from tests.support.ledger import (
    FULL,
    STAMP,
    SetClock,
    asking,
    balances,
    journal_of,
    ledger_is_sound,
    post_from_elsewhere,
    request,
    requests,
    rows_of,
)

THREADS = 8
PROCESSES = 4
_barrier: ProcessBarrier


def mixed(seed: int) -> list[PayoutRequest]:
    """A campaign that all fit in, and one where 20 of 30 do; every poster has them in another order."""
    roomy = [request(f"roomy-{number}", campaign="roomy", budget=99_000) for number in range(20)]
    batch = [*roomy, *requests(30, campaign="tight", budget=3300 * 20)]
    random.Random(seed).shuffle(batch)
    return batch


def paid_once(engine: Engine, found: Sequence[Mapping[str, str]]) -> None:
    """Of all posters exactly one paid each key, and as many as the budget allows were paid."""
    new = Counter(key for outcomes in found for key, outcome in outcomes.items() if outcome == "new")
    assert set(new.values()) == {1}
    assert len(new) == 40
    assert {row["payout_key"] for row in rows_of(engine, schema.payouts)} == set(new)
    assert len(rows_of(engine, schema.outbox)) == 40
    assert balances(engine)["campaign:str:tight:escrow"] == 0
    assert balances(engine)["campaign:str:roomy:escrow"] == 9_900_000 - 20 * FULL
    opened = [row["participation_id"] for row in rows_of(engine, schema.hold_events)]
    assert sorted(opened) == [f"str:p{number:04}" for number in range(21, 31)]
    for outcomes in found:
        assert set(outcomes.values()) <= {"new", "exists", "over_budget"}
    ledger_is_sound(engine)


def test_threads(engine: Engine) -> None:
    barrier = Barrier(THREADS)

    def post(seed: int) -> Mapping[str, str]:
        batch = mixed(seed)
        barrier.wait()
        return {key: outcome.value for key, outcome in journal_of(engine).post(asking(batch), STAMP).outcomes.items()}

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(post, range(THREADS)))

    paid_once(engine, found)


def test_threads_with_small_batches(engine: Engine) -> None:
    """Many transactions that interleave: the head of the chain is handed on some 400 times."""
    barrier = Barrier(THREADS)

    def post(seed: int) -> list[Mapping[str, str]]:
        journal, batch = journal_of(engine), mixed(seed)
        # The budget is the same for all, and who comes first gets it: here that is not decided by identity.
        batch = [one for one in batch if one.due.participation.campaign_id.value == "roomy"]
        barrier.wait()
        return [
            {key: outcome.value for key, outcome in journal.post(asking([one]), STAMP).outcomes.items()}
            for one in batch
        ]

    with ThreadPoolExecutor(THREADS) as pool:
        found = [outcomes for outcomes_of_one in pool.map(post, range(THREADS)) for outcomes in outcomes_of_one]

    new = Counter(key for outcomes in found for key, outcome in outcomes.items() if outcome == "new")
    assert (len(new), set(new.values())) == (20, {1})
    assert len(rows_of(engine, schema.chain)) == 20
    ledger_is_sound(engine)


def test_processes(engine: Engine, ledger_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, initializer=_take_barrier, initargs=(barrier,)) as pool:
        # Each waits at the barrier, so that no process can take two of them.
        found = list(pool.map(_post_together, [ledger_url] * PROCESSES, range(PROCESSES)))

    paid_once(engine, found)


def test_posters_and_projectors_never_block_each_other_for_good(engine: Engine) -> None:
    """All change the positions of the same wallets, in orders of their own: a deadlock would raise an Outage."""
    journal, rounds, barrier = journal_of(engine), 4, Barrier(5)
    outbox = SqlOutbox(engine, clock=SetClock(), blocked_retry=timedelta())
    streamers = [f"s{number}" for number in range(100)]
    journal.post(asking([request(f"p-{name}", streamer=name, budget=990_000) for name in streamers]), STAMP)
    tasks = outbox.ready(100)

    def post(seed: int) -> None:
        for number in range(rounds):
            campaign, order = f"c-{seed}-{number}", random.Random(seed + number).sample(streamers, 100)
            batch = [request(f"{campaign}-{name}", campaign=campaign, streamer=name, budget=990_000) for name in order]
            journal.post(asking(batch), STAMP)

    def project(seed: int) -> None:
        for number in range(rounds):
            chunk = random.Random(seed + number).sample(tasks, 60)
            wallets = {(task.streamer_id, task.currency): task.position.version for task in chunk}
            outbox.settle(ProjectionResult(done=[task.sequence for task in chunk], blocked={}, wallets=wallets))

    def repair(seed: int) -> None:
        for number in range(rounds):
            outbox.again([task.sequence for task in random.Random(seed + number).sample(tasks, 60)])

    def together(work: Callable[[int], None], seed: int) -> None:
        barrier.wait()
        work(seed)

    with ThreadPoolExecutor(5) as pool:
        workers = [
            pool.submit(together, work, 100 * seed) for seed, work in enumerate((post, post, project, project, repair))
        ]
        for worker in workers:
            worker.result()

    positions = {row["streamer_id"]: row for row in rows_of(engine, schema.wallet_positions)}
    assert len(rows_of(engine, schema.payouts)) == 100 + 2 * rounds * 100
    assert {position["projected_version"] for position in positions.values()} == {1}
    assert min(position["version"] for position in positions.values()) >= 1 + 2 * rounds
    ledger_is_sound(engine)


def _take_barrier(barrier: ProcessBarrier) -> None:
    global _barrier  # noqa: PLW0603 - a pool's initializer has no other way to hand something to its tasks
    _barrier = barrier


def _post_together(url: str, seed: int) -> Mapping[str, str]:
    batch = mixed(seed)
    _barrier.wait(60)
    return post_from_elsewhere(url, batch)
