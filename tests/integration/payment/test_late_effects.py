"""Paid and not shown: named by the entries themselves, whatever the queue of effects says, and told again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobs.check.options import CheckOptions
from reconciler.ledger import schema
from reconciler.reports.model import Report
from tests.support.platform import Platform
from tests.support.product import Product

DRY = CheckOptions(trigger="test", dry_run=True)
REAL = CheckOptions(trigger="test")
FAR = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3650)


@pytest.fixture(autouse=True)
def reports(product: Product, tmp_path: Path) -> None:
    product.settings["reports.directory"] = str(tmp_path / "reports")


@pytest.fixture
def shown(product: Product, platform: Platform) -> Any:
    """A participation that was paid and of which nobody was told: its effects are undone, as if none had been."""
    participation = platform.participation(platform.campaign(), 2000)
    with product.open() as parts:
        parts.sweep.step("test")
    return participation


def _break(report: Report) -> list[tuple[str, str, bool]]:
    return [(one.found.kind.value, one.found.reason, one.found.repaired) for one in report.sightings]


def _untell(product: Product, **row: object) -> None:
    with product.open() as parts, parts.engine.begin() as connection:
        connection.execute(sa.update(schema.outbox).values(**row))


def _hide(platform: Platform, participation: Any) -> None:
    """MongoDB as it was before anybody told it, but for the wallet, which knows what it was told."""
    platform.database["campaignparticipations"].update_one(
        {"_id": participation}, {"$set": {"status": "active"}, "$unset": {"finalEarningsTransferred": ""}}
    )
    platform.database["transactions"].delete_many({})


@pytest.mark.parametrize(
    "row", [{"not_before": FAR}, {"not_before": FAR, "attempts": 7}, {}], ids=["far", "tried", "gone"]
)
def test_what_the_queue_puts_off_is_late_all_the_same(
    product: Product, platform: Platform, shown: Any, row: dict[str, object]
) -> None:
    _untell(product, status="pending", done_at=None, **row)
    _hide(platform, shown)
    product.settings["projection.overdue_s"] = 0.001
    with product.open() as parts:
        dry, _ = parts.full_check.step(DRY)
        assert ("effect_overdue", "payout", False) in _break(dry)
        assert dry.completeness.in_flight == 0
        assert dry.completeness.broken == 1
        assert dry.exit_code == 1

        real, _ = parts.full_check.step(REAL)
        assert _break(real) == [("effect_overdue", "payout", True)]
        assert parts.full_check.step(DRY)[0].breaks_by_kind() == {}
    assert platform.read("campaignparticipations", shown)["finalEarningsTransferred"] is True
    assert platform.wallet_of(shown)["balance"] == 3450.25


def test_what_was_paid_a_moment_ago_is_on_its_way(product: Product, platform: Platform, shown: Any) -> None:
    _untell(product, status="pending", done_at=None)
    _hide(platform, shown)
    with product.open() as parts:
        report, _ = parts.full_check.step(DRY)
    assert "effect_overdue" not in report.breaks_by_kind()


def test_an_entry_of_a_time_to_come_is_late_too(product: Product, platform: Platform, shown: Any) -> None:
    """A host whose clock was a year ahead posted it: nobody waits a year to be told of it."""
    _untell(product, status="pending", done_at=None)
    product.days = -365
    with product.open() as parts:
        assert "effect_overdue" in parts.full_check.step(DRY)[0].breaks_by_kind()


def test_an_entry_without_its_place_in_the_queue_gets_it_back(product: Product, platform: Platform, shown: Any) -> None:
    with product.open() as parts, parts.engine.begin() as connection:
        connection.execute(sa.delete(schema.outbox))
    _hide(platform, shown)
    product.settings["projection.overdue_s"] = 0.001
    with product.open() as parts:
        assert ("effect_overdue", "payout", False) in _break(parts.full_check.step(DRY)[0])
        assert _break(parts.full_check.step(REAL)[0]) == [("effect_overdue", "payout", True)]
        assert parts.full_check.step(DRY)[0].breaks_by_kind() == {}
    assert platform.wallet_of(shown)["balance"] == 3450.25


def test_a_late_effect_that_is_blocked_is_named_by_its_obstacle(
    product: Product, platform: Platform, shown: Any
) -> None:
    _untell(product, status="pending", done_at=None, not_before=FAR)
    platform.database["wallets"].update_many({}, {"$set": {"isActive": False}})
    with product.open() as parts, parts.engine.begin() as connection:
        connection.execute(sa.update(schema.wallet_positions).values(version=2))
    product.settings["projection.overdue_s"] = 0.001
    with product.open() as parts:
        assert _break(parts.full_check.step(REAL)[0]) == [("effect_blocked", "wallet_inactive", False)]


def test_a_release_without_its_place_in_the_queue_is_told(product: Product, platform: Platform) -> None:
    """The payout itself was told, so that nobody would look at it one by one."""
    product.settings["payout.hold_days"] = 3
    participation = platform.participation(platform.campaign(), 2000)
    product.sweep()
    product.days = 4
    product.keep_house()
    with product.open() as parts, parts.engine.begin() as connection:
        released = sa.select(schema.entries.c.sequence).where(schema.entries.c.kind == "hold_release")
        connection.execute(sa.delete(schema.outbox).where(schema.outbox.c.sequence.in_(released)))
    platform.database["transactions"].delete_many({"transactionType": "earnings_release"})
    product.days = 5
    with product.open() as parts:
        assert _break(parts.full_check.step(REAL)[0]) == [("effect_overdue", "hold_release", True)]
    assert platform.database["transactions"].count_documents({"transactionType": "earnings_release"}) == 1
    assert platform.wallet_of(participation)["withdrawableBalance"] == 3400.25


def test_a_blocked_release_is_named(product: Product, platform: Platform) -> None:
    product.settings["payout.hold_days"] = 3
    platform.participation(platform.campaign(), 2000)
    product.sweep()
    platform.database["wallets"].update_many({}, {"$set": {"isActive": False}})
    product.days = 4
    product.keep_house()
    with product.open() as parts:
        assert _break(parts.full_check.step(REAL)[0]) == [("effect_blocked", "wallet_inactive", False)]


def test_a_position_that_no_wallet_took_is_named(product: Product, platform: Platform, shown: Any) -> None:
    with product.open() as parts, parts.engine.begin() as connection:
        connection.execute(sa.update(schema.wallet_positions).values(version=2))
    product.days = 1
    platform.database["wallets"].update_many({}, {"$set": {"isActive": False}})
    with product.open() as parts:
        assert _break(parts.full_check.step(REAL)[0]) == [("effect_overdue", "wallet INR", False)]
    platform.database["wallets"].update_many({}, {"$set": {"isActive": True}})
    with product.open() as parts:
        assert parts.full_check.step(REAL)[0].breaks_by_kind() == {}


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"$set": {"balance": 150.25, "withdrawableBalance": 100.25, "totalEarnings": 900.5}}, "INR totalEarnings"),
        ({"$set": {"totalEarnings": 4200.49}}, "INR totalEarnings"),
        ({"$set": {"totalEarnings": None}}, "INR totalEarnings"),
        ({"$unset": {"totalEarnings": ""}}, "INR totalEarnings"),
        ({"$set": {"totalEarnings": float("nan")}}, "INR totalEarnings"),
    ],
    ids=repr,
)
def test_a_credit_that_somebody_wrote_over_is_told_and_not_repaired(
    product: Product, platform: Platform, shown: Any, update: dict[str, Any], expected: str
) -> None:
    """Another program saved what it had read before our credit: the wallet's record of us knows better."""
    platform.database["wallets"].update_many({}, update)
    after = platform.wallet_of(shown)
    with product.open() as parts:
        report, _ = parts.full_check.step(REAL)
    assert _break(report) == [("wallet_drift", expected, False)]
    assert report.exit_code == 1
    assert repr(platform.wallet_of(shown)) == repr(after)


