"""The commands that read, as people and machines run them: run.py as a process, on one platform that was swept once."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from pymongo import MongoClient

from app.parts import parts_of
from reconciler.config import load
from reconciler.ledger.journal.decisions import Decisions, Signature
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing
from tests.support.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Postgres, ReplicaSet

RUN_PY = Path(__file__).parents[2] / "run.py"
NOT_WITHDRAWALS = "This statement shows earnings, not withdrawals"
FORMULA = "=HYPERLINK(1)"


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A platform after one sweep, with a fee of 2.5 percent: two paid, one of them reversed, one held, one below."""

    environ: dict[str, str]
    folder: Path
    campaign: str
    brand: str
    streamer: str
    paid: str
    back: str
    held: str
    below: str
    yen: str

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "MONGOD") if name in os.environ}
        done = subprocess.run(
            [sys.executable, str(RUN_PY), *arguments],
            cwd=self.folder,
            env=kept | self.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def csv(self, *arguments: str) -> list[dict[str, str]]:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return list(csv.DictReader(io.StringIO(done.stdout)))


@pytest.fixture(scope="module")
def swept(
    replica_set: ReplicaSet, postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Swept]:
    name = f"test_{uuid4().hex}"
    environ = {
        "MONGODB_URI": replica_set.uri,
        "RECONCILER__MONGODB__DATABASE": name,
        "LEDGER_URL": postgres_server.create_database(name),
        "RECONCILER__PAYOUT__PLATFORM_FEE_BPS": "250",
        "RECONCILER__MONGODB__WAIT_MAX_S": "2",
    }
    client: MongoClient[dict[str, Any]] = MongoClient(replica_set.uri, tz_aware=True)
    with client:
        platform = Platform(client[name])
        campaign_id = platform.campaign(budget=7000, targetImpressions=2000)
        paid = platform.participation(campaign_id, 2500)
        back = platform.participation(campaign_id, 2000, streamerId=FORMULA)
        held = platform.participation(campaign_id, 2000)
        below = platform.participation(campaign_id, 1999)
        streamer = platform.read("campaignparticipations", paid)["streamerId"]
        yen_campaign = platform.campaign(currency="JPY")
        yen = platform.participation(yen_campaign, 2000, streamerId=streamer)
        with parts_of(load(None, environ, {})) as parts:
            upgrade(parts.engine)
            create_missing(parts.connection, parts.settings.mapping)
            result = parts.sweep.step("sweep")
            assert (result.settled.paid, result.settled.held) == (3, 1)
            decisions = Decisions(parts.journal, run_id="by-hand", four_eyes=False)
            decisions.reverse(f"payout:oid:{back}:1", Signature(by="asha", reason="fraud"))
        yield Swept(
            environ=environ,
            folder=tmp_path_factory.mktemp("reading"),
            campaign=str(campaign_id),
            brand=str(platform.read("campaigns", campaign_id)["brandId"]),
            streamer=str(streamer),
            paid=str(paid),
            back=str(back),
            held=str(held),
            below=str(below),
            yen=str(yen),
        )
        client.drop_database(name)
    postgres_server.drop_database(name)


def test_balances_sum_to_zero_and_are_told_in_minor_units_and_as_text(swept: Swept) -> None:
    whole = swept.json("ledger", "balances", "--json")
    escrow = swept.json("--json", "ledger", "balances", "--account", f"campaign:oid:{swept.campaign}:")
    before = swept.json("ledger", "balances", "--as-of", "2020-01-01", "--json")

    sums: Counter[str] = Counter()
    for one in whole["balances"]:
        sums[one["currency"]] += one["balance_minor"]
    assert sums == {"INR": 0, "JPY": 0}
    [left] = escrow["balances"]
    assert (left["balance_minor"], left["balance"], left["kind"]) == (370_000, "3700.00", "escrow")
    assert before == {"as_of": "2019-12-31T18:30:00.000Z", "balances": []}


def test_the_trial_balance_balances(swept: Swept) -> None:
    found = swept.json("ledger", "trial-balance", "--json")
    text = swept.run("ledger", "trial-balance")

    assert (found["is_balanced"], found["sums_minor"]) == (True, {"INR": 0, "JPY": 0})
    assert [(one["kind"], one["balance_minor"]) for one in found["lines"] if one["currency"] == "INR"] == [
        ("escrow", 370_000),
        ("fees", 8_250),
        ("funding", -700_000),
        ("wallet", 321_750),
    ]
    assert text.returncode == 0
    assert "INR\tfees\t1\t82.50 INR" in text.stdout


def test_a_statement_shows_earnings_and_says_that_it_does(swept: Swept) -> None:
    text = swept.run("ledger", "statement", swept.streamer)
    found = swept.json("ledger", "statement", f"oid:{swept.streamer}", "--format", "json")
    done = swept.run("ledger", "statement", swept.streamer, "--format", "csv")

    assert NOT_WITHDRAWALS in text.stdout
    assert "3300.00 INR\t82.50 INR\t3217.50 INR\twallet\t3217.50 INR" in text.stdout
    assert found["note"].startswith(NOT_WITHDRAWALS)
    rupees, yen = found["currencies"]
    assert (rupees["opening"]["total_minor"], rupees["closing"]["total"]) == (0, "3217.50")
    [line] = rupees["lines"]
    assert (line["kind"], line["campaign_id"], line["lies"]) == ("payout", swept.campaign, "wallet")
    assert (line["gross"], line["fee"], line["net"]) == ("3300.00", "82.50", "3217.50")
    assert (yen["currency"], yen["closing"]["total_minor"], yen["closing"]["total"]) == ("JPY", 3217, "3217")
    assert done.stderr.startswith(NOT_WITHDRAWALS)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(one["currency"], one["kind"], one["balance_after"]) for one in rows] == [
        ("INR", "opening", "0.00"),
        ("INR", "payout", "3217.50"),
        ("INR", "closing", "3217.50"),
        ("JPY", "opening", "0"),
        ("JPY", "payout", "3217"),
        ("JPY", "closing", "3217"),
    ]


