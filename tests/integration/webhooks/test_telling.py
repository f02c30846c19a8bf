"""What happens in MongoDB alone, and death at every boundary: each event comes once, and none is lost."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson.objectid import ObjectId

from app.parts import Parts, parts_of
from jobs.check.options import CheckOptions
from jobs.payment.releasing import KeyReleases
from reconciler.config import Settings, load
from reconciler.domain.events import EventType
from reconciler.ledger import schema
from reconciler.ledger.operations.events import EventLog
from tests.support.dying import DyingSweeps
from tests.support.ledger import rows_of
from tests.support.many_due import many_due
from tests.support.platform import Platform
from tests.support.projecting import document_id
from tests.support.receiver import SECRET

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)
ENDPOINTS = json.dumps([{"name": "billing", "url": "https://billing.example/", "secret": SECRET}])


class Dies(Exception):
    """The process ends."""


class Rested:
    """Keys of the platform, and who releases them and tells of it; may die in between."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.events = EventLog(
            parts.engine, clock=parts.clock, subscriptions={"billing": frozenset({EventType.GKEY_RELEASED})}
        )

    def step(self, keys: Any = None) -> int:
        return KeyReleases(keys=keys or self.parts.projection.gkeys, events=self.events).release_rested(NOW)

    def told(self) -> list[str]:
        events = [row for row in rows_of(self.parts.engine, schema.events) if row["status"] == "recorded"]
        deliveries = {row["event_id"] for row in rows_of(self.parts.engine, schema.webhook_deliveries)}
        assert {row["event_id"] for row in events} == deliveries
        return sorted(json.loads(row["payload"])["data"]["gkey_id"] for row in events)


class DyingKeys:
    """MongoDB as a process sees it that dies before or after its write."""

    def __init__(self, parts: Parts, *, after: bool) -> None:
        self._keys = parts.projection.gkeys
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keys, name)

    def release(self, keys: Any) -> int:
        if self._after:
            self._keys.release(keys)
        raise Dies


@pytest.fixture
def rested(parts: Parts) -> Rested:
    return Rested(parts)


def resting(platform: Platform, ends_at: Any = NOW - MS, **fields: Any) -> Any:
    return platform.gkey(ObjectId(), "c", status="cooloff", cooloffEndsAt=ends_at, **fields)


def test_each_released_key_is_told_once(rested: Rested, platform: Platform) -> None:
    keys = [resting(platform), resting(platform, NOW - 7 * MS), resting(platform, category=["no", "text"])]
    resting(platform, NOW + MS)
    unnamed = platform.gkey(ObjectId(), "c", status="cooloff", cooloffEndsAt=NOW - MS, _id=7)

    assert rested.step() == 4
    assert rested.step() == 0

    assert rested.told() == sorted(map(str, keys))
    # It is released all the same: only nobody hears of it.
    assert platform.read("gkeys", unnamed)["status"] == "available"
    assert "cooloffEndsAt" not in platform.read("gkeys", keys[0])


@pytest.mark.parametrize("after", [False, True])
def test_death_around_the_release_neither_loses_nor_doubles(rested: Rested, platform: Platform, *, after: bool) -> None:
    key = resting(platform)
    with pytest.raises(Dies):
        rested.step(DyingKeys(rested.parts, after=after))
    assert rested.told() == []

    rested.step()
    rested.step()

    assert rested.told() == [str(key)]


def test_a_key_that_rests_longer_after_all_is_not_told_of(rested: Rested, platform: Platform) -> None:
    key = resting(platform)
    with pytest.raises(Dies):
        rested.step(DyingKeys(rested.parts, after=False))
    platform.database["gkeys"].update_one({"_id": key}, {"$set": {"cooloffEndsAt": NOW + timedelta(days=1)}})

    assert rested.step() == 0

    assert rested.told() == []
    assert rows_of(rested.parts.engine, schema.events) == []


def test_a_key_that_was_used_again_since_is_told_of(rested: Rested, platform: Platform) -> None:
    key = resting(platform)
    with pytest.raises(Dies):
        rested.step(DyingKeys(rested.parts, after=True))
    again = {"status": "cooloff", "cooloffEndsAt": NOW + timedelta(days=9), "lastUsed": NOW}
    platform.database["gkeys"].update_one({"_id": key}, {"$set": again})

    rested.step()

    assert rested.told() == [str(key)]


def test_a_cancelled_campaign_is_not_told_as_completed(platform: Platform, settings: Settings, parts: Parts) -> None:
    campaign_id = platform.campaign()
    platform.participation(campaign_id)
    with telling(settings) as telling_parts:
        complete = telling_parts.projection.complete_campaigns
        telling_parts.sweep.step("test")
        types = Counter(row["type"] for row in rows_of(telling_parts.engine, schema.events))
        assert types == {"participation.settled": 1, "campaign.completed": 1}
        totals = parts.ledger.campaign_totals([document_id(campaign_id)])
        assert complete(totals) == [document_id(campaign_id)]
        platform.database["campaigns"].update_one({"_id": campaign_id}, {"$set": {"status": "cancelled"}})
        assert complete(totals) == []


def test_a_check_is_told_with_its_report(settings: Settings, parts: Parts, platform: Platform, tmp_path: Path) -> None:
    platform.participation(platform.campaign(), 5)
    reports = {"reports.directory": str(tmp_path / "reports")}
    with parts_of(load(None, {}, told_settings(settings) | reports)) as telling_parts:
        report, _ = telling_parts.full_check.step(CheckOptions(trigger="test"))
        [row] = rows_of(telling_parts.engine, schema.events)
        data = json.loads(row["payload"])["data"]
        assert (row["type"], data["report_id"], data["verdict"]) == ("check.finished", report.report_id, "clean")


@pytest.fixture(scope="module")
def sweeps() -> Iterator[DyingSweeps]:
    with DyingSweeps() as sweeps:
        yield sweeps


def telling(settings: Settings) -> Any:
    return parts_of(load(None, {}, told_settings(settings)))


def told_settings(settings: Settings) -> dict[str, object]:
    return {
        "mongodb.uri": settings.mongodb.uri.get_secret_value(),
        "mongodb.database": settings.mongodb.database,
        "ledger.url": settings.ledger.url.get_secret_value(),
        "webhooks.endpoints": ENDPOINTS,
    }


def test_death_where_the_ledger_or_a_campaign_is_written_neither_loses_nor_doubles(
    sweeps: DyingSweeps, platform: Platform, parts: Parts, settings: Settings
) -> None:
    """The other boundaries of a sweep are those of tests/faults/test_crash_points.py: events add none."""
    paid = set(many_due(platform, 2))
    crossed = enumerate(sweeps.run(told_settings(settings)).boundaries)
    boundaries = [(index, name) for index, name in crossed if "a commit" in name or name == "after update campaigns"]
    assert len(boundaries) == 9
    with telling(settings) as telling_parts:
        for index, name in boundaries:
            paid |= set(many_due(platform, 2))
            assert sweeps.run(told_settings(settings), die_at=index).by_signal == signal.SIGKILL, name
            telling_parts.sweep.step("test")

        rows = rows_of(telling_parts.engine, schema.events)
        told = Counter(
            json.loads(row["payload"])["data"]["participation_id"]
            for row in rows
            if row["type"] == "participation.settled"
        )
        assert told == dict.fromkeys(paid, 1)
        assert Counter(row["type"] for row in rows)["campaign.completed"] == len(boundaries) + 1
        deliveries = rows_of(telling_parts.engine, schema.webhook_deliveries)
        assert {row["event_id"] for row in deliveries} == {row["event_id"] for row in rows}