def test_a_later_credit_does_not_hide_that_one_is_missing(product: Product, platform: Platform, shown: Any) -> None:
    platform.database["wallets"].update_many({}, {"$set": {"totalEarnings": 900.5}})
    streamer = platform.read("campaignparticipations", shown)["streamerId"]
    platform.participation(platform.campaign(), 2000, streamerId=streamer)
    product.sweep()
    with product.open() as parts:
        report, _ = parts.full_check.step(REAL)
        assert _break(report) == [("wallet_drift", "INR totalEarnings", False)]
        [found] = [one.found for one in report.sightings]
        assert (found.expected_minor, found.actual_minor) == (750_050, 420_050)
        platform.database["wallets"].update_many({}, {"$set": {"totalEarnings": 7500.50}})
        assert parts.full_check.step(REAL)[0].breaks_by_kind() == {}


@pytest.mark.parametrize(
    "update",
    [
        {"$inc": {"balance": -3000.0, "withdrawableBalance": -3000.0}},
        {"$inc": {"totalEarnings": 12.34567}},
        {"$unset": {"ledger.INR.totalEarnings": ""}},
        {"$set": {"heldBalance": 0}},
        {"$set": {"currency": "USD", "totalEarnings": 3.0}},
    ],
    ids=repr,
)
def test_what_others_may_do_to_a_wallet_is_no_drift(
    product: Product, platform: Platform, shown: Any, update: dict[str, Any]
) -> None:
    """Withdraw, earn elsewhere, have been written last by an earlier version, convert."""
    platform.database["wallets"].update_many({}, update)
    with product.open() as parts:
        assert parts.full_check.step(REAL)[0].breaks_by_kind() == {}


