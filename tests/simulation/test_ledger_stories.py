"""Stories that the machine tells too rarely to rely on, against the same bookkeeper."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy.engine import Engine

from tests.support.ledger_driver import LedgerDriver, Time
from tests.support.model_ledger import ModelLedger, ModelSettings, Pool
from tests.support.simulated_world import MEMBERS, YEN, World, pool_of, shares_of


@pytest.mark.parametrize("decided", ["reject", "adopt", None])
def test_a_share_that_a_person_decided_about_keeps_no_money_from_going_back(
    engine: Engine, decided: str | None
) -> None:
    house, time, world = ModelSettings(threshold_minor={"JPY": 1}), Time(), World()
    office, book = LedgerDriver(engine, time, house), ModelLedger(house=house)
    member = next(one for one in MEMBERS if one.campaign == YEN)
    counts, now = {member: YEN.target}, time.now
    world.write(YEN, now, 5000, "JPY")
    shares = shares_of(YEN, counts, "JPY")
    pool = Pool("JPY", {member.tagged: YEN.target}, shares)
    line = replace(world.ask(member, over=0, facts_at=now, fee_bps=0), settlement_key=f"settlement:{YEN.tagged}:1")

    assert office.freeze(pool_of(YEN, counts, 5000, "JPY"), now) is book.freeze(YEN, pool, now, now) is True
    assert office.post([line]) == book.post([line], now) == {line.key: "over_approval_threshold"}
    if decided == "reject":
        assert office.reject(line.key, "asha") == book.reject(line.key) == "rejected"
    elif decided == "adopt":
        found = [(member, shares[member.tagged], "JPY")]
        assert office.adopt(found, "adopt:1") == book.adopt(found) == 1
        assert office.post([line]) == book.post([line], now) == {line.key: "settled_before_us"}

    refunded = "something_is_open" if decided is None else "refunded"
    assert office.refund(YEN, "JPY") == book.refund(YEN, "JPY") == refunded
