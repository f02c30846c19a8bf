"""A row of the journal that somebody altered or took away, after an earlier check: any full check halts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from reconciler.ledger import schema
from tests.support.platform import Platform
from tests.support.product import Product
from tests.support.tampering import Tamperer


@pytest.fixture(autouse=True)
def reports(product: Product, tmp_path: Path) -> None:
    product.settings["reports.directory"] = str(tmp_path / "reports")


def _set(tamperer: Tamperer, table: sa.Table, **values: Any) -> None:
    row = tamperer.rows(table)[0]
    for column, value in values.items():
        tamperer.update(table, row, column, value)


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("--campaign", "CAMPAIGN")], ids=" ".join)
@pytest.mark.parametrize("how", ["raised", "deleted", "deleted and shown as unpaid", "brand", "decision"])
def test_a_full_check_halts(product: Product, platform: Platform, how: str, arguments: tuple[str, ...]) -> None:
    campaign = platform.campaign(budget=9_900, targetImpressions=2_000)
    participation = platform.participation(campaign, 2000)
    platform.participation(campaign, 5)
    product.sweep()
    product.run("payouts", "reverse", f"payout:oid:{participation}:1", "--by", "ann", "--reason", "test")
    assert product.run("--full-check").code == 0
    assert product.run("--full-check").code == 0
    with product.open() as parts:
        tamperer = Tamperer(parts.engine)
        match how:
            case "raised":
                _set(tamperer, schema.payouts, amount_minor=330_001)
            case "deleted":
                tamperer.delete(schema.payouts, tamperer.rows(schema.payouts)[0])
            case "deleted and shown as unpaid":
                for row in reversed(tamperer.rows(schema.payouts)):
                    tamperer.delete(schema.payouts, row)
                unpaid = {"$set": {"status": "active"}, "$unset": {"finalEarningsTransferred": ""}}
                platform.database["campaignparticipations"].update_many({}, unpaid)
                platform.database["transactions"].delete_many({})
            case "brand":
                _set(tamperer, schema.payouts, brand_id="str:another")
            case "decision":
                _set(tamperer, schema.decisions, reason="another")

    given = [str(campaign) if one == "CAMPAIGN" else one for one in arguments]
    answer = product.run("--full-check", *given, "--json")

    assert answer.code == 4
    assert "chain_broken" in answer.json()["breaks_by_kind"]