def test_a_reversal_lowers_what_is_expected(product: Product, platform: Platform, shown: Any) -> None:
    product.run("payouts", "reverse", f"payout:oid:{shown}:1", "--by", "ann", "--reason", "test")
    product.keep_house()
    assert platform.wallet_of(shown)["totalEarnings"] == 900.5
    with product.open() as parts:
        assert "wallet_drift" not in parts.full_check.step(REAL)[0].breaks_by_kind()


def test_held_money_that_the_wallet_does_not_show_is_told(product: Product, platform: Platform) -> None:
    product.settings["payout.hold_days"] = 3
    platform.participation(platform.campaign(), 2000)
    product.sweep()
    platform.database["wallets"].update_many({}, {"$set": {"heldBalance": 3299.99}})
    with product.open() as parts:
        assert _break(parts.full_check.step(REAL)[0]) == [("wallet_drift", "INR heldBalance", False)]


def test_two_wallets_of_one_user_are_named(product: Product, platform: Platform, shown: Any) -> None:
    wallet = platform.wallet_of(shown)
    platform.database["wallets"].insert_one({**wallet, "_id": "second"})
    with product.open() as parts:
        report, _ = parts.full_check.step(REAL)
    assert _break(report) == [("wallet_ambiguous", "INR", False)]
    [found] = [one.found for one in report.sightings]
    assert str(wallet["_id"]) in found.detail
    assert "second" in found.detail


def test_an_old_copy_of_a_participation_put_back_is_told_again(product: Product, platform: Platform) -> None:
    """A program saved the document that it had read before the effects."""
    participation = platform.participation(platform.campaign(), 2000)
    before = platform.read("campaignparticipations", participation)
    product.sweep()
    platform.database["campaignparticipations"].replace_one({"_id": participation}, before)
    with product.open() as parts:
        report, _ = parts.full_check.step(REAL)
        assert _break(report) == [("projection_stale", "participation", True)]
    assert platform.read("campaignparticipations", participation)["finalEarningsTransferred"] is True
    assert platform.wallet_of(participation)["balance"] == 3450.25


def test_nobody_is_on_the_way_for_longer_than_a_sweep_may_take(product: Product) -> None:
    """A lease says that a daemon leads, and no sweep ends: after a while that is believed no longer."""
    with product.open() as parts:
        now = parts.clock()
        with parts.engine.begin() as connection:
            row = {"name": "paying", "holder": "stuck", "epoch": 1, "expires_at": now + timedelta(seconds=15)}
            connection.execute(sa.insert(schema.leases).values(row))
        must_be_paid, longest = (
            parts.full_check.population.partitions.pages.must_be_paid,
            timedelta(seconds=parts.settings.sweep.deadline_s),
        )
        assert not must_be_paid(now)
        assert not must_be_paid(now - longest + timedelta(minutes=5))
        assert must_be_paid(now - longest - timedelta(seconds=1))
