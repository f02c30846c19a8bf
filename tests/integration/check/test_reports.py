"""Reports of earlier checks through the command line: listed, shown, compared, kept so many; and checks that failed."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.errors import Outage
from reconciler.ledger import schema
from reconciler.ledger.database_clock import before
from reconciler.ledger.operations.runs import SILENT_FOR
from tests.support.platform import Platform
from tests.support.product import Answer, Product


@pytest.fixture
def ledger_url(sqlite_url: str) -> str:
    """Both ledgers are compared by the contract of the run log; here one does."""
    return sqlite_url


@pytest.fixture
def reports(product: Product, tmp_path: Path) -> Path:
    product.settings["reports.directory"] = str(tmp_path / "reports")
    return tmp_path / "reports"


@pytest.fixture
def malformed(platform: Platform, reports: Path) -> Any:
    campaign_id = platform.campaign()
    platform.participation(campaign_id, 10)
    return platform.participation(campaign_id, "many")


def check(product: Product, *arguments: str) -> str:
    """The id of its report."""
    return str(product.run("--full-check", "--json", *arguments).json()["report_id"])


def listed(product: Product, *arguments: str) -> list[dict[str, Any]]:
    answer = product.run("report", "list", "--json", *arguments)
    assert answer.code == 0, answer.stderr
    found = answer.json()["reports"]
    assert isinstance(found, list)
    return found


def refused(answer: Answer, *words: str) -> None:
    assert (answer.code, answer.stdout) == (2, "")
    assert len(answer.stderr.splitlines()) == 1
    for word in words:
        assert word in answer.stderr


def test_listed_shown_and_compared(product: Product, platform: Platform, malformed: Any, reports: Path) -> None:
    first = check(product)
    moved = platform.participation(platform.campaign(), "few")
    platform.database["campaignparticipations"].update_one({"_id": malformed}, {"$set": {"impressions": 5}})
    second = check(product)

    rows = {row["report_id"]: row for row in listed(product)}
    assert set(rows) == {first, second}
    assert (rows[second]["verdict"], rows[second]["new"], rows[second]["cleared"]) == ("breaks", 1, 1)
    assert {"csv", "json"} <= set(rows[second]["files"])

    assert product.run("report", "show", "--format", "json").json()["report_id"] == second
    assert product.run("report", "show", first, "--format", "json").json()["report_id"] == first
    table = product.run("report", "show", second, "--format", "csv").stdout
    assert table.encode() == (reports / f"{second}.csv").read_bytes()
    shown = product.run("report", "show", first).stdout
    assert shown.startswith("BREAKS: 2 participations checked, 1 open breaks, ")
    assert any(line.startswith(f"{first}: ") for line in shown.splitlines())
    assert str(malformed) in shown
    assert str(reports / f"{first}.json") in shown

    difference = product.run("report", "diff", first, "--json").json()
    assert (difference["before"], difference["after"]) == (first, second)
    assert [one["participation_id"] for one in difference["appeared"]] == [str(moved)]
    assert [one["participation_id"] for one in difference["gone"]] == [str(malformed)]
    assert difference["changed"] == []
    told = product.run("report", "diff", first, second).stdout
    assert "appeared: 1" in told
    assert f"warning malformed participation {moved}" in told


def test_amounts_that_changed_stand_side_by_side(product: Product, platform: Platform, reports: Path) -> None:
    campaign_id = platform.campaign(targetImpressions=2000, budget=1000)
    participation_id = platform.participation(campaign_id, 2000)
    first = check(product)
    platform.database["campaigns"].update_one({"_id": campaign_id}, {"$set": {"paymentRate": 2000}})
    second = check(product)

    [changed] = product.run("report", "diff", first, second, "--json").json()["changed"]

    assert (changed["before"]["expected_minor"], changed["after"]["expected_minor"]) == (330_000, 400_000)
    told = product.run("report", "diff", first, second).stdout
    assert f"{participation_id}: expected 3300.00 INR -> 4000.00 INR" in told


def test_files_that_another_installation_would_have_written(product: Product, malformed: Any, reports: Path) -> None:
    newest = check(product)
    for name in (f"{newest}.html", "latest.html", f"{newest}.parquet"):
        (reports / name).unlink(missing_ok=True)
    refused(
        product.run("report", "show", "--format", "html"), "written without html", "run `python run.py --full-check`"
    )
    refused(product.run("report", "show", newest, "--format", "parquet"), "written without parquet")
    (reports / "latest.html").write_text("<p>page</p>")
    (reports / f"{newest}.parquet").write_bytes(b"PAR1\x00\xffPAR1")
    assert product.run("report", "show", "--format", "html").stdout == "<p>page</p>"


def test_what_cannot_be_shown_is_a_sentence(product: Product, malformed: Any, reports: Path) -> None:
    refused(product.run("report", "show"), "there is no report in", "yet: run `python run.py --full-check`")
    newest = check(product)
    refused(product.run("report", "show", "../../etc/passwd"), "is not the id of a report")
    refused(product.run("report", "show", "20200101T000000Z-00000000"), "there is no report 20200101T000000Z-00000000")
    refused(product.run("--json", "report", "show", "--format", "csv"), "exclude each other")
    (reports / f"{newest}.json").write_text('{"half": ')
    refused(product.run("report", "show", newest), f"{newest}.json is damaged: ")
    refused(product.run("report", "diff", newest, "latest"), f"{newest}.json is damaged: ")
    [row] = listed(product)
    assert (row["verdict"], f"{newest}.json is damaged" in row["note"]) == ("breaks", True)


def test_an_edited_file_is_shown_without_what_moves_a_terminal(product: Product, malformed: Any, reports: Path) -> None:
    newest = check(product)
    path = reports / f"{newest}.json"
    document = json.loads(path.read_text())
    [row] = document["breaks"]
    row["detail"] = "\x1b[31mred"
    document["breaks_by_kind"] = {row["kind"]: 5}
    total = dict.fromkeys(("expected", "held", "reversed", "refunded", "difference", "explained"), 0)
    document["totals"] = [
        {f"{name}_minor": minor for name, minor in {**total, "paid": 7, "unexplained": 2}.items()}
        | {"currency": "XXX", "counts": {"payouts": 0}}
    ]
    path.write_text(json.dumps(document))

    answer = product.run("report", "show", newest)

    assert answer.code == 0
    assert answer.stdout.startswith("BREAKS: 2 participations checked, 1 or more open breaks, ")
    assert "Control totals XXX (0 payouts)" in answer.stdout
    assert "  paid: 7\n" in answer.stdout
    assert "… and 4 more in the report" in answer.stdout
    assert "\x1b" not in answer.stdout


def test_an_edited_file_that_lacks_a_field_is_damaged(product: Product, malformed: Any, reports: Path) -> None:
    newest = check(product)
    path = reports / f"{newest}.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"completeness": {}}))

    refused(product.run("report", "show", newest), f"{newest}.json is damaged: its field participations is missing")


def test_the_newest_are_kept_and_latest_always(product: Product, malformed: Any, reports: Path) -> None:
    product.settings["reports.keep"] = "2"
    ids = [check(product) for _ in range(3)]

    files = {path.name for path in reports.iterdir()}

    assert {f"{ids[1]}.json", f"{ids[2]}.json", "latest.json", "latest.csv"} <= files
    assert not [name for name in files if name.startswith(ids[0])]
    assert json.loads((reports / "latest.json").read_text())["report_id"] == ids[2]
    gone = next(row for row in listed(product) if row["report_id"] == ids[0])
    assert (gone["verdict"], gone["note"], gone["files"]) == ("breaks", "its files are gone", [])


def test_a_check_that_failed_is_listed_with_its_error(
    product: Product, malformed: Any, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = check(product)
    latest = (reports / "latest.json").read_bytes()

    def away(_self: object) -> None:
        raise Outage("mongodb", "the server went away at mongodb://admin:secret@host")

    monkeypatch.setattr("reconciler.mongo.ledger_guard.MongoLedgerGuard.check", away)
    failed = product.run("--full-check", "--json")

    assert (failed.code, failed.stdout) == (3, "")
    [row] = [one for one in listed(product) if one["report_id"] != good]
    assert row["verdict"] == "failed"
    assert row["note"].startswith("MongoDB cannot be reached: the server went away at mongodb://")
    assert "secret" not in row["note"]
    assert (reports / "latest.json").read_bytes() == latest
    assert "failed" in product.run("report", "list").stdout


def test_a_check_that_died_is_marked_by_the_next_run(product: Product, malformed: Any, engine: Engine) -> None:
    newest = check(product)
    with engine.begin() as connection:
        connection.execute(
            sa.insert(schema.runs).values(
                run_id="deadbeef-0000",
                kind="full_check",
                trigger="full_check",
                started_at=before(connection, timedelta(hours=1)),
                alive_at=before(connection, SILENT_FOR + timedelta(seconds=1)),
            )
        )
    [row] = [one for one in listed(product) if one["report_id"] != newest]
    assert (row["verdict"], row["report_id"][-9:]) == ("interrupted", "-deadbeef")
    assert row["note"].startswith("its process ended, or its machine, before the run did")

    product.sweep()

    with engine.connect() as connection:
        outcome = connection.execute(
            sa.select(schema.runs.c.outcome).where(schema.runs.c.run_id == "deadbeef-0000")
        ).scalar_one()
    assert outcome == "interrupted"


def test_the_list_reads_well_in_80_columns(product: Product, malformed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = check(product)
    check(product, "--dry-run")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")

    drawn = re.sub(r"\x1b\[[0-9;]*m", "", product.run("report", "list").stdout)

    assert max(map(len, drawn.splitlines())) <= 80
    assert newest in drawn
    assert "dry run" in drawn
    [line] = [line for line in drawn.splitlines() if newest in line]
    assert "breaks" in line
