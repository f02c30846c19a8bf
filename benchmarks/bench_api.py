"""How many impressions a second are recorded, beside the usual way; and whether any is lost.

    python -m benchmarks.bench_api [--requests 20000] [--increments 100000]

Back of the envelope, on two cores with mongod, server and client on one machine:

* a majority write takes about 1 ms whatever it carries. The usual way waits for two reads and two of them a request,
  and mongod works some 0.8 ms for it: 700 to 800 requests a second, however many come at once.
* a group of 32 is two reads, two bulk writes and a commit: 5 ms if Python gets its turn, some 6,000 a second; then the
  framework is the limit, which takes 0.2 to 0.3 ms of the one core it has (h11 is Python) for each request.
* idle, a group is one request: 4 to 5 ms, no timer.

The figures that hold are the ratios: everything is measured in the same run, on one server and one replica set. The
order is one after another, and each way has participations of its own.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from benchmarks.support.http_load import Load, closed_loop, paced
from benchmarks.support.platform import brand_id
from benchmarks.support.processes import ROOT, in_child
from reconciler.devstack.documents import Document, Forge
from reconciler.devstack.mongod import ReplicaSet
from reconciler.devstack.process import end, free_port, listens, wait_until
from reconciler.domain.money import round_half_up
from reconciler.domain.parsing import Unreadable, parse_number

CONNECTIONS = 32
CAMPAIGNS_COUNT = 20
PARTICIPATIONS_COUNT = 200
RATE = 1650
COST_MINOR = 165
PER_SECOND_MIN = 1_500
TIMES_USUAL_MIN = 2
CLIENTS_COUNT = 16
CLIENT_PROCESSES = 2
PACED_PER_SECOND = 500
PACED_REQUESTS = 5_000
START_TIMEOUT_S = 60

_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

WAYS = {
    "group commit": "/api/v1/campaigns/impression/",
    "usual": "/usual/",
    "framework alone": "/alone/",
    "one majority $inc": "/inc/",
    "two bulk writes": "/two/",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is measured against: the server's port, and the database."""

    port: int
    database: Any

    def paths(self, way: str) -> list[str]:
        """A way's own participations."""
        return [f"{WAYS[way]}{_token(way, number)}" for number in range(PARTICIPATIONS_COUNT)]


