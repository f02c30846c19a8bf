"""How long a full check takes beside merely reading what it compares, and how much memory it needs.

    python -m benchmarks.bench_full_check [--participations 1000000] [--ledger postgres|sqlite] [--datacompy]

Back of the envelope, for 1,000,000 participations, a fifth of them paid, on two cores with both servers beside:

* mongod gives out 400,000 small documents a second, and the driver makes dicts of them: 2.5 s for the participations.
  200,000 payouts of 21 columns are another 1 s. That is the floor of comparing facts: 3.5 s.
* columns instead of documents: nine list comprehensions over a million, 0.1 µs each, 1 s. Vectors: 10 ns a row and
  step, 0.5 s in all. What Python does (decode, columns) and what mongod does overlap, so that reading hides some of it.
* effects: 200,000 lines and G-keys and 50,000 wallets looked up by index, 5 µs each: 2.5 s; the floor reads the same.
* integrity: half a million postings summed twice in SQL, 1 s. Walking the whole chain is 150 µs a payout: 30 s, which
  is why a check walks on from where the last one ended.
* memory: 60 MB of imports, and two partitions of 100,000 rows of 9 columns at some 100 bytes: 200 MB. It does not grow.
* the loop that asks the ledger once a participation: 100 µs each, 100 s.

The figures that hold are the ratios: everything is measured in the same run, on the same servers, one after another.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support import checking
from benchmarks.support.processes import Ran, in_child, run_product
from reconciler.devstack.stack import Devstack

PEAK_RSS_MB_MAX = 600
FACTS_RATIO_MAX = 2.0
WHOLE_RATIO_MAX = 3.0
LOOKUPS_COUNT = 2_000

_DATACOMPY = """
import json, sys, time
import pandas, datacompy
left, right = (pandas.read_csv(path) for path in sys.argv[1:3])
began = time.perf_counter()
found = datacompy.PandasCompare(left, right, join_columns="participation_id")
found.matches()
found.report()
print(json.dumps({"seconds": time.perf_counter() - began, "version": datacompy.__version__}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The product's check at one scale: the first, which walks the whole chain, and the next."""

    participations: int
    first: Ran
    next: Ran


def main() -> int:
    """Measure, print, and answer 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description="seconds and memory of a full check, beside the raw reads")
    parser.add_argument("--participations", type=int, default=1_000_000)
    parser.add_argument("--ledger", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--datacompy", action="store_true", help="install datacompy into a scratch folder and run it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-check-") as folder, Devstack(Path(folder), fsync=True) as devstack:
        return _measure(devstack, arguments.ledger, arguments.participations, with_datacompy=arguments.datacompy)


def _measure(devstack: Devstack, ledger: str, participations: int, *, with_datacompy: bool) -> int:
    checked: list[Checked] = []
    environment: dict[str, str] = {}
    for scale in (participations // 4, participations // 2, participations):
        environment = _prepare(devstack, ledger, scale)
        first = run_product(["--json", "--full-check"], environment)
        checked.append(
            Checked(participations=scale, first=first, next=run_product(["--json", "--full-check"], environment))
        )
    where = (devstack.mongodb_uri, environment["RECONCILER__MONGODB__DATABASE"], environment["LEDGER_URL"])
    raw: dict[str, float] = in_child(checking.raw_reads, *where)
    facts_s: float = in_child(checking.facts_against_payouts, *where)
    looked_up_s: float = in_child(checking.look_up_one_by_one, *where, LOOKUPS_COUNT)
    facts_floor_s = raw["participations"] + raw["payouts"]
    whole_floor_s = sum(raw.values())
    whole = checked[-1].next
    print(f"\n{ledger}: {participations:,} participations, {participations // 5:,} payouts")
    for name, seconds in raw.items():
        print(f"  raw read of {name:<26}{seconds:>9.2f} s")
    lines = (
        ("facts against payouts", facts_s, facts_floor_s),
        ("everything, chain walked on", whole.printed["duration_s"], whole_floor_s),
        ("everything, whole chain (first)", checked[-1].first.printed["duration_s"], whole_floor_s),
        (f"one by one in the ledger (of {LOOKUPS_COUNT})", looked_up_s * participations / LOOKUPS_COUNT, facts_floor_s),
    )
    for name, seconds, floor_s in lines:
        print(f"  {name:<38}{seconds:>9.2f} s {seconds / floor_s:>7.2f} × the raw reads")
    for one in checked:
        print(
            f"  peak RSS at {one.participations:>9,} participations {one.next.peak_rss_mb:>7.0f} MB "
            f"(whole chain: {one.first.peak_rss_mb:.0f} MB)"
        )
    print(f"  {_datacompy(where) if with_datacompy else 'datacompy: not asked for (--datacompy)'}")
    complaints = [
        *_wrong(checked),
        *([f"facts took {facts_s / facts_floor_s:.2f} ×"] if facts_s > FACTS_RATIO_MAX * facts_floor_s else []),
        *(
            [f"everything took {whole.printed['duration_s'] / whole_floor_s:.2f} ×"]
            if whole.printed["duration_s"] > WHOLE_RATIO_MAX * whole_floor_s
            else []
        ),
    ]
    for complaint in complaints:
        print(f"  BROKEN: {complaint}")
    if not complaints:
        print(f"  kept: facts ≤ {FACTS_RATIO_MAX} ×, everything ≤ {WHOLE_RATIO_MAX} ×, peak ≤ {PEAK_RSS_MB_MAX} MB")
    return 1 if complaints else 0


def _prepare(devstack: Devstack, ledger: str, participations: int) -> dict[str, str]:
    """A platform of that size of which a fifth is paid, by the product's own sweep."""
    name = f"bench_{participations}"
    url = devstack.postgres.create_database(name) if ledger == "postgres" else f"sqlite:///{devstack.folder / name}.db"
    environment = {
        "MONGODB_URI": devstack.mongodb_uri,
        "RECONCILER__MONGODB__DATABASE": name,
        "LEDGER_URL": url,
        "RECONCILER__SAFETY__PAYOUTS_PER_HOUR_MAX": "1000000000",
        "RECONCILER__REPORTS__DIRECTORY": str(devstack.folder / "reports" / name),
    }
    in_child(checking.load, devstack.mongodb_uri, name, participations)
    run_product(["--json", "migrate"], environment)
    swept = run_product(["--json", "--once"], environment)
    if swept.printed["paid"] != participations // 5:
        raise RuntimeError(f"the sweep paid {swept.printed['paid']}, not {participations // 5}")
    return environment


def _wrong(checked: list[Checked]) -> Iterator[str]:
    for one in checked:
        for ran in (one.first, one.next):
            shown = ran.printed["completeness"]
            if (ran.printed["verdict"], shown["matched"]) != ("clean", one.participations // 5):
                yield f"at {one.participations:,}: {ran.printed['verdict']}, {shown}, {ran.printed['breaks_by_kind']}"
            if ran.peak_rss_mb > PEAK_RSS_MB_MAX:
                yield f"the peak at {one.participations:,} is {ran.peak_rss_mb:.0f} MB"


def _datacompy(where: tuple[str, str, str]) -> str:
    """It cannot be installed beside pandas 3: in a folder of its own, with a pandas of its own."""
    with tempfile.TemporaryDirectory(prefix="datacompy-") as folder:
        target = Path(folder) / "packages"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "datacompy"]
        installed = subprocess.run(command, capture_output=True, text=True, check=False)
        if installed.returncode:
            return f"datacompy: cannot be installed here ({installed.stderr.strip().splitlines()[-1:]})"
        frames = in_child(checking.write_frames, *where, folder)
        ran = subprocess.run(
            [sys.executable, "-c", _DATACOMPY, *frames],
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"},
        )
        if ran.returncode:
            return f"datacompy: failed ({ran.stderr.strip().splitlines()[-1:]})"
        said = json.loads(ran.stdout.splitlines()[-1])
        return f"datacompy {said['version']} on the two loaded frames: {said['seconds']:.2f} s, reading not counted"


if __name__ == "__main__":
    sys.exit(main())
