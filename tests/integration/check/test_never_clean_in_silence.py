"""No report is clean while anybody at or past target is neither paid, held, withheld, on the way, nor named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson.objectid import ObjectId
from pymongo.database import Database

from app.parts import Parts, parts_of
from jobs.check.exact import PageChecker
from jobs.check.options import CheckOptions
from jobs.check.tally import Tally
from reconciler.clock import utc_now
from reconciler.comparison.partition import Compared, compare
from reconciler.config import load
from reconciler.domain.breaks import Break
from reconciler.errors import UsageError
from reconciler.ledger.journal.decisions import Signature
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.operations.lease import PAYING, Lease
from reconciler.mongo.indexes import create_missing
from reconciler.ports.facts import FactsPage
from reconciler.reports.model import Report
from tests.support.platform import ABSENT, Platform

Document = dict[str, Any]
Open = Callable[..., Any]
PAST = 2_500
MANY: Document = {"budget": 33_000, "targetImpressions": 2_000}
FULL = 330_000


@pytest.fixture
def servers(mongo_uri: str, mongo_database: Database[Document], sqlite_url: str, tmp_path: Path) -> dict[str, object]:
    return {
        "mongodb.uri": mongo_uri,
        "mongodb.database": mongo_database.name,
        "ledger.url": sqlite_url,
        "reports.directory": str(tmp_path / "reports"),
    }


@pytest.fixture
def parts(servers: dict[str, object]) -> Iterator[Parts]:
    """Migrated, with one participation that is paid, so that nothing is empty."""
    with parts_of(load(None, {}, servers)) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, parts.settings.mapping)
        yield parts


@pytest.fixture(autouse=True)
def paid(platform: Platform) -> Any:
    """A campaign in which one is paid and one is below target."""
    campaign = platform.campaign(**MANY)
    platform.participation(campaign, PAST)
    platform.participation(campaign, 10)
    return campaign


def check(parts: Parts, **options: Any) -> Report:
    parts.sweep.step("test")
    report, _ = parts.full_check.step(CheckOptions(trigger="test", **options))
    assert sum(report.completeness.as_json().values()) == 2 * report.completeness.participations
    assert [one.unexplained_minor for one in report.totals] == [0] * len(report.totals)
    return report


def found(report: Report) -> list[Break]:
    return [one.found for one in report.sightings]


def test_a_platform_in_order_is_clean(parts: Parts) -> None:
    report = check(parts)

    assert (report.verdict, found(report), list(report.withheld)) == ("clean", [], [])


WORDS = ("Active", "live", "ACTIVE ", "", "active\n")


@pytest.mark.parametrize("word", WORDS)
def test_a_participation_of_an_unknown_status_is_named_by_the_word(parts: Parts, platform: Platform, word: str) -> None:
    campaign = platform.campaign(**MANY)
    for impressions in (PAST, 2_000, 10):
        platform.participation(campaign, impressions, status=word)

    report = check(parts)

    [one] = found(report)
    assert (one.kind.value, one.reason, one.severity.label) == ("status_unknown", f"participation {word!r}", "error")
    assert (one.expected_minor, one.actual_minor, one.currency) == (2 * FULL, 0, "INR")
    assert "3 unpaid participations have it" in one.detail
    assert "2 of them at or past target: 6600.00 INR" in one.detail
    assert (report.verdict, report.completeness.broken) == ("breaks", 3)


@pytest.mark.parametrize("word", WORDS)
def test_a_campaign_of_an_unknown_status_is_named_by_the_word(parts: Parts, platform: Platform, word: str) -> None:
    for impressions in (PAST, 10):
        platform.participation(platform.campaign(**MANY, status=word), impressions)

    [one] = found(check(parts))

    assert (one.kind.value, one.reason, one.severity.label) == ("status_unknown", f"campaign {word!r}", "error")
    assert "2 campaigns have it" in one.detail
    assert one.expected_minor == FULL


def test_an_unknown_status_is_a_warning_while_nobody_reached_a_target(parts: Parts, platform: Platform) -> None:
    platform.participation(platform.campaign(**MANY), 10, status="Active")
    platform.campaign(status="live")

    breaks = found(check(parts))

    assert {(one.reason, one.severity.label) for one in breaks} == {
        ("participation 'Active'", "warning"), ("campaign 'live'", "warning"),
    }  # fmt: skip


def test_many_words_share_a_break_and_none_is_lost(parts: Parts, platform: Platform) -> None:
    campaign = platform.campaign(**MANY)
    for number in range(60):
        platform.participation(campaign, PAST if number == 59 else 10, status=f"word {number:02}")

    breaks = found(check(parts))

    assert len(breaks) == 51
    assert "10 unpaid participations have it" in next(one.detail for one in breaks if one.reason == "others")


def test_what_somebody_decided_is_withheld_with_its_money_and_is_no_break(parts: Parts, platform: Platform) -> None:
    running = platform.campaign(**MANY)
    for status in ("paused", "participation_paused", "rejected", "left_early", "removed"):
        platform.participation(running, PAST, status=status)
    platform.participation(running, PAST, earningsForfeited=True)
    platform.participation(running, 10, status="paused")
    for status in ("draft", "pending", "paused", "cancelled", "rejected"):
        platform.participation(platform.campaign(**MANY, status=status), PAST)

    report = check(parts)

    assert (report.verdict, found(report)) == ("clean", [])
    rows = {(row["reason"], row["status"]): (row["participations"], row["gross_minor"]) for row in report.withheld}
    assert rows == {
        **{
            ("participation_not_active", status): (1, FULL)
            for status in ("paused", "participation_paused", "rejected", "left_early", "removed")
        },
        ("forfeited", ""): (1, FULL),
        **{
            ("campaign_not_active", status): (1, FULL)
            for status in ("draft", "pending", "paused", "cancelled", "rejected")
        },
    }
    assert report.completeness.withheld == 11
    assert {row["currency"] for row in report.withheld} == {"INR"}


def test_what_was_taken_back_is_withheld(parts: Parts, platform: Platform) -> None:
    check(parts)
    paid = platform.database["campaignparticipations"].find_one({"impressions": PAST})
    assert paid is not None
    parts.decisions.reverse(f"payout:oid:{paid['_id']}:1", Signature(by="asha", reason="test"))

    report = check(parts)

    assert [(row["reason"], row["participations"]) for row in report.withheld] == [("reversed", 1)]


@pytest.mark.parametrize(
    ("campaign", "participation"),
    [
        ({}, {"impressions": float("nan")}),
        ({}, {"impressions": ["2500"], "status": "paused"}),
        ({"status": "paused"}, {"impressions": "many"}),
        ({"status": "draft"}, {"impressions": None}),
        ({}, {"impressions": PAST, "finalEarningsTransferred": "yes"}),
        ({}, {"impressions": PAST, "earningsForfeited": "no", "status": "removed"}),
        ({}, {"impressions": PAST, "status": 7}),
        ({}, {"impressions": PAST, "campaignId": 5}),
        ({}, {"impressions": PAST, "campaignId": [ObjectId()]}),
        ({}, {"impressions": PAST, "streamerId": 5.5}),
    ],
)
def test_whoever_cannot_be_read_is_named_whatever_else_stands_in_the_way(
    parts: Parts, platform: Platform, campaign: Document, participation: Document
) -> None:
    fields = dict(participation)
    odd = platform.participation(platform.campaign(**MANY, **campaign), fields.pop("impressions"))
    platform.database["campaignparticipations"].update_one({"_id": odd}, {"$set": {"clicks": 4, **fields}})

    report = check(parts)

    [one] = found(report)
    assert (one.kind.value, one.participation_id) == ("malformed", str(odd))
    assert (report.verdict, report.completeness.malformed) == ("breaks", 1)


def test_one_who_was_paid_and_cannot_be_read_any_more_is_named(parts: Parts, platform: Platform) -> None:
    check(parts)
    platform.database["campaignparticipations"].update_one(
        {"impressions": PAST}, {"$set": {"impressions": float("nan")}}
    )

    report = check(parts)

    assert [(one.kind.value, one.reason) for one in found(report)] == [("malformed", "participation")]


@pytest.mark.parametrize("status", ["active", "completed", "paused", "cancelled", None])
def test_a_campaign_that_cannot_be_read_is_named_once(parts: Parts, platform: Platform, status: str | None) -> None:
    campaign = platform.campaign(budget=float("nan"), status=status)
    for impressions in (0, 10, PAST):
        platform.participation(campaign, impressions)

    for options in ({}, {"campaign_id": str(campaign)}):
        breaks = found(check(parts, **options))
        assert [(one.kind.value, one.reason, one.campaign_id) for one in breaks] == [
            ("malformed", "campaign", str(campaign))
        ]


def test_a_draft_may_be_unfinished_until_somebody_is_counted_in_it(parts: Parts, platform: Platform) -> None:
    campaign = platform.campaign(budget=None, status="draft")
    participation = platform.participation(campaign, 0)
    assert found(check(parts)) == []
    platform.database["campaignparticipations"].update_one({"_id": participation}, {"$set": {"impressions": PAST}})

    assert [(one.kind.value, one.campaign_id) for one in found(check(parts))] == [("malformed", str(campaign))]


def test_a_mistyped_field_of_campaigns_makes_all_of_them_malformed(servers: dict[str, object], parts: Parts) -> None:
    with parts_of(load(None, {}, servers | {"mapping.campaigns.status": "state"})) as mistyped:
        report = check(mistyped)

    assert report.verdict == "breaks"
    assert {(one.kind.value, one.reason) for one in found(report)} == {("malformed", "campaign")}
    assert "status is not text" in found(report)[0].detail


@pytest.mark.parametrize(
    ("setting", "value", "reason", "named"),
    [
        ("mongodb.database", "sponsorshp", "participations", "there is no database sponsorshp"),
        ("mapping.collections.campaigns", "campaign", "campaigns", "there is campaigns"),
        ("mapping.collections.participations", "participations", "participations", "campaignparticipations"),
        ("mapping.collections.wallets", "wallet", "wallets", "there is wallets"),
        ("mapping.collections.transactions", "transaction", "transactions", "there is transactions"),
        ("mapping.collections.gkeys", "gKeys", "gkeys", "there is gkeys"),
    ],
)
def test_a_name_that_leads_nowhere_is_said_with_the_nearest(  # one parameter a column
    servers: dict[str, object], parts: Parts, setting: str, value: str, reason: str, named: str
) -> None:
    with parts_of(load(None, {}, servers | {setting: value})) as mistyped:
        report, _ = mistyped.full_check.step(CheckOptions(trigger="test", dry_run=True))

    told = {one.reason: one for one in found(report) if one.kind.value == "nothing_checked"}
    assert named in told[reason].detail
    assert (told[reason].severity.label, report.verdict, int(report.exit_code)) == ("error", "breaks", 1)


@pytest.mark.parametrize("role", ["campaigns", "participations"])
def test_an_empty_collection_proves_nothing(
    parts: Parts, mongo_database: Database[Document], role: str, servers: dict[str, object]
) -> None:
    mongo_database.create_collection("empty")
    with parts_of(load(None, {}, servers | {f"mapping.collections.{role}": "empty"})) as other:
        report, _ = other.full_check.step(CheckOptions(trigger="test", dry_run=True))

    assert [one.reason for one in found(report) if one.kind.value == "nothing_checked"] == [role]


def test_a_check_of_an_unknown_campaign_is_refused(parts: Parts) -> None:
    with pytest.raises(UsageError, match="no participation of a campaign"):
        check(parts, campaign_id=str(ObjectId()))


def test_where_the_rule_of_the_target_is_off_whoever_reached_it_is_not_forgotten(
    servers: dict[str, object], parts: Parts, paid: Any
) -> None:
    off = servers | {"completion.impressions_target_reached": False}
    with parts_of(load(None, {}, off)) as nobody:
        stranded = check(nobody)
    with parts_of(load(None, {}, off | {"completion.campaign_ended": True})) as later:
        withheld = check(later)

    assert [(one.kind.value, one.reason, one.campaign_id) for one in found(stranded)] == [
        ("stranded", "impressions_target_reached", str(paid))
    ]
    assert [(row["reason"], row["participations"], row["gross_minor"]) for row in withheld.withheld] == [
        ("rule_off", 1, FULL)
    ]


def test_where_paying_is_off_whoever_is_due_is_named(servers: dict[str, object], parts: Parts) -> None:
    with parts_of(load(None, {}, servers | {"payout.enabled": False})) as off:
        report, _ = off.full_check.step(CheckOptions(trigger="test", dry_run=True))

    assert [(one.kind.value, one.repaired) for one in found(report)] == [("due_but_unpaid", False)]


def test_who_waits_for_a_sweep_that_never_comes_is_named_after_a_while(parts: Parts, platform: Platform) -> None:
    """A daemon holds the lease and gets through no sweep."""
    lease = Lease(parts.engine, name=PAYING, holder="another:1", ttl=timedelta(minutes=50))
    assert lease.acquire() is not None
    first, _ = parts.full_check.step(CheckOptions(trigger="test"))
    assert (first.verdict, first.completeness.in_flight) == ("clean", 1)
    waiting = parts.full_check.check_runs.waiting()
    parts.full_check.check_runs.finish(dict.fromkeys(waiting, utc_now() - timedelta(days=1)))

    later, _ = parts.full_check.step(CheckOptions(trigger="test", dry_run=True))

    assert [(one.kind.value, one.repaired) for one in found(later)] == [("due_but_unpaid", False)]


def _drops_rows(compared: Compared) -> Compared:
    compared.not_due += len(compared.remarkable)
    compared.remarkable = []
    return compared


def test_a_row_that_the_comparison_drops_is_found_by_the_proof(
    parts: Parts, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours that calls everybody remarkable 'not due': the facts alone say otherwise."""
    monkeypatch.setattr("jobs.check.partition.compare", lambda *args, **named: _drops_rows(compare(*args, **named)))

    report, _ = parts.full_check.step(CheckOptions(trigger="test", dry_run=True))

    assert [one.kind.value for one in found(report)] == ["due_but_unpaid"]
    assert report.verdict == "breaks"


