"""How soon the daemon pays whoever becomes due: idle, after a burst, and while many others are being paid.

    python -m benchmarks.bench_watch [--payouts 200] [--burst-s 60] [--crowd 5000]

Back of the envelope, on two cores with both servers beside the client:

* from the acknowledged write to its event some 0.2 ms: the write was acknowledged by a majority, and the stream waits.
* one read of a participation and one of its campaign, 0.3 ms each; a PostgreSQL commit 0.3 ms, and the statements
  before it in one or two round trips of 0.1 ms and as much work again. So 1.5 to 3 ms for a bare script.
* the daemon asks more: a snapshot, what the ledger knows, the guard, the view under the lock. Six round trips of some
  0.3 ms with their work, so twice the bare script, and 5 ms.
* a key-only event costs Python 2 µs and the queue 1 µs; 5,000 updates a second are nothing beside what mongod does for
  them. What waits is a set of identities, so memory stays where it is.
* a page of 2,000 takes a second to post: a live id beside a crowd waits for one batch, not for the crowd.

The moment of payment is PostgreSQL's own commit time (`track_commit_timestamp`), the moment before it the clock of this
process when MongoDB had acknowledged the write. The ratios are what holds: the bare script runs in the same minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
from bson.objectid import ObjectId
from pymongo import MongoClient, UpdateOne
from pymongo.database import Database

from benchmarks.support import bare_watch, platform
from benchmarks.support.processes import ROOT, in_child, run_product
from reconciler.devstack.process import wait_until
from reconciler.devstack.stack import Devstack

PACE_S = 0.02
"""Between two payouts on an idle machine, beside waiting until the one before is over."""

WARM_UP_COUNT = 10

UPDATES_PER_S = 5_000
UPDATES_A_WRITE = 250
PROBES_A_SECOND = 1
LAG_MAX_S = 1.0
LAG_WITHIN_S = 5.0
WAIT_MAX_S = 120.0
DATABASE = "bench_watch"


@dataclass(slots=True, kw_only=True)
class Delays:
    """From the acknowledged write to the committed payout, in seconds, in the order of the writes."""

    name: str
    seconds: list[float] = field(default_factory=list)

    def percentile_ms(self, percent: int) -> float:
        ordered = sorted(self.seconds)
        return 1_000 * ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Both servers, and the participations that have not become due yet."""

    devstack: Devstack
    ledger_url: str
    database: Database[dict[str, Any]]
    ledger: psycopg.Connection[Any]
    places: Iterator[platform.Place]

    @property
    def participations(self) -> Any:
        return self.database["campaignparticipations"]

    def make_due(self, count: int, pace_s: float) -> dict[str, float]:
        """Make so many due, one after the other; answers identity → when the write had been acknowledged."""
        written: dict[str, float] = {}
        for _ in range(count):
            place = next(self.places)
            self.participations.update_one({"_id": place.participation_id}, {"$inc": {"impressions": 10}})
            written[str(place.participation_id)] = time.time()
            time.sleep(pace_s)
        return written

    def one_by_one(self, count: int, table: str = "payouts") -> dict[str, float]:
        """The same, each when the one before is over: paid, and by the daemon told as well."""
        written: dict[str, float] = {}
        for _ in range(count):
            latest = self.make_due(1, PACE_S)
            self.delays("over", latest, table)
            if table == "payouts":
                told = {"_id": ObjectId(next(iter(latest))), "finalEarningsTransferred": True}
                wait_until(partial(self._exists, told), timeout_s=WAIT_MAX_S)
            written |= latest
        return written

    def _exists(self, participation: dict[str, Any]) -> bool:
        return self.participations.find_one(participation) is not None

    def delays(self, name: str, written: Mapping[str, float], table: str = "payouts") -> Delays:
        """Wait until all of them are paid, and read from PostgreSQL when each was."""
        prefix = "" if table == "bare_payouts" else "payout:oid:"
        suffix = "" if table == "bare_payouts" else ":1"
        keys = {f"{prefix}{one}{suffix}": at for one, at in written.items()}
        query = f"SELECT payout_key, pg_xact_commit_timestamp(xmin) FROM {table} WHERE payout_key = ANY(%s)"
        found: dict[str, float] = {}

        def all_paid() -> bool:
            rows = self.ledger.execute(query, [list(keys)]).fetchall()
            found.update((key, at.timestamp()) for key, at in rows)
            return len(found) == len(keys)

        if not wait_until(all_paid, timeout_s=WAIT_MAX_S):
            raise RuntimeError(f"{len(keys) - len(found)} of {len(keys)} were not paid within {WAIT_MAX_S:g} s")
        return Delays(name=name, seconds=[found[key] - at for key, at in keys.items()])


