"""What the check says of a ledger that somebody changed by hand, and how far it walks the chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from app.parts import Parts, parts_of
from jobs.check.options import CheckOptions
from reconciler.config import load
from reconciler.ledger import schema
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.proof.integrity import CheckVerifier
from reconciler.mongo.indexes import create_missing
from reconciler.reports.model import Report
from tests.support.ledger import rows_of
from tests.support.platform import Platform
from tests.support.tampering import Tamperer

Document = dict[str, Any]

DRY = CheckOptions(trigger="test", dry_run=True)


@pytest.fixture
def paid(
    mongo_uri: str, mongo_database: Database[Document], ledger_url: str, tmp_path: Path, platform: Platform
) -> Iterator[Parts]:
    """Six payouts, each in a campaign of its own that goes on, from two sweeps, and a check that found nothing."""
    overrides = {
        "mongodb.uri": mongo_uri,
        "mongodb.database": mongo_database.name,
        "ledger.url": ledger_url,
        "reports.directory": str(tmp_path / "reports"),
    }
    with parts_of(load(None, {}, overrides)) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, parts.settings.mapping)
        for _ in range(2):
            for _ in range(3):
                campaign = platform.campaign(budget=9_900, targetImpressions=2_000)
                platform.participation(campaign, 2_000)
                platform.participation(campaign, 0)
            parts.sweep.step("test")
        assert parts.full_check.step(DRY)[0].breaks_by_kind() == {}
        yield parts


def check(parts: Parts, *, whole: bool = False) -> Report:
    verifier = CheckVerifier(parts.engine, clock=parts.clock, whole_after=timedelta(days=0 if whole else 7))
    return replace(parts.full_check, verify=verifier.verify).step(DRY)[0]


def of_kind(report: Report, kind: str) -> list[tuple[str, int | None, int | None]]:
    return [
        (one.found.payout_key, one.found.expected_minor, one.found.actual_minor)
        for one in report.sightings
        if one.found.kind.value == kind
    ]


def payouts(parts: Parts) -> list[dict[str, Any]]:
    return sorted(rows_of(parts.engine, schema.payouts), key=lambda row: row["sequence"])


def test_an_amount_that_its_facts_do_not_give(paid: Parts) -> None:
    first = payouts(paid)[0]
    tamperer = Tamperer(paid.engine)
    tamperer.update(schema.payouts, first, "gross_minor", 330_001)
    tamperer.update(schema.payouts, first, "amount_minor", 330_001)

    report = check(paid)

    assert of_kind(report, "amount_differs") == [(first["payout_key"], 330_000, 330_001)]
    [totals] = report.totals
    assert (totals.difference_minor, totals.explained_by, totals.unexplained_minor) == (-1, {"amount_differs": -1}, 0)
    assert report.completeness.broken == 1
    # In no sum of postings, and in an old batch: that its table adds up to something else says it.
    assert len(of_kind(report, "chain_broken")) == 1
    assert len(of_kind(check(paid, whole=True), "chain_broken")) == 1


def test_a_payout_that_its_own_facts_would_not_have_paid(paid: Parts) -> None:
    first = payouts(paid)[0]
    tamperer = Tamperer(paid.engine)
    tamperer.update(schema.payouts, first, "impressions", 1_999)
    tamperer.update(schema.payouts, first, "overdelivery", "pay")
    tamperer.update(schema.payouts, first, "rate", "1650.825412706")  # 1,999 of them come to 3300.00

    report = check(paid)

    assert of_kind(report, "paid_not_due") == [(first["payout_key"], 0, 330_000)]
    assert of_kind(report, "amount_differs") == []


@pytest.mark.parametrize("what", ["posting", "balance", "missing", "escrow"])
def test_sums_are_derived_over_everything_and_what_they_find_is_looked_for_in_the_whole_chain(
    paid: Parts, what: str
) -> None:
    tamperer = Tamperer(paid.engine)
    first = min(rows_of(paid.engine, schema.postings), key=lambda row: (row["sequence"], row["leg"]))
    if what == "posting":
        tamperer.update(schema.postings, first, "amount_minor", first["amount_minor"] + 1)
        expected = {"ledger_unbalanced", "balance_differs", "chain_broken"}
    elif what == "balance":
        account = rows_of(paid.engine, schema.accounts)[0]
        tamperer.update(schema.accounts, account, "balance_minor", account["balance_minor"] + 1)
        expected = {"balance_differs"}
    elif what == "missing":
        with tamperer.connection() as connection:
            connection.execute(schema.postings.delete().where(schema.postings.c.sequence == first["sequence"]))
        expected = {"ledger_unbalanced", "balance_differs", "chain_broken"}
    else:
        escrow = next(row for row in rows_of(paid.engine, schema.postings) if row["account"].endswith(":escrow"))
        tamperer.update(schema.postings, escrow, "balance_after_minor", -1)
        expected = {"balance_differs", "chain_broken"}

    report = check(paid)

    assert expected <= set(report.breaks_by_kind())
    assert (report.verdict, int(report.exit_code)) == ("halted", 4)


def test_the_chain_is_walked_on_from_the_last_check(paid: Parts, platform: Platform) -> None:
    [before] = rows_of(paid.engine, schema.chain_marks)
    campaign = platform.campaign(budget=9_900, targetImpressions=2_000)
    platform.participation(campaign, 2_000)
    platform.participation(campaign, 0)
    paid.sweep.step("test")

    report = check(paid)

    [after] = rows_of(paid.engine, schema.chain_marks)
    assert report.breaks_by_kind() == {}
    assert after["batch"] == before["batch"] + 1 == report.integrity.chain_verified_to
    assert after["entries"] == report.integrity.entries == len(rows_of(paid.engine, schema.entries))
    assert (after["payouts"], after["whole_at"]) == (7, before["whole_at"])
    # What came since the milestone is hashed again, whatever it is that was changed.
    last = payouts(paid)[-1]
    platform.participation(campaign, 2_000)
    paid.sweep.step("test")
    Tamperer(paid.engine).update(schema.payouts, payouts(paid)[-1], "trigger", "somebody")
    assert payouts(paid)[-1]["payout_key"] != last["payout_key"]
    assert set(check(paid).breaks_by_kind()) == {"chain_broken"}


def test_a_milestone_that_is_not_in_the_chain_any_more(paid: Parts) -> None:
    [mark] = rows_of(paid.engine, schema.chain_marks)
    Tamperer(paid.engine).update(schema.chain_marks, mark, "hash", "0" * 64)
    report = check(paid)
    assert report.breaks_by_kind() == {}  # the whole chain was walked, and it is right
    [mark] = rows_of(paid.engine, schema.chain_marks)
    assert mark["hash"] != "0" * 64


def test_an_older_copy_of_the_ledger_is_named_and_nothing_is_repaired(
    paid: Parts, platform: Platform, mongo_database: Database[Document]
) -> None:
    mongo_database["reconciler_state"].update_one({}, {"$inc": {"sequence": 1_000}})
    unpaid = platform.participation(platform.campaign(), 2_000)
    before = payouts(paid)

    report, _ = paid.full_check.step(CheckOptions(trigger="test"))

    assert report.breaks_by_kind() == {"due_but_unpaid": 1, "ledger_behind": 1}
    assert (report.verdict, report.dry_run) == ("halted", True)
    assert [one.found.participation_id for one in report.sightings if one.found.participation_id] == [str(unpaid)]
    assert payouts(paid) == before
