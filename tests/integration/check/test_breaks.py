"""Breaks from one check to the next, through the command line: known, resolved, found again, and what exits say."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.ledger import schema
from reconciler.ledger.operations.lease import PAYING, Lease
from tests.support.ledger import chain_is_sound, everything, rows_of
from tests.support.platform import Platform
from tests.support.product import Answer, Product

SIGNED = ("--by", "asha", "--reason", "the brand corrects it")
MALFORMED = "malformed"


@pytest.fixture
def ledger_url(sqlite_url: str) -> str:
    """Both ledgers are compared by the contract of the break records; here one does."""
    return sqlite_url


@pytest.fixture
def reports(product: Product, tmp_path: Path) -> Path:
    product.settings["reports.directory"] = str(tmp_path / "reports")
    return tmp_path / "reports"


@pytest.fixture
def malformed(platform: Platform, reports: Path) -> Any:
    """A participation that cannot be read, beside one that is in order."""
    campaign_id = platform.campaign()
    platform.participation(campaign_id, 10)
    return platform.participation(campaign_id, "many")


def check(product: Product, *arguments: str, code: int) -> dict[str, Any]:
    answer = product.run("--full-check", "--json", *arguments)
    assert answer.code == code, answer.stderr
    return answer.json()


def the_break(report: dict[str, Any]) -> dict[str, Any]:
    [found] = report["breaks"]
    assert isinstance(found, dict)
    return found


def listed(product: Product, *arguments: str) -> list[dict[str, Any]]:
    answer = product.run("breaks", "list", "--json", *arguments)
    assert answer.code == 0, answer.stderr
    found = answer.json()["breaks"]
    assert isinstance(found, list)
    return found


def refused(answer: Answer, *words: str) -> None:
    assert (answer.code, answer.stdout) == (2, "")
    assert len(answer.stderr.splitlines()) == 1
    for word in words:
        assert word in answer.stderr


def repair(platform: Platform, participation_id: Any, impressions: Any = 20) -> None:
    platform.database["campaignparticipations"].update_one(
        {"_id": participation_id}, {"$set": {"impressions": impressions}}
    )


def test_an_acknowledged_break_stays_in_the_report_apart_and_counts_no_more(
    product: Product, platform: Platform, malformed: Any, engine: Engine
) -> None:
    first = check(product, code=1)
    found = the_break(first)
    assert (found["status"], found["acknowledged_by"], found["age_s"]) == ("open", "", 0)
    assert (first["verdict"], first["carried"]) == ("breaks", {"new": 1, "carried": 0, "cleared": 0})
    [line] = listed(product)
    assert (line["break_id"], line["participation_id"], line["kind"]) == (found["break_id"], str(malformed), MALFORMED)

    answer = product.run("breaks", "acknowledge", found["break_id"], *SIGNED, "--json")

    assert answer.json() == {"result": "acknowledged", "breaks": [found["break_id"]]}
    second = check(product, code=0)
    found = the_break(second)
    assert (found["status"], found["acknowledged_by"]) == ("acknowledged", "asha")
    assert found["acknowledged_reason"] == "the brand corrects it"
    assert found["first_seen"] == the_break(first)["first_seen"]
    assert (second["verdict"], second["exit_code"]) == ("clean", 0)
    assert second["carried"] == {"new": 0, "carried": 1, "cleared": 0}
    assert second["completeness"]["malformed"] == 1
    assert listed(product) == []
    assert [one["decided_by"] for one in listed(product, "--status", "acknowledged")] == ["asha"]
    chain_is_sound(engine)

    repair(platform, malformed)
    assert check(product, code=0)["carried"] == {"new": 0, "carried": 0, "cleared": 1}
    repair(platform, malformed, "many")
    back = check(product, code=1)
    assert the_break(back)["note"].endswith("has lapsed: it was gone and came back")
    assert [one["appearances_count"] for one in listed(product)] == [2]


def test_first_seen_survives_deleted_reports(product: Product, malformed: Any, reports: Path) -> None:
    first = the_break(check(product, code=1))
    for file in reports.iterdir():
        file.unlink()

    second = check(product, code=1)

    assert the_break(second)["first_seen"] == first["first_seen"]
    assert second["carried"] == {"new": 0, "carried": 1, "cleared": 0}


def test_a_resolved_break_that_is_still_there_is_open_again(product: Product, malformed: Any) -> None:
    found = the_break(check(product, code=1))
    assert product.run("breaks", "resolve", found["break_id"], *SIGNED).code == 0
    assert listed(product) == []
    [cleared] = listed(product, "--status", "cleared")
    assert (cleared["cleared_by"], cleared["decision"]) == ("person", "resolve")

    again = the_break(check(product, code=1))

    assert again["status"] == "open"
    assert again["note"].startswith("asha resolved it on 20")
    assert [one["note"] for one in listed(product)] == [again["note"]]


def test_a_check_of_one_campaign_neither_clears_nor_hides_others(
    product: Product, platform: Platform, malformed: Any, reports: Path
) -> None:
    check(product, code=1)
    latest = (reports / "latest.json").read_bytes()
    other = platform.campaign()
    platform.participation(other, 10)

    report = check(product, "--campaign", str(other), code=0)

    assert (report["breaks"], report["carried"]) == ([], {"new": 0, "carried": 0, "cleared": 0})
    assert [one["participation_id"] for one in listed(product)] == [str(malformed)]
    assert (reports / "latest.json").read_bytes() == latest
    assert check(product, code=1)["carried"] == {"new": 0, "carried": 1, "cleared": 0}


def test_a_dry_run_compares_and_remembers_nothing(product: Product, platform: Platform, malformed: Any) -> None:
    check(product, code=1)
    platform.participation(platform.campaign(), "few")

    dry = check(product, "--dry-run", code=1)

    assert dry["carried"] == {"new": 1, "carried": 1, "cleared": 0}
    assert len(listed(product)) == 1
    assert check(product, code=1)["carried"] == {"new": 1, "carried": 1, "cleared": 0}


def test_a_check_that_repairs_nothing_because_paying_is_off_remembers(product: Product, malformed: Any) -> None:
    product.settings["payout.enabled"] = "false"
    assert check(product, code=1)["dry_run"] is True
    assert len(listed(product)) == 1


def test_what_people_may_not_say(product: Product, platform: Platform, malformed: Any, engine: Engine) -> None:
    found = the_break(check(product, code=1))["break_id"]
    product.run("breaks", "acknowledge", found, *SIGNED)
    before = everything(engine)

    refused(product.run("breaks", "acknowledge", found, *SIGNED), f"{found} was acknowledged by asha on 20")
    refused(product.run("breaks", "acknowledge", "0" * 16, *SIGNED), "no check ever found", "breaks list --status all")
    refused(product.run("breaks", "resolve", "../x", *SIGNED), "'../x' is not a break's id")
    refused(product.run("breaks", "resolve", found, "--by", " ", "--reason", "x"), "--by takes a text of 1 to 1000")
    refused(product.run("breaks", "acknowledge", found, "--by", "asha"), "Missing option '--reason'")
    refused(product.run("breaks", "acknowledge", *SIGNED), "Missing argument")

    assert everything(engine) == before


def test_a_critical_break_cannot_be_acknowledged(product: Product, platform: Platform, reports: Path) -> None:
    platform.participation(platform.campaign())
    assert product.sweep().paid == 1
    with product.open() as parts, parts.engine.begin() as connection:
        connection.execute(sa.update(schema.accounts).values(balance_minor=schema.accounts.c.balance_minor + 7))
    report = check(product, code=4)
    critical = [one["break_id"] for one in report["breaks"] if one["severity"] == "critical"]

    refused(
        product.run("breaks", "acknowledge", critical[0], *SIGNED),
        "is critical (balance_differs) and cannot be acknowledged: the ledger contradicts itself",
    )
    refused(product.run("breaks", "resolve", critical[0], *SIGNED), "a full check clears it when the ledger verifies")
    assert product.run("status").code == 4


def test_the_list_reads_well_in_80_columns(
    product: Product, platform: Platform, malformed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = platform.participation(platform.campaign(targetImpressions=2000, budget=1), 2000)
    platform.database["campaigns"].update_many({"budget": 1}, {"$set": {"paymentRate": 987_654_321}})
    found = check(product, code=1)["breaks"][-1]["break_id"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")

    drawn = re.sub(r"\x1b\[[0-9;]*m", "", product.run("breaks", "list").stdout)

    assert max(map(len, drawn.splitlines())) <= 80
    for word in (found, str(malformed), "malformed", "participation", str(held), "over budget", "-1975308642.00 INR"):
        assert word in drawn
    assert re.search(r"warning, \d+ (s|min) ", drawn)
    for one in listed(product):
        product.run("breaks", "acknowledge", one["break_id"], *SIGNED)
    assert "No open breaks." in product.run("breaks", "list").stdout
    acknowledged = re.sub(r"\x1b\[[0-9;]*m", "", product.run("breaks", "list", "--status", "acknowledged").stdout)
    assert "by asha" in " ".join(acknowledged.split())


def test_the_list_for_machines(product: Product, malformed: Any) -> None:
    found = the_break(check(product, code=1))["break_id"]
    [row] = csv.DictReader(io.StringIO(product.run("breaks", "list", "--format", "csv").stdout))
    assert (row["break_id"], row["severity"], row["decided_by"]) == (found, "warning", "")
    assert product.run("breaks", "list").stdout.splitlines()[0].startswith("break\tstatus\tseverity\tkind")
    assert listed(product, "--kind", "held") == []
    assert [one["break_id"] for one in listed(product, "--kind", MALFORMED)] == [found]
    assert listed(product, "--campaign", "nobody") == []
    refused(product.run("breaks", "list", "--json", "--format", "csv"), "exclude each other")
    assert product.run("breaks", "list", "--kind", "nonsense").code == 2


def test_status_tells_what_there_is(product: Product, platform: Platform, malformed: Any, engine: Engine) -> None:
    empty = product.run("status", "--json").json()
    assert (empty["last_sweep"], empty["last_check"], empty["lease"]) == (None, None, None)
    platform.participation(platform.campaign(), 2000)
    product.sweep()
    check(product, code=1)

    answer = product.run("status", "--json")

    found = answer.json()
    assert answer.code == 0
    assert found["databases"] == {
        "ledger": {"reachable": True, "reason": None},
        "mongodb": {"reachable": True, "reason": None},
    }
    assert (found["halted"], found["halt"], found["replica_set"]) == (False, None, True)
    assert found["open_breaks"] == {MALFORMED: 1}
    assert (found["acknowledged_breaks"], found["holds"]) == (0, {})
    assert found["outbox"] == {"pending": 0, "blocked": 0}
    assert found["ledger"]["sequence"] == max(row["sequence"] for row in rows_of(engine, schema.entries))
    assert (found["last_sweep"]["outcome"], found["last_check"]["outcome"]) == ("complete", "breaks")
    assert found["last_check"]["age_s"] >= 0
    assert (found["latest_report"]["verdict"], found["running_check"]) == ("breaks", None)
    lines = product.run("status").stdout
    assert "paying: not halted" in lines
    assert "open breaks: 1 malformed" in lines


def test_status_while_halted_and_with_a_database_away(product: Product, malformed: Any) -> None:
    check(product, code=1)
    with product.open() as parts:
        parts.decisions.halt("zero_sum", "somebody said so")

    halted = product.run("status", "--json")

    assert halted.code == 4
    assert (halted.json()["halted"], halted.json()["halt"]["cause"]) == (True, "zero_sum: somebody said so")
    assert "HALTED since" in product.run("status").stdout
    product.servers = product.servers | {
        "ledger.url": "postgresql://postgres@127.0.0.1:1/none",
        "ledger.wait_max_s": "1",
    }
    away = product.run("status", "--json")
    assert away.code == 3
    assert away.json()["databases"]["ledger"]["reachable"] is False
    assert away.json()["databases"]["mongodb"]["reachable"] is True
    assert away.json()["halted"] is None
    assert away.json()["latest_report"]["verdict"] == "breaks", "a file is still there"
    assert "ledger: away: " in product.run("status").stdout


def test_status_shows_who_leads(product: Product, reports: Path) -> None:
    with product.open() as parts:
        lease = Lease(parts.engine, name=PAYING, holder="host:1:abc", ttl=timedelta(seconds=600))
        assert lease.acquire() == 1

    found = product.run("status", "--json").json()["lease"]

    assert (found["holder"], found["epoch"], found["held"]) == ("host:1:abc", 1, True)
    assert 500 < found["expires_in_s"] <= 600
    assert "leads: host:1:abc (epoch 1" in product.run("status").stdout


def test_status_says_of_a_lease_that_was_given_back_only_that(product: Product, reports: Path) -> None:
    with product.open() as parts:
        lease = Lease(parts.engine, name=PAYING, holder="host:1:abc", ttl=timedelta(seconds=600))
        lease.acquire()
        lease.resign()

    found = product.run("status", "--json").json()["lease"]
    assert (found["held"], found["expires_in_s"], found["renewed_ago_s"]) == (False, None, None)
    said = product.run("status").stdout
    assert "leads: nobody; last host:1:abc, which gave the lease back" in said
    assert "days ago" not in said


def test_json_everywhere_is_one_document(product: Product, malformed: Any) -> None:
    check(product, code=1)
    for command in (["breaks", "list"], ["report", "list"], ["report", "show"], ["status"]):
        answer = product.run("--json", *command)
        assert answer.code == 0, answer.stderr
        assert isinstance(json.loads(answer.stdout), dict)