def main() -> int:
    """Measure, print, and answer 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description="from the acknowledged write to the committed payout")
    parser.add_argument("--payouts", type=int, default=200, help="on an idle machine (default: %(default)s)")
    parser.add_argument("--burst-s", type=int, default=60, help="seconds of 5,000 updates each (default: %(default)s)")
    parser.add_argument("--crowd", type=int, default=5_000, help="due at once beside live ones (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-watch-") as folder, _bench(Path(folder), arguments) as bench:
        bare = _bare(bench, Path(folder), arguments.payouts)
        with _daemon(bench, Path(folder)) as daemon:
            bench.one_by_one(WARM_UP_COUNT)
            live = bench.delays("the daemon", bench.one_by_one(arguments.payouts))
            _print_idle(bare, live)
            kept = _burst(bench, daemon, arguments.burst_s)
            _crowd(bench, arguments.crowd)
    return 0 if kept else 1


@contextmanager
def _bench(folder: Path, arguments: argparse.Namespace) -> Iterator[Bench]:
    probes = 2 * arguments.payouts + (arguments.burst_s + int(WAIT_MAX_S)) * PROBES_A_SECOND + 500
    slices = platform.slices((("live", probes), ("crowd", arguments.crowd)))
    with Devstack(folder, fsync=True) as devstack:
        plain = devstack.ledger_url.replace("+psycopg", "")
        with psycopg.connect(plain, autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET track_commit_timestamp = on")
        devstack.postgres.restart()
        with (
            MongoClient[dict[str, Any]](devstack.mongodb_uri) as client,
            psycopg.connect(plain, autocommit=True) as ledger,
        ):
            in_child(_load, devstack.mongodb_uri, list(slices.values()))
            bench = Bench(
                devstack=devstack,
                ledger_url=devstack.ledger_url,
                database=client[DATABASE],
                ledger=ledger,
                places=slices["live"].places(),
            )
            run_product(["--json", "migrate"], _environment(bench))
            yield bench


def _load(uri: str, slices: Sequence[platform.Slice]) -> None:
    """Nobody is due yet: each lacks a few impressions."""
    with MongoClient[dict[str, Any]](uri) as client:
        platform.load(client[DATABASE], slices)
        client[DATABASE]["campaignparticipations"].update_many({}, {"$set": {"impressions": platform.TARGET - 5}})


def _environment(bench: Bench) -> dict[str, str]:
    return {
        "MONGODB_URI": bench.devstack.mongodb_uri,
        "RECONCILER__MONGODB__DATABASE": DATABASE,
        "LEDGER_URL": bench.ledger_url,
        "RECONCILER__LOG__FORMAT": "json",
    }


@contextmanager
def _daemon(bench: Bench, folder: Path) -> Iterator[psutil.Process]:
    """The daemon, from the first look at everything on until it was told to end."""
    log = folder / "daemon.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "run.py")],
            cwd=folder,
            env={**os.environ, **_environment(bench)},
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
    try:
        if not wait_until(lambda: b'"streaming"' in log.read_bytes(), timeout_s=WAIT_MAX_S):
            raise RuntimeError(f"the daemon does not stream: {log.read_text()[-2_000:]}")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _bare(bench: Bench, folder: Path, count: int) -> Delays:
    ready = folder / "bare.ready"
    uri, ledger_url = bench.devstack.mongodb_uri, bench.ledger_url
    with ThreadPoolExecutor(max_workers=1) as waiting:
        script = waiting.submit(in_child, bare_watch.watch, uri, DATABASE, ledger_url, count + WARM_UP_COUNT, ready)
        if not wait_until(ready.exists, timeout_s=WAIT_MAX_S):
            raise RuntimeError("the bare script does not watch")
        bench.one_by_one(WARM_UP_COUNT, "bare_payouts")
        written = bench.one_by_one(count, "bare_payouts")
        script.result()
    delays = bench.delays("bare script", written, table="bare_payouts")
    # What it paid in its own tables is none of the daemon's business.
    paid = [ObjectId(one) for one in written]
    bench.participations.update_many({"_id": {"$in": paid}}, {"$set": {"status": "removed"}})
    return delays


def _print_idle(bare: Delays, live: Delays) -> None:
    print(f"\nfrom the acknowledged write to the committed payout, {len(live.seconds)} one after the other")
    print(f"  {'':<16}{'p50 ms':>10}{'p99 ms':>10}")
    for delays in (bare, live):
        print(f"  {delays.name:<16}{delays.percentile_ms(50):>10.1f}{delays.percentile_ms(99):>10.1f}")
    halves = [live.percentile_ms(percent) / bare.percentile_ms(percent) for percent in (50, 99)]
    print(f"  the daemon takes {halves[0]:.1f} × the bare script at p50, {halves[1]:.1f} × at p99")
    sys.stdout.flush()


def _burst(bench: Bench, daemon: psutil.Process, seconds: int) -> bool:
    """Updates that make nobody due, as fast as viewers are at their most; some that do, to see what those wait."""
    watched = [
        one["_id"] for one in bench.participations.find({"status": "active"}, {"_id": 1}).sort("_id", -1).limit(5_000)
    ]
    before_mb = daemon.memory_info().rss / 2**20
    peaks_mb: list[float] = []
    during: dict[str, float] = {}
    ended = threading.Event()

    def probe() -> None:
        while not ended.wait(1 / PROBES_A_SECOND):
            during.update(bench.make_due(1, 0))
            peaks_mb.append(daemon.memory_info().rss / 2**20)

    prober = threading.Thread(target=probe, name="probe", daemon=True)
    prober.start()
    started = time.monotonic()
    updates = 0
    while (spent := time.monotonic() - started) < seconds:
        if updates > spent * UPDATES_PER_S:
            time.sleep(0.005)
            continue
        chosen = [watched[(updates + n) % len(watched)] for n in range(UPDATES_A_WRITE)]
        bench.participations.bulk_write(
            [UpdateOne({"_id": one}, {"$inc": {"clicks": 1}}) for one in chosen], ordered=False
        )
        updates += UPDATES_A_WRITE
    pace = updates / (time.monotonic() - started)
    ended.set()
    prober.join()
    back_s = _back_to_normal(bench)
    waited = bench.delays("during", during)
    after_mb = daemon.memory_info().rss / 2**20
    print(f"\n{updates:,} updates in {seconds} s, {pace:,.0f} a second (wanted: {UPDATES_PER_S:,})")
    print(
        f"  a live one meanwhile: p50 {waited.percentile_ms(50):,.0f} ms, at most {waited.percentile_ms(100):,.0f} ms"
    )
    print(f"  lag below {LAG_MAX_S:g} s again {back_s:.1f} s after the end (promised: {LAG_WITHIN_S:g} s)")
    peak_mb = max(peaks_mb, default=0.0)
    print(f"  daemon's memory: {before_mb:.0f} MB before, {peak_mb:.0f} MB at most, {after_mb:.0f} MB after")
    sys.stdout.flush()
    return back_s <= LAG_WITHIN_S


def _back_to_normal(bench: Bench) -> float:
    """Seconds until a participation that becomes due is paid within LAG_MAX_S."""
    ended = time.monotonic()
    while True:
        began_s = time.monotonic() - ended
        if bench.delays("after", bench.make_due(1, 0)).seconds[0] < LAG_MAX_S:
            return began_s


def _crowd(bench: Bench, count: int) -> None:
    """Many become due with one write; single ones go on doing so while the crowd is paid."""
    crowd = [
        one["_id"] for one in bench.participations.find({"status": "active"}, {"_id": 1}).sort("_id", -1).limit(count)
    ]
    bench.participations.update_many({"_id": {"$in": crowd}}, {"$inc": {"impressions": 10}})
    due_at = time.time()
    written: dict[str, float] = {}
    query = "SELECT count(*) FROM payouts WHERE payout_key = ANY(%s)"
    keys = [f"payout:oid:{one}:1" for one in crowd]

    def all_paid() -> bool:
        written.update(bench.make_due(1, 0.2))
        [paid] = bench.ledger.execute(query, [keys]).fetchone() or (0,)
        return bool(paid == len(keys))

    wait_until(all_paid, timeout_s=WAIT_MAX_S)
    took_s = time.time() - due_at
    beside = bench.delays("beside a crowd", written)
    print(f"\n{count:,} due at once, paid within {took_s:.1f} s; {len(beside.seconds)} single ones beside them")
    print(f"  waited p50 {beside.percentile_ms(50):,.0f} ms, at most {beside.percentile_ms(100):,.0f} ms")
    print(f"  the slowest of them waited {max(beside.seconds) / took_s:.2f} of what the whole crowd took")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
