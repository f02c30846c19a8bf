"""`run.py --full-check`: exit codes, the report on stdout and on disk, one campaign, and the dry run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command_line import CommandLine
from tests.support.ledger_rows import paid_minor
from tests.support.platform import Platform
from tests.support.projecting import all_documents, all_rows
from tests.support.report_schema import schema_errors

if TYPE_CHECKING:
    from pymongo.database import Database
    from sqlalchemy.engine import Engine

OF_A_REPORT = {
    "schema", "report_id", "kind", "trigger", "as_of", "started_at", "finished_at", "duration_s", "dry_run", "verdict",
    "exit_code", "config_fingerprint", "positions", "completeness", "totals", "breaks_by_kind", "repairs", "carried",
    "breaks", "integrity", "timezone", "waiting", "withheld", "paid_by_day", "settled_before_us",
}  # fmt: skip


@pytest.fixture
def ledger_url(sqlite_url: str) -> str:
    """Both ledgers are compared by the tests of the check itself; here one does."""
    return sqlite_url


def parts_sum(report: dict[str, Any]) -> bool:
    parts = dict(report["completeness"])
    return bool(parts.pop("participations") == sum(parts.values()))


def on_disk(folder: Path, report: dict[str, Any]) -> None:
    """latest.json and <id>.json are the report, the CSV files have its breaks, the other formats lie beside."""
    reports = folder / "reports"
    assert schema_errors(report) == []
    assert json.loads((reports / "latest.json").read_text()) == report
    assert json.loads((reports / f"{report['report_id']}.json").read_text()) == report
    for name in ("latest.csv", f"{report['report_id']}.csv"):
        with (reports / name).open(newline="") as file:
            assert [row["kind"] for row in csv.DictReader(file)] == [one["kind"] for one in report["breaks"]]
    page = (reports / f"{report['report_id']}.html").read_text(encoding="utf-8")
    assert (reports / "latest.html").read_text(encoding="utf-8") == page
    assert f'<div class="word">{report["verdict"]}</div>' in page
    assert all(one["participation_id"] in page for one in report["breaks"])
    with (reports / f"{report['report_id']}.payouts.csv").open(newline="") as file:
        gross_minor = sum(int(row["gross_minor"]) for row in csv.DictReader(file) if row["kind"] == "payout")
    assert gross_minor == sum(total["paid_minor"] for total in report["totals"])
    assert (reports / f"{report['report_id']}.payouts.parquet").exists()
    assert (reports / f"{report['report_id']}.parquet").exists()


def test_breaks_then_repaired_then_clean(platform: Platform, engine: Engine, run_py: CommandLine) -> None:
    unpaid = platform.participation(platform.campaign(), 2500)
    malformed = platform.participation(platform.campaign(), float("nan"))
    platform.participation(platform.campaign(), 10)

    breaks = run_py.run("--full-check", "--json")

    report = breaks.json()
    assert breaks.code == report["exit_code"] == 1
    assert report.keys() == OF_A_REPORT
    assert report["breaks_by_kind"] == {"due_but_unpaid": 1, "malformed": 1}
    assert report["repairs"]["paid"] == 1
    assert paid_minor(engine) == {str(unpaid): 330_000}
    assert (
        report["completeness"] | {"participations": 3, "matched": 1, "not_due": 1, "malformed": 1}
        == (report["completeness"])
    )
    assert parts_sum(report)
    assert [total["unexplained_minor"] for total in report["totals"]] == [0]
    on_disk(run_py.folder, report)

    participations = platform.database["campaignparticipations"]
    participations.update_one({"_id": malformed}, {"$set": {"impressions": 2000}})
    participations.update_one({"_id": unpaid}, {"$set": {"finalEarnings": 1}})
    repaired = run_py.run("--full-check")

    assert repaired.code == 0
    assert repaired.stdout.startswith("REPAIRED: 3 participations checked, 0 open breaks, 1 paid and ")
    latest = json.loads((run_py.folder / "reports" / "latest.json").read_text())
    assert latest["breaks_by_kind"] == {"due_but_unpaid": 1, "projection_stale": 1}
    assert platform.read("campaignparticipations", unpaid)["finalEarnings"] == 3300.0

    clean = run_py.run("--full-check", "--json")

    assert (clean.code, clean.json()["verdict"], clean.json()["breaks"]) == (0, "clean", [])
    on_disk(run_py.folder, clean.json())


def test_a_dry_run_finds_and_leaves_everything(
    platform: Platform, engine: Engine, mongo_database: Database[dict[str, Any]], run_py: CommandLine
) -> None:
    platform.participation(platform.campaign(), 2500)
    documents, rows = all_documents(mongo_database), all_rows(engine)

    done = run_py.run("--full-check", "--dry-run", "--json")

    assert (done.code, done.json()["dry_run"], done.json()["verdict"]) == (1, True, "breaks")
    assert [(one["kind"], one["expected_minor"]) for one in done.json()["breaks"]] == [("due_but_unpaid", 330_000)]
    assert all_documents(mongo_database) == documents
    after = all_rows(engine)
    assert len(after.pop("runs")) == len(rows.pop("runs")) + 1  # that it ran is kept of every check
    for what_it_keeps_for_the_next in ("leases", "chain_marks"):
        assert after.pop(what_it_keeps_for_the_next) != rows.pop(what_it_keeps_for_the_next)
    assert after == rows


def test_one_campaign_only(platform: Platform, engine: Engine, run_py: CommandLine) -> None:
    asked, other = platform.campaign(), platform.campaign()
    mine = platform.participation(asked, 2500)
    platform.participation(other, 2500)

    done = run_py.run("--full-check", "--campaign", str(asked), "--json")

    assert (done.code, done.json()["verdict"], done.json()["kind"]) == (0, "repaired", "campaign_check")
    assert done.json()["completeness"]["participations"] == 1
    assert paid_minor(engine) == {str(mine): 330_000}


def test_a_report_that_cannot_be_written_is_said_before_anything_is_paid(
    platform: Platform, engine: Engine, run_py: CommandLine
) -> None:
    platform.participation(platform.campaign(), 2500)
    (run_py.folder / "taken").write_text("a file where the folder would be")

    done = run_py.run("--full-check", "--set", "reports.directory=taken/reports")

    assert (done.code, done.stdout) == (2, "")
    assert "reports.directory taken/reports cannot be written to" in done.stderr.splitlines()[-1]
    assert paid_minor(engine) == {}
