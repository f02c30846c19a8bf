"""How fast a sweep pays, how much memory it needs, and what its parts cost without the rest.

    python -m benchmarks.bench_sweep [--payouts 100000] [--ledger postgres|sqlite|both]

Back of the envelope, for 100,000 payouts on two cores with both servers beside the client:

* a majority write or a commit costs about 1 ms whatever it carries. The naive job waits for five of them and two reads
  a payout: some 5 ms, so 200/s, and 100,000 take eight minutes.
* in bulk nobody waits: mongod's own work counts, five updates a payout (participation twice, wallet, statement line,
  key) of some 30 µs each, so 150 µs or 6,500/s on the one core it gets. 100,000 take 15 s.
* the ledger writes five rows a payout (entry, two postings, payout, task) and changes two balances: some 40 µs in
  PostgreSQL and 20 µs in SQLite, so 4 s and 2 s. Python spends about as much again around it.
* so one after the other 25 s, and thirty times the naive job; were the stages to overlap perfectly, mongod's 15 s.
* memory: 60 MB of imports (pandas is among them), and a page of 2,000 participations with its decisions, rows, tasks
  and writes is some 20 KB each: 40 MB. The page counts, not the sweep. Far below 400 MB.

The figures that hold are the ratios: everything is measured in the same run, on the same servers, one after another.
PostgreSQL runs with fsync on, SQLite with synchronous = FULL, MongoDB acknowledges by majority with its journal.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pymongo import MongoClient

from benchmarks.support import effects, platform, posting
from benchmarks.support.processes import Ran, in_child, run_product
from reconciler.config.models import ProjectionSettings, SweepSettings
from reconciler.devstack.stack import Devstack

PEAK_RSS_MB_MAX = 400
NAIVE_COUNT_MAX = 1_000
LEDGERS = ("sqlite", "postgres")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """So many payouts in so much time."""

    name: str
    payouts_count: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.payouts_count / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One ledger's figures; the product's sweep is the first of the paces."""

    ledger: str
    paces: tuple[Pace, ...]
    sweep: Ran

    @property
    def complaints(self) -> list[str]:
        """What did not come out as it has to."""
        said = self.sweep.printed
        wanted = self.paces[0].payouts_count
        found = [
            f"{what} is {said[what]}, not {expected}"
            for what, expected in (("paid", wanted), ("projected", wanted), ("blocked", 0), ("complete", True))
            if said[what] != expected
        ]
        if self.sweep.peak_rss_mb >= PEAK_RSS_MB_MAX:
            found.append(f"the peak is {self.sweep.peak_rss_mb:.0f} MB, not below {PEAK_RSS_MB_MAX}")
        return found


def main() -> int:
    """Measure, print, and answer 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description="payouts a second of a sweep, and its peak of memory")
    parser.add_argument("--payouts", type=int, default=100_000, help="due participations (default: %(default)s)")
    parser.add_argument("--ledger", choices=[*LEDGERS, "both"], default="both")
    arguments = parser.parse_args()
    chosen = LEDGERS if arguments.ledger == "both" else (arguments.ledger,)
    kept = True
    with tempfile.TemporaryDirectory(prefix="bench-sweep-") as folder, Devstack(Path(folder), fsync=True) as devstack:
        for ledger in chosen:
            measured = _measure(devstack, ledger, arguments.payouts)
            _print(measured)
            kept = kept and not measured.complaints
    return 0 if kept else 1


def _measure(devstack: Devstack, ledger: str, payouts_count: int) -> Measured:
    """The parts first, on slices of their own, then the whole; each in a process of its own."""
    floor_count = max(payouts_count // 5, 1_000)
    naive_count = min(payouts_count, NAIVE_COUNT_MAX)
    slices = platform.slices(
        (("naive", naive_count), ("bulk-1", floor_count), ("bulk-2", floor_count), ("sweep", payouts_count))
    )
    uri, database = devstack.mongodb_uri, f"bench_{ledger}"
    page_size, chunk_size = SweepSettings().page_size, ProjectionSettings().batch_size
    environment = {
        "MONGODB_URI": uri,
        "RECONCILER__MONGODB__DATABASE": database,
        "LEDGER_URL": _ledger_url(devstack, ledger, "whole"),
    }
    in_child(_load, uri, database, list(slices.values()))
    run_product(["--json", "migrate"], environment)
    naive_s = in_child(effects.one_by_one, uri, database, _ledger_url(devstack, ledger, "naive"), slices["naive"])
    bulk_s = [in_child(effects.in_bulk, uri, database, slices[f"bulk-{n}"], chunk_size, n) for n in (1, 2)]
    posting_s = in_child(posting.post_only, _ledger_url(devstack, ledger, "posting"), slices["sweep"], page_size)
    sweep = run_product(["--json", "--once"], environment)
    paces = (
        Pace(name="the sweep", payouts_count=payouts_count, seconds=sweep.printed["duration_s"]),
        Pace(name="naive, row by row", payouts_count=naive_count, seconds=naive_s),
        Pace(name="bulk effects, bare", payouts_count=floor_count, seconds=bulk_s[0]),
        Pace(name="bulk effects, bare, two threads", payouts_count=floor_count, seconds=bulk_s[1]),
        Pace(name="posting alone", payouts_count=payouts_count, seconds=posting_s),
    )
    return Measured(ledger=ledger, paces=paces, sweep=sweep)


def _load(uri: str, database: str, slices: list[platform.Slice]) -> None:
    with MongoClient[dict[str, object]](uri) as client:
        platform.load(client[database], slices)


def _ledger_url(devstack: Devstack, ledger: str, name: str) -> str:
    if ledger == "postgres":
        return devstack.postgres.create_database(name)
    return f"sqlite:///{devstack.folder / name}.db"


def _print(measured: Measured) -> None:
    whole, naive, bulk, _, posted = measured.paces
    print(f"\n{measured.ledger}: {whole.payouts_count:,} payouts in {platform.CAMPAIGNS_COUNT:,} campaigns")
    print(f"  {'work':<34}{'payouts':>10}{'seconds':>10}{'payouts/s':>12}{'÷ the sweep':>14}")
    for pace in measured.paces:
        print(
            f"  {pace.name:<34}{pace.payouts_count:>10,}{pace.seconds:>10.2f}{pace.per_second:>12,.0f}"
            f"{pace.per_second / whole.per_second:>14.2f}"
        )
    share = 1 / bulk.per_second + 1 / posted.per_second
    print(f"  the sweep is {whole.per_second / naive.per_second:.1f} × the naive job")
    print(f"  the sweep takes {1 / whole.per_second / share:.2f} × bare effects and posting, one after the other")
    print(f"  peak RSS {measured.sweep.peak_rss_mb:.0f} MB, CPU of the sweep's process {measured.sweep.cpu_s:.1f} s")
    for complaint in measured.complaints:
        print(f"  BROKEN: {complaint}")
    if not measured.complaints:
        print(f"  kept: all paid and told once, peak below {PEAK_RSS_MB_MAX} MB")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