def main() -> int:
    """Measure, print, and answer 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description="impressions recorded a second, and none lost")
    parser.add_argument("--requests", type=int, default=20_000, help="requests of each way (default: %(default)s)")
    parser.add_argument("--increments", type=int, default=100_000, help="by 16 clients (default: %(default)s)")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-api-") as folder,
        ReplicaSet(Path(folder)) as replica_set,
        MongoClient[Any](replica_set.uri) as client,
        _served(replica_set.uri, "bench_api") as port,
    ):
        bench = Bench(port=port, database=client["bench_api"])
        _plant(bench.database)
        complaints = _throughput(bench, arguments.requests)
        _latency(bench)
        complaints += _correctness(bench, arguments.increments)
    for complaint in complaints:
        print(f"  BROKEN: {complaint}")
    if not complaints:
        print("  kept: all of it")
    sys.stdout.flush()
    return 1 if complaints else 0


def _throughput(bench: Bench, requests: int) -> list[str]:
    print(f"\n{CONNECTIONS} connections, as fast as they are answered")
    print(f"  {'way':<22}{'requests':>10}{'requests/s':>12}{'÷ usual':>10}{'p50 ms':>9}{'p99 ms':>9}")
    loads: dict[str, Load] = {}
    for way in ("usual", "group commit", "framework alone", "one majority $inc", "two bulk writes"):
        in_child(closed_loop_of, bench.port, bench.paths(way), CONNECTIONS, requests // 20)
        loads[way] = in_child(closed_loop_of, bench.port, bench.paths(way), CONNECTIONS, requests)
    usual = loads["usual"].per_second
    for way, load in loads.items():
        print(
            f"  {way:<22}{len(load.latencies_s):>10,}{load.per_second:>12,.0f}{load.per_second / usual:>10.2f}"
            f"{load.percentile_ms(50):>9.1f}{load.percentile_ms(99):>9.1f}"
        )
    ours = loads["group commit"].per_second
    complaints = [f"{way} answered {load.statuses}" for way, load in loads.items() if set(load.statuses) != {200}]
    if ours < PER_SECOND_MIN:
        complaints.append(f"group commit records {ours:,.0f}/s, not {PER_SECOND_MIN:,}")
    if ours < TIMES_USUAL_MIN * usual:
        complaints.append(f"group commit is {ours / usual:.2f} × the usual way, not {TIMES_USUAL_MIN}")
    return complaints


def _latency(bench: Bench) -> None:
    print(f"\npaced at {PACED_PER_SECOND}/s")
    print(f"  {'way':<22}{'requests':>10}{'p50 ms':>9}{'p99 ms':>9}")
    for way in ("group commit", "usual"):
        load = in_child(paced_of, bench.port, bench.paths(way), PACED_PER_SECOND, PACED_REQUESTS)
        print(f"  {way:<22}{len(load.latencies_s):>10,}{load.percentile_ms(50):>9.1f}{load.percentile_ms(99):>9.1f}")


def _correctness(bench: Bench, increments: int) -> list[str]:
    """So many increments by 16 clients on budgets of which half are too small for what comes."""
    way, share = "crowd", increments // CAMPAIGNS_COUNT
    budgets_minor = [COST_MINOR * (share if number % 2 else share // 2) for number in range(CAMPAIGNS_COUNT)]
    _insert(bench.database, way, budgets_minor)
    paths = [f"{WAYS['group commit']}{_token(way, number)}" for number in range(PARTICIPATIONS_COUNT)]
    with ProcessPoolExecutor(CLIENT_PROCESSES, mp_context=get_context("spawn")) as children:
        part = increments // CLIENT_PROCESSES
        running = [
            children.submit(closed_loop_of, bench.port, paths, CLIENTS_COUNT // CLIENT_PROCESSES, part)
            for _ in range(CLIENT_PROCESSES)
        ]
        loads = [one.result() for one in running]
    answered = sum(load.statuses.get(200, 0) for load in loads)
    refused = sum(load.statuses.get(409, 0) for load in loads)
    seconds = max(load.seconds for load in loads)
    print(f"\n{increments:,} increments by {CLIENTS_COUNT} clients: {increments / seconds:,.0f}/s")
    print(f"  acknowledged {answered:,}, refused for want of budget {refused:,}")
    complaints = _losses(bench, way, loads, budgets_minor)
    if answered + refused != CLIENT_PROCESSES * part:
        complaints.append(f"some were answered otherwise: {[load.statuses for load in loads]}")
    return complaints


def _losses(bench: Bench, way: str, loads: list[Load], budgets_minor: list[int]) -> list[str]:
    complaints = []
    spent_minor = dict.fromkeys(range(CAMPAIGNS_COUNT), 0)
    for number in range(PARTICIPATIONS_COUNT):
        member = bench.database["campaignparticipations"].find_one({"browserSourceToken": _token(way, number)})
        path = f"{WAYS['group commit']}{_token(way, number)}"
        wanted = sum(load.by_path.get(path, 0) for load in loads)
        spent_minor[number % CAMPAIGNS_COUNT] += COST_MINOR * wanted
        if member["impressions"] != wanted or _minor(member["estimatedEarnings"]) != COST_MINOR * wanted:
            complaints.append(f"participation {number} has {member['impressions']}, and {wanted} were acknowledged")
    for number, budget_minor in enumerate(budgets_minor):
        campaign = bench.database["campaigns"].find_one({"title": f"{way} {number}"})
        left_minor = _minor(campaign["remainingBudget"])
        if left_minor < 0 or left_minor != budget_minor - spent_minor[number]:
            complaints.append(f"campaign {number} has {left_minor} left of {budget_minor}, spent {spent_minor[number]}")
    return complaints


def closed_loop_of(port: int, paths: list[str], connections: int, requests: int) -> Load:
    """:func:`closed_loop` for another process."""
    return closed_loop(port, paths, connections=connections, requests=requests)


def paced_of(port: int, paths: list[str], per_second: int, requests: int) -> Load:
    """:func:`paced` for another process."""
    return paced(port, paths, per_second=per_second, requests=requests, connections=128)


@contextmanager
def _served(uri: str, database: str) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.support.recording_server", uri, database, str(port)]
    server = subprocess.Popen(command, cwd=ROOT)
    try:
        if not wait_until(lambda: listens(port), timeout_s=START_TIMEOUT_S):
            raise RuntimeError("the server did not start")
        yield port
    finally:
        end(server, signal.SIGTERM)


def _plant(database: Any) -> None:
    database["campaignparticipations"].create_index("browserSourceToken", unique=True)
    for way in WAYS:
        _insert(database, way, [COST_MINOR * 10_000_000] * CAMPAIGNS_COUNT)


def _insert(database: Any, way: str, budgets_minor: list[int]) -> None:
    forge = Forge(seed=7, now=_NOW)
    campaigns: list[Document] = []
    for number, budget_minor in enumerate(budgets_minor):
        fields = {"title": f"{way} {number}", "brandId": brand_id(), "paymentRate": RATE, "budget": budget_minor / 100}
        campaigns.append(forge.campaign(forge.object_id(f"campaign {way}", number), **fields))
    members = [
        forge.participation(
            forge.object_id(f"member {way}", number),
            campaignId=campaigns[number % CAMPAIGNS_COUNT]["_id"],
            streamerId=forge.object_id(f"streamer {way}", number),
            impressions=0,
            browserSourceToken=_token(way, number),
        )
        for number in range(PARTICIPATIONS_COUNT)
    ]
    database["campaigns"].insert_many(campaigns)
    database["campaignparticipations"].insert_many(members)


def _token(way: str, number: int) -> str:
    return Forge(seed=7, now=_NOW).token(way, number)


def _minor(value: object) -> int:
    number = parse_number(value)
    assert not isinstance(number, Unreadable)
    return round_half_up(number * 100)


if __name__ == "__main__":
    sys.exit(main())
