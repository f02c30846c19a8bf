"""The full check on 20,000 participations: exactly what was planted is found, and an oracle in plain Python agrees."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from bson.objectid import ObjectId
from pymongo.database import Database

from app.parts import Parts, parts_of
from jobs.check.options import CheckOptions
from reconciler.config import load
from reconciler.devstack.sample import SampleSpec, generate
from reconciler.devstack.sample import load as load_sample
from reconciler.devstack.stranding import stranded_campaigns
from reconciler.domain.recording import Recorded
from reconciler.ledger import schema
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing
from reconciler.reports.model import Report
from tests.support.ledger import rows_of
from tests.support.planted_breaks import Found, PlantedBreaks
from tests.support.platform import Platform
from tests.support.recording import alone, impressions, make_recorder

Document = dict[str, Any]

SEED = 20_261
NO_AMOUNT: Document = {"expected_minor": None, "actual_minor": None}
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def open_parts(mongo_uri: str, mongo_database: Database[Document], sqlite_url: str, tmp_path: Path) -> Iterator[Any]:
    """The product on SQLite with small partitions, so that their edges are met."""
    overrides = {
        "mongodb.uri": mongo_uri,
        "mongodb.database": mongo_database.name,
        "ledger.url": sqlite_url,
        "reports.directory": str(tmp_path / "reports"),
        "full_check.partition_size": 3_000,
        "full_check.page_size": 50,
    }
    with parts_of(load(None, {}, overrides)) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, parts.settings.mapping)
        yield parts


def check(parts: Parts, **options: Any) -> Report:
    report, _ = parts.full_check.step(CheckOptions(trigger="test", **options))
    assert sum(report.completeness.as_json().values()) == 2 * report.completeness.participations
    assert [one.unexplained_minor for one in report.totals] == [0] * len(report.totals)
    return report


def found_in(report: Report) -> Counter[Found]:
    return Counter(
        Found(
            one.kind.value,
            one.reason,
            one.participation_id or one.campaign_id,
            one.expected_minor,
            one.actual_minor,
            one.repaired,
        )
        for one in (sighting.found for sighting in report.sightings)
    )


def amounts_paid(parts: Parts) -> dict[Any, int]:
    return {
        ObjectId(row["participation_id"].removeprefix("oid:")): row["amount_minor"]
        for row in rows_of(parts.engine, schema.payouts)
        if row["participation_id"].startswith("oid:")
    }


def test_exactly_what_was_planted_is_found(open_parts: Parts, mongo_database: Database[Document]) -> None:
    parts = open_parts
    sample = generate(
        SampleSpec(now=NOW, seed=SEED, campaigns_count=60, participations_count=20_000, due_percent=10, ugly=False)
    )
    load_sample(sample, mongo_database)
    garden = PlantedBreaks(database=mongo_database, seed=SEED)
    garden.before()
    parts.sweep.step("test")
    amounts = amounts_paid(parts)
    drawn_from = {one["_id"] for one in sample.participations()} & amounts.keys()
    garden.know(amounts)
    garden.after(sorted(drawn_from))
    for campaign_id, why in stranded_campaigns(sample.campaigns(), sample.participations(), datetime.now(UTC)).items():
        garden.expected.add(Found("stranded", why, campaign_id, None, None, False))

    found = found_in(check(parts))

    assert all(count == 1 for count in found.values())
    # The oracle of the sample's stranded campaigns tells which, and not how much.
    told = {one._replace(**NO_AMOUNT) if one.kind == "stranded" else one for one in garden.expected}
    shown = {one._replace(**NO_AMOUNT) if one.kind == "stranded" else one for one in found}
    assert shown - told == set()
    assert told - shown == set()
    again = check(parts)
    assert set(found_in(again)) == {one for one in found if not one.repaired}
    assert (again.repairs, again.carried["new"]) == ({"paid": 0, "projected": 0}, 0)


def oracle(parts: Parts, database: Database[Document]) -> dict[str, tuple[str, int]]:
    """In plain Python, one document after another: participation → (part of the whole, what it should be paid)."""
    paid = {row["participation_id"]: row["gross_minor"] for row in rows_of(parts.engine, schema.payouts)}
    campaigns = {one["_id"]: one for one in database["campaigns"].find()}
    answers = {}
    for one in database["campaignparticipations"].find():
        campaign, impressions = campaigns.get(one["campaignId"]), one.get("impressions")
        key = str(one["_id"])
        if f"oid:{key}" in paid:
            answers[key] = ("matched", paid[f"oid:{key}"])
        elif campaign is None:
            answers[key] = ("broken", 0)
        elif not isinstance(impressions, int | float) or impressions != impressions or impressions < 0:
            answers[key] = ("malformed", 0)
        elif campaign["status"] != "active" or one["status"] != "active" or one.get("earningsForfeited"):
            answers[key] = ("withheld" if impressions >= campaign["targetImpressions"] else "not_due", 0)
        elif impressions < campaign["targetImpressions"]:
            answers[key] = ("not_due", 0)
        else:
            rate = Decimal(str(campaign["paymentRate"]))
            exact = rate * campaign["targetImpressions"] / 1000 if campaign["paymentType"] == "cpm" else rate
            answers[key] = ("due", int((exact * 100).quantize(Decimal(1), ROUND_HALF_UP)))
    return answers


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_oracle_agrees_on_random_data(open_parts: Parts, mongo_database: Database[Document], seed: int) -> None:
    parts, drawn = open_parts, random.Random(seed)
    platform, participations = Platform(mongo_database), mongo_database["campaignparticipations"]
    campaigns = [
        platform.campaign(
            paymentType=drawn.choice(["cpm", "cpm", "fixed"]),
            paymentRate=round(drawn.uniform(0.01, 900), 2),
            budget=10_000_000,
            targetImpressions=drawn.choice([1, 3, 999, 1_000]),
            status=drawn.choice(["active", "active", "active", "paused", "draft"]),
        )
        for _ in range(12)
    ]
    for _ in range(150):
        participation = platform.participation(
            drawn.choice(campaigns),
            drawn.choice([0, 1, 2, 3, 998, 999, 1_000, 1_001, 999.0, float("nan"), "x", None, -1]),
            status=drawn.choice(["active", "active", "active", "paused", "removed"]),
            earningsForfeited=drawn.choice([False, False, False, True]),
        )
        if drawn.random() < 0.03:
            participations.update_one({"_id": participation}, {"$set": {"campaignId": "gone"}})
    half = drawn.sample(participations.distinct("_id"), 75)
    participations.update_many({"_id": {"$in": half}}, {"$set": {"later": True, "status": "paused"}})
    parts.sweep.step("test")
    participations.update_many({"later": True}, {"$set": {"status": "active"}})
    expected = oracle(parts, mongo_database)

    dry = check(parts, dry_run=True)

    parts_of_whole = Counter("broken" if part == "due" else part for part, _ in expected.values())
    shown = dry.completeness.as_json()
    assert shown.pop("participations") == len(expected)
    assert {name: count for name, count in shown.items() if count} == dict(parts_of_whole)
    breaks = [one.found for one in dry.sightings]
    unpaid = {one.participation_id: one.expected_minor for one in breaks if one.kind == "due_but_unpaid"}
    assert unpaid == {key: minor for key, (part, minor) in expected.items() if part == "due"}
    [totals] = dry.totals
    by_part: defaultdict[str, int] = defaultdict(int)
    for part, minor in expected.values():
        by_part[part] += minor
    assert (totals.paid_minor, totals.expected_minor) == (by_part["matched"], by_part["matched"] + by_part["due"])
    assert check(parts).completeness.matched == parts_of_whole["matched"] + len(unpaid)


TOKENS = ("0123456789abcdef01234567", "76543210fedcba9876543210")


def drifts(report: Report) -> set[tuple[str, str, int | None, int | None, int | None]]:
    found = (one.found for one in report.sightings if one.found.kind.value == "budget_drift")
    return {(one.campaign_id, one.reason, one.expected_minor, one.actual_minor, one.delta_minor) for one in found}


def test_a_budget_that_does_not_follow_from_what_was_recorded(
    mongo_uri: str, mongo_database: Database[Document], sqlite_url: str, tmp_path: Path, platform: Platform
) -> None:
    overrides: dict[str, Any] = {
        "mongodb.uri": mongo_uri,
        "mongodb.database": mongo_database.name,
        "ledger.url": sqlite_url,
        "reports.directory": str(tmp_path / "reports"),
    }
    drifted, kept = platform.campaign(), platform.campaign()
    for campaign, token in zip((drifted, kept), TOKENS, strict=True):
        platform.participation(campaign, 0, browserSourceToken=token)
    # A platform's own counting: half of it spent, and not by these impressions. Under fixed payment nothing follows.
    fixed = platform.campaign(paymentType="fixed", paymentRate=100, remainingBudget=7)
    platform.participation(fixed, 10)
    unreadable = platform.campaign(remainingBudget=1)
    platform.participation(unreadable, "many")
    drafted = platform.campaign(status="draft", remainingBudget=1)
    platform.participation(drafted, 10)
    campaigns = mongo_database["campaigns"]
    with parts_of(load(None, {}, overrides | {"full_check.recorded_budgets": True})) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, parts.settings.mapping)
        recorder = make_recorder(parts.connection)
        for token in TOKENS:
            for _ in range(7):
                assert isinstance(alone(recorder, impressions(token)), Recorded)
        assert drifts(check(parts, dry_run=True)) == set()
        # 7 impressions at 1650 a thousand are 11.55, so that 3288.45 remain.
        campaigns.update_one({"_id": drifted}, {"$set": {"remainingBudget": 3288.46}})
        found = check(parts, dry_run=True)
        assert drifts(found) == {(str(drifted), "counted_unpaid", 328_845, 328_846, 1)}
        assert found.exit_code == 1
        campaigns.update_one({"_id": drifted}, {"$set": {"remainingBudget": 3200.0}})
        expected = {(str(drifted), "paid_uncounted", 328_845, 320_000, -8_845)}
        assert drifts(check(parts)) == expected
        assert drifts(check(parts, campaign_id=str(drifted))) == expected
        assert drifts(check(parts, campaign_id=str(kept))) == set()
    with parts_of(load(None, {}, overrides)) as parts:
        assert drifts(check(parts)) == set()
