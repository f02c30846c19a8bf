"""What keeps an older copy of the ledger from paying again, or from taking back what wallets were credited."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.config.mapping import MappingSettings
from reconciler.domain.ids import DocumentId
from reconciler.errors import InvariantBroken
from reconciler.ledger import schema
from reconciler.ledger.engine import open_engine
from reconciler.mongo.connection import Connection
from reconciler.mongo.ledger_guard import MongoLedgerGuard
from reconciler.ports.ledger_guard import LedgerPosition
from tests.support.ledger import rows_of
from tests.support.platform import Platform
from tests.support.product import Product

SIGNED = ("--by", "asha", "--reason", "the disk was lost")

only_sqlite = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


@pytest.fixture
def put_back(product: Product, tmp_path: Path) -> Callable[[Callable[[], object]], None]:
    """Does something with the ledger and then puts the copy of before in its place."""

    def after(happened: Callable[[], object]) -> None:
        file, copy = Path(product.servers["ledger.url"].removeprefix("sqlite:///")), tmp_path / "copy.db"
        shutil.copy(file, copy)
        happened()
        for name in (file, *file.parent.glob(f"{file.name}-*")):
            name.unlink(missing_ok=True)
        shutil.copy(copy, file)

    return after


def payouts_count(product: Product) -> int:
    engine = open_engine(product.servers["ledger.url"])
    try:
        return len(rows_of(engine, schema.payouts))
    finally:
        engine.dispose()


@only_sqlite
def test_a_live_batch_looks_for_it_first(
    product: Product, platform: Platform, put_back: Callable[[Callable[[], object]], None]
) -> None:
    """No sweep comes before it: what the copy lost would be paid again, since it is due by all that the copy knows."""
    campaign_id = platform.campaign(budget=99_000, targetImpressions=2000)
    platform.participation(campaign_id)
    assert product.sweep().paid == 1
    lost = platform.participation(campaign_id)
    put_back(product.sweep)
    later = platform.participation(campaign_id)

    with product.open() as parts:
        parts.hints.deliver_while(lambda: True)
        for one in (lost, later):
            parts.hints.participation(DocumentId.from_tagged(f"oid:{one}"))
        with pytest.raises(InvariantBroken, match="an older copy of it was put in place"):
            parts.live.settler.run()

    assert payouts_count(product) == 1


@only_sqlite
def test_no_wallet_counts_on_while_a_payment_is_lacking(
    product: Product, platform: Platform, put_back: Callable[[Callable[[], object]], None]
) -> None:
    """A wallet takes only positions newer than the one it saw. That is all that keeps its credit there until then."""
    platform.participation(platform.campaign())
    assert product.sweep().paid == 1
    lost = platform.participation(platform.campaign())
    streamer_id = platform.read("campaignparticipations", lost)["streamerId"]
    put_back(product.sweep)
    credited = platform.wallet_of(lost)
    # The platform corrected the count meanwhile: what was paid cannot be posted again by itself.
    platform.database["campaignparticipations"].update_one({"_id": lost}, {"$set": {"impressions": 5}})
    platform.participation(platform.campaign(budget=330, targetImpressions=200), 200, streamerId=streamer_id)

    answer = product.run("ledger", "recover", *SIGNED, "--json")

    assert answer.code == 1, answer
    recovered = answer.json()
    assert [one.partition(":")[0] for one in recovered["unresolved"]] == ["payout"]
    assert recovered["versions_raised"] == 0
    with product.open() as parts:
        # As a person would bring about who resumes too early.
        parts.guard.take_over()
        parts.sweep.step("test")
    wallet = platform.wallet_of(lost)
    shared = ("balance", "withdrawableBalance", "totalEarnings", "heldBalance")
    assert [wallet[name] for name in shared] == [credited[name] for name in shared]


@pytest.fixture
def state(mongo_connection: Connection) -> Callable[[int], MongoLedgerGuard]:
    """What MongoDB remembers, asked by a ledger that has come to a sequence."""

    def of_ledger_at(sequence: int) -> MongoLedgerGuard:
        position = LedgerPosition(ledger_id="one and the same", sequence=sequence)
        return MongoLedgerGuard(mongo_connection, MappingSettings(), position=lambda: position)

    return of_ledger_at


def test_what_is_remembered_never_goes_back(state: Callable[[int], MongoLedgerGuard]) -> None:
    """A projector that slept tells of an older sequence last. A copy from in between would then pass for the newest."""
    state(12).advance(12)
    state(12).advance(7)

    with pytest.raises(InvariantBroken, match="was told of sequence 12, and this ledger ends at 9"):
        state(9).check()
    state(12).check()