def test_a_row_that_every_path_calls_not_due_is_found_by_the_proof(
    parts: Parts, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of the decision itself: the proof does not ask it."""

    def forgets(_self: PageChecker, page: FactsPage, *_: Any) -> Tally:
        tally = Tally()
        tally.parts["not_due"] += len(page.participations)
        return tally

    monkeypatch.setattr(PageChecker, "check", forgets)

    report, _ = parts.full_check.step(CheckOptions(trigger="test"))

    [one] = found(report)
    assert (one.kind.value, one.reason, one.is_open) == ("due_but_unpaid", "unaccounted", True)


@pytest.mark.parametrize(
    ("impressions", "is_stranded"), [((1_901,), False), ((1_999,), False), ((1_000, 1_000), True), ((1_999, 1), True)]
)
def test_a_campaign_near_its_end_is_not_stranded(
    parts: Parts, platform: Platform, impressions: Sequence[int], *, is_stranded: bool
) -> None:
    campaign = platform.campaign()
    for count in impressions:
        platform.participation(campaign, count)

    stranded = [one for one in found(check(parts)) if one.kind.value == "stranded"]

    assert [(one.campaign_id, one.reason) for one in stranded] == [(str(campaign), "budget_exhausted")] * is_stranded


@pytest.mark.parametrize(
    ("fields", "streamed", "reason"),
    [
        ({"endDate": datetime(2026, 1, 1, tzinfo=UTC)}, ABSENT, "campaign_ended"),
        ({}, datetime.now(UTC) - timedelta(days=8), "campaign_inactive"),
        ({"status": "completed"}, ABSENT, "campaign_completed"),
        ({"status": "cancelled"}, ABSENT, "campaign_cancelled"),
        ({"status": "rejected"}, ABSENT, "campaign_rejected"),
        ({"status": "paused"}, datetime.now(UTC) - timedelta(days=8), None),
        ({}, datetime.now(UTC) - timedelta(days=6), None),
    ],
)
def test_what_nobody_will_ever_pay_is_stranded(
    parts: Parts, platform: Platform, fields: Document, streamed: Any, reason: str | None
) -> None:
    campaign = platform.campaign(**MANY, **fields)
    platform.participation(campaign, 100, lastStreamDate=streamed)

    breaks = found(check(parts))

    assert [(one.kind.value, one.reason, one.expected_minor) for one in breaks] == (
        [] if reason is None else [("stranded", reason, 16_500)]
    )


@pytest.mark.parametrize("hours", ["week", 0, 9_000, -1, 1.5])
def test_a_cooloff_out_of_range_is_for_information(parts: Parts, platform: Platform, hours: Any) -> None:
    campaign = platform.campaign(**MANY, gKeyCooloffHours=hours)

    report = check(parts)

    [one] = found(report)
    assert (one.kind.value, one.severity.label, one.campaign_id) == ("cooloff_out_of_range", "info", str(campaign))
    assert report.verdict == "clean"


def test_a_brand_that_changed_after_funding_is_named(parts: Parts, platform: Platform, paid: Any) -> None:
    check(parts)
    funder = platform.read("campaigns", paid)["brandId"]
    platform.database["campaigns"].update_one({"_id": paid}, {"$set": {"brandId": ObjectId()}})

    [one] = found(check(parts))

    assert (one.kind.value, one.severity.label, one.campaign_id) == ("brand_changed", "warning", str(paid))
    assert str(funder) in one.detail


@pytest.mark.parametrize("how", ["deleted", "rejected"])
def test_escrow_of_a_campaign_that_will_never_pay_is_named(parts: Parts, platform: Platform, how: str) -> None:
    campaign = platform.campaign(**MANY)
    participation = platform.participation(campaign, PAST)
    check(parts)
    if how == "deleted":
        platform.database["campaigns"].delete_one({"_id": campaign})
        platform.database["campaignparticipations"].delete_one({"_id": participation})
    else:
        platform.database["campaigns"].update_one({"_id": campaign}, {"$set": {"status": "rejected"}})

    orphaned = [one for one in found(check(parts)) if one.kind.value == "escrow_orphaned"]

    assert [(one.campaign_id, one.currency, one.actual_minor) for one in orphaned] == [
        (str(campaign), "INR", 3_300_000 - FULL)
    ]


@pytest.mark.parametrize("status", ["paused", "rejected", "Active"])
def test_a_whole_campaign_that_reached_its_target_is_not_forgotten(
    servers: dict[str, object], parts: Parts, platform: Platform, status: str
) -> None:
    """Nobody reached it alone; together they did, and the status keeps it from being settled."""
    campaign = platform.campaign(targetImpressions=2_000, status=status)
    for _ in range(2):
        platform.participation(campaign, 1_000)
    with parts_of(load(None, {}, servers | {"completion.scope": "campaign"})) as whole:
        report = check(whole)

    if status == "Active":
        assert [(one.kind.value, one.severity.label, one.expected_minor) for one in found(report)] == [
            ("status_unknown", "error", FULL)
        ]
    else:
        rows = [(row["reason"], row["status"], row["participations"], row["gross_minor"]) for row in report.withheld]
        assert rows == [("campaign_not_active", status, 2, FULL)]
        assert report.completeness.withheld == 2