def test_a_statement_of_a_later_period_opens_with_what_was_earned_before(swept: Swept) -> None:
    found = swept.json("ledger", "statement", swept.streamer, "--since", "2099-01-01", "--format", "json")

    assert found["since"] == "2098-12-31T18:30:00.000Z"
    assert [(one["opening"]["total"], one["lines"]) for one in found["currencies"]] == [("3217.50", []), ("3217", [])]


def test_a_brand_sees_its_campaign_whichever_of_the_two_is_named(swept: Swept) -> None:
    found = swept.json("ledger", "brand", swept.brand, "--json")

    assert found == swept.json("ledger", "brand", f"oid:{swept.campaign}", "--json")
    [one] = found["campaigns"]
    assert (one["campaign_id"], one["brand_id"], one["budget"]) == (swept.campaign, swept.brand, "7000.00")
    assert (one["funded"], one["paid_gross"], one["reversed_gross"]) == ("7000.00", "6600.00", "3300.00")
    assert (one["fee"], one["refunded"], one["left"]) == ("82.50", "0.00", "3700.00")
    assert (one["open_holds_count"], one["open_holds"]) == (1, "3300.00")
    assert "left in escrow: 3700.00" in swept.run("ledger", "brand", swept.brand).stdout


def test_the_general_ledger_as_csv_sums_to_zero_and_holds_no_formula(swept: Swept) -> None:
    rows = swept.csv("ledger", "journal")

    sums: Counter[tuple[str, str]] = Counter()
    for row in rows:
        sums[row["key"], row["currency"]] += int(row["amount_minor"])
    assert set(sums.values()) == {0}
    assert Counter(row["kind"] for row in rows) == {"fund": 4, "payout": 9, "reversal": 3}
    reversal = [row for row in rows if row["kind"] == "reversal"]
    assert {row["streamer_id"] for row in reversal} == {f"'{FORMULA}"}
    assert {row["corrects"] for row in reversal} == {f"payout:oid:{swept.back}:1"}
    assert [row["amount"] for row in reversal] == ["3300.00", "-3217.50", "-82.50"]
    assert swept.csv("ledger", "journal", "--until", "2026-01-01") == []
    assert len(swept.json("ledger", "journal", "--format", "json")["journal"]) == len(rows)


def test_payouts_are_listed_in_every_form_and_a_plain_sum_is_right(swept: Swept) -> None:
    rows = swept.csv("payouts", "list", "--currency", "INR", "--format", "csv")
    found = swept.json("payouts", "list", "--campaign", swept.campaign, "--format", "json")["payouts"]
    text = swept.run("payouts", "list", "--limit", "2")

    assert [(row["status"], row["participation_id"], row["amount"]) for row in rows] == [
        ("paid", swept.paid, "3217.50"),
        ("reversed", swept.back, "3217.50"),
        ("reversal", swept.back, "-3217.50"),
    ]
    assert sum(int(row["amount_minor"]) for row in rows) == 321_750
    assert [str(one["amount_minor"]) for one in found] == [row["amount_minor"] for row in rows]
    assert len(text.stdout.splitlines()) == 2 + 2
    assert "--limit shows more" in text.stderr


def test_filters_of_the_list(swept: Swept) -> None:
    def ids(*arguments: str) -> list[str]:
        return [row["participation_id"] for row in swept.csv("payouts", "list", "--format", "csv", *arguments)]

    assert ids("--status", "reversed") == [swept.back]
    assert ids("--status", "paid") == [swept.paid, swept.yen]
    # The reversal is not told yet, and the wallet is kept in rupees.
    assert set(ids("--status", "pending")) == {swept.back, swept.yen}
    assert ids("--streamer", swept.streamer) == [swept.paid, swept.yen]
    assert ids("--streamer", swept.streamer, "--currency", "JPY") == [swept.yen]
    assert ids("--trigger", "person") == [swept.back]
    assert ids("--since", "2099-01-01") == []


