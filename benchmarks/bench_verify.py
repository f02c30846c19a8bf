"""How fast `ledger verify` proves a ledger, and how much memory it needs for it.

    python -m benchmarks.bench_verify [--payouts 100000] [--ledger sqlite|postgres|both]

Back of the envelope, a payout (an entry, two or three postings, a row of 31 columns):

* its canonical form is some 1.5 KB of JSON: SHA-256 of that takes 1.5 µs, writing it 8 µs.
* some 65 values in five rows come out of the driver and are put into lists: 15 to 25 µs.
* amounts, sums and cross-checks in Python, 10 µs; the postings once more, account by account, 5 µs.
* so 40 to 50 µs or some 20,000 payouts/s; a million take 50 s. SQLite checks its own pages besides.
* memory: 60 MB of imports and one batch (2,000 payouts here: 10 MB), whatever the ledger's size.

The promise is the bound: a ledger ten times as long must not need more memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.devstack.postgres import Postgres
from reconciler.domain.plan import BatchPlan
from reconciler.ledger.engine import open_engine, writing
from reconciler.ledger.journal.writing import lock_head, write_batch
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.proof.verify import SqlVerifier
from reconciler.ports.journal import BatchStamp
from tests.support.varied_ledger import funding_of, participation_of, payout_of, request_of, terms_of

PAYOUTS_A_BATCH = 2000
PEAK_RSS_MB_MAX = 400
LEDGERS = ("sqlite", "postgres")
BEGUN = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)


def main() -> int:
    """Measure, print, and answer 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description="payouts a second that `ledger verify` proves, and its peak of memory")
    parser.add_argument("--payouts", type=int, default=100_000, help="payouts in the ledger (default: %(default)s)")
    parser.add_argument("--ledger", choices=[*LEDGERS, "both"], default="both")
    parser.add_argument("--verify", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.verify:
        return _verify(arguments.verify)
    kept = True
    with tempfile.TemporaryDirectory(prefix="bench-verify-") as folder, ExitStack() as stack:
        for ledger in LEDGERS if arguments.ledger == "both" else (arguments.ledger,):
            if ledger == "sqlite":
                url = f"sqlite:///{Path(folder) / 'ledger.db'}"
            else:
                url = stack.enter_context(Postgres(Path(folder) / "postgres", fsync=True)).url
            kept = _measure(ledger, url, arguments.payouts) and kept
    return 0 if kept else 1


def _measure(ledger: str, url: str, count: int) -> bool:
    began = time.monotonic()
    _write(url, count)
    wrote_s = time.monotonic() - began
    # In a process of its own: the peak is that of verifying, and not of writing.
    command = [sys.executable, "-m", "benchmarks.bench_verify", "--verify", url]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    pace = said["payouts"] / said["seconds"]
    print(
        f"{ledger}: wrote {count:,} payouts in {wrote_s:.1f} s; verified {said['payouts']:,} payouts and "
        f"{said['entries']:,} entries in {said['seconds']:.1f} s, {pace:,.0f} payouts/s, "
        f"peak {said['peak_rss_mb']:.0f} MB (before it began: {said['rss_before_mb']:.0f} MB), "
        f"{said['faults']} faults"
    )
    return bool(said["faults"] == 0 and said["payouts"] == count and said["peak_rss_mb"] < PEAK_RSS_MB_MAX)


def _verify(url: str) -> int:
    engine = open_engine(url)
    before_mb = _peak_mb()
    began = time.monotonic()
    found = SqlVerifier(engine).verify()
    seconds = time.monotonic() - began
    document = {
        "payouts": found.payouts,
        "entries": found.entries,
        "faults": len(found.faults),
        "seconds": seconds,
        "peak_rss_mb": _peak_mb(),
        "rss_before_mb": before_mb,
    }
    print(json.dumps(document))
    return 0


def _write(url: str, count: int) -> None:
    engine = open_engine(url)
    upgrade(engine)
    for number, plan in enumerate(_plans(count)):
        with writing(engine) as connection:
            stamp = BatchStamp(run_id=f"run-{number}", trigger="sweep")
            write_batch(connection, lock_head(connection), plan, stamp, BEGUN + timedelta(seconds=number))
    engine.dispose()


def _plans(count: int) -> Iterator[BatchPlan]:
    """Batches of payouts, a campaign each; every second payout bears a fee, every streamer is paid five times."""
    streamers = max(1, count // 5)
    for begin in range(0, count, PAYOUTS_A_BATCH):
        terms = terms_of(0x1000_0000 + begin)
        batch = BatchPlan(posted=[funding_of(terms, amount_minor=1_000_000_000)])
        for number in range(begin, min(begin + PAYOUTS_A_BATCH, count)):
            participation = participation_of(0x2000_0000 + number, terms, 2000 + number % 500)
            paid = replace(participation, streamer_id=f"{number % streamers:024x}")
            request = request_of(paid, terms, fee_bps=250 * (number % 2))
            batch.posted.append(payout_of(request))
        yield batch


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