def test_a_payout_is_shown_whole(swept: Swept) -> None:
    first, reversal = swept.json("payouts", "show", swept.back, "--json")["payouts"]
    [by_key] = swept.json("payouts", "show", f"payout:oid:{swept.back}:1", "--json")["payouts"]
    text = swept.run("payouts", "show", f"oid:{swept.back}").stdout

    assert by_key == first
    assert (first["status"], first["gross"], first["fee"], first["amount"]) == (
        "reversed",
        "3300.00",
        "82.50",
        "3217.50",
    )
    assert [one["kind"] for one in first["entries"]] == ["payout", "reversal"]
    assert sum(one["amount_minor"] for one in first["entries"][1]["postings"]) == 0
    assert [(one["kind"], one["by"], one["reason"]) for one in first["decisions"]] == [("reverse", "asha", "fraud")]
    assert [one["status"] for one in first["effects"]] == ["done", "pending"]
    assert (reversal["kind"], reversal["reverses"]) == ("reversal", first["payout_key"])
    assert "by asha: fraud" in text


def test_explain_says_why_it_was_paid(swept: Swept) -> None:
    found = swept.json("explain", swept.paid, "--json")
    text = swept.run("explain", f"oid:{swept.paid}")

    assert (found["reason"], found["payout_key"]) == ("already_paid", f"payout:oid:{swept.paid}:1")
    [paid] = found["payouts"]
    assert paid["holds_true"]
    assert paid["recomputed"]["formula"] == "min(2500, 2000) impressions × 1650 INR / 1000 = 3300 INR"
    assert paid["recomputed"]["fee_formula"] == "250 basis points of 3300.00 INR = 82.5 INR"
    assert (paid["facts"]["impressions"], paid["facts"]["target"], paid["facts"]["rate"]) == (2500, 2000, "1650")
    assert [one["status"] for one in found["effects"]] == ["done"]
    assert found["wallets"][0]["version"] == found["wallets"][0]["projected_version"]
    assert text.returncode == 0
    assert text.stdout.startswith("It was paid 3217.50 INR at ")


def test_explain_says_why_it_was_not_paid(swept: Swept) -> None:
    below = swept.json("explain", swept.below, "--json")
    held = swept.json("explain", swept.held, "--json")
    back = swept.json("explain", swept.back, "--json")

    assert below["reason"] == "below_target"
    stopped = [one for one in below["rules"] if one["verdict"] == "stopped"]
    assert [one["rule"] for one in stopped] == ["impressions_target_reached"]
    assert stopped[0]["finding"].startswith("1999 of 2000 impressions; the target is the campaign's own")
    assert below["payouts"] == []
    assert (back["reason"], [one["holds_true"] for one in back["payouts"]]) == ("reversed", [True, True])
    assert [one["by"] for one in back["decisions"]] == ["asha"]
    assert held["reason"] == "due"
    assert [(one["event"], one["reason"]) for one in held["holds"]] == [("opened", "over_budget")]
    # The reversal brought the money back: what was held fits now.
    assert held["rules"][-1]["verdict"] == "passed"
    assert held["answer"] == "It is due 3217.50 INR by impressions_target_reached, and the next sweep pays it."


REFUSED = (
    (["ledger", "statement", "nobody"], "the ledger has no earnings of a streamer 'nobody'."),
    (["ledger", "brand", "nobody"], "the ledger has no brand or campaign 'nobody'."),
    (["payouts", "list", "--campaign", "none"], "the ledger has no campaign 'none'."),
    (["payouts", "list", "--streamer", "none"], "the ledger has no earnings of a streamer 'none'."),
    (["payouts", "list", "--currency", "XXX"], "'XXX' is not a currency of ISO 4217."),
    (["payouts", "show", "none"], "the ledger has no payout 'none'."),
    (["explain", "none"], "neither database has a participation 'none'."),
    (["ledger", "balances", "--as-of", "noon"], "--as-of takes a date (2026-03-31) or a time with its offset"),
    (["ledger", "journal", "--since", "2026-01-02", "--until", "2026-01-01"], "--since lies after --until."),
    (["payouts", "list", "--format", "parquet"], "--format parquet and --output FILE go together."),
    (["--json", "payouts", "list", "--format", "csv"], "--json and --format csv exclude each other."),
)
ONE_AFTER_THE_OTHER = """
import contextlib, io, json, sys
from cli.app import main
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
"""Many command lines in one process: starting Python for each takes seconds."""


def test_what_cannot_be_answered_is_one_sentence(swept: Swept) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps([arguments for arguments, _ in REFUSED])],
        cwd=swept.folder,
        env=os.environ | swept.environ | {"PYTHONPATH": str(RUN_PY.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(REFUSED), done.stderr
    for (arguments, sentence), (code, output, said) in zip(REFUSED, answers, strict=True):
        assert (code, output, len(said.splitlines())) == (2, "", 1), arguments
        assert said.startswith(sentence), arguments


def test_the_books_are_read_without_mongodb_and_explain_is_not(swept: Swept) -> None:
    away = {"MONGODB_URI": "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200"}

    assert swept.run("ledger", "balances", "--json", **away).returncode == 0
    assert swept.run("payouts", "show", swept.paid, **away).returncode == 0
    gone = swept.run("explain", swept.paid, **away)
    assert (gone.returncode, gone.stdout) == (3, "")
