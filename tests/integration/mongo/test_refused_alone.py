"""One participation that a database refuses keeps nobody else of its page from being paid."""

from __future__ import annotations

import struct
from typing import Any

import bson
import pytest
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from sqlalchemy.engine import Engine

from app.parts import Parts
from reconciler.errors import Defect, Refused
from reconciler.ledger import schema
from tests.support.ledger_rows import paid_minor
from tests.support.platform import Document, Platform
from tests.support.tampering import Tamperer

OTHERS = 5


def others(platform: Platform) -> dict[str, int]:
    campaign = platform.campaign(targetImpressions=2000, budget=3300 * OTHERS)
    return {str(platform.participation(campaign)): 330_000 for _ in range(OTHERS)}


def forget_payout(engine: Engine, platform: Platform, participation_id: Any) -> None:
    """The row of a payout is gone from the ledger, though not its entry, and its document looks unpaid."""
    tamperer = Tamperer(engine)
    [row] = tamperer.rows(schema.payouts)
    tamperer.delete(schema.payouts, row)
    platform.database["transactions"].delete_many({})
    platform.database["campaignparticipations"].update_one(
        {"_id": participation_id}, {"$set": {"status": "active"}, "$unset": {"finalEarningsTransferred": ""}}
    )


def test_a_key_that_the_ledger_has_already(parts: Parts, platform: Platform) -> None:
    first = platform.participation(platform.campaign(targetImpressions=2000, budget=33_000))
    parts.sweep.step("test")
    forget_payout(parts.engine, platform, first)
    paid = others(platform)

    with pytest.raises(Defect):
        parts.sweep.step("test")

    assert paid_minor(parts.engine) == paid


def undecodable(document: Document) -> RawBSONDocument:
    """The same with impressions that are a binary of the old subtype, whose inner length is not that of the outer."""
    impressions = b"\x05impressions\x00" + struct.pack("<i", 8) + b"\x02" + struct.pack("<i", 99) + b"abcd"
    body = bson.encode({name: value for name, value in document.items() if name != "impressions"})[4:-1] + impressions
    return RawBSONDocument(struct.pack("<i", len(body) + 5) + body + b"\x00")


def test_a_document_that_cannot_be_decoded(parts: Parts, platform: Platform) -> None:
    paid = others(platform)
    participations = platform.database["campaignparticipations"]
    document = {**(participations.find_one() or {}), "_id": ObjectId(), "streamerId": ObjectId()}
    participations.insert_one(undecodable(document))

    with pytest.raises(Refused, match="cannot be decoded"):
        parts.sweep.step("test")

    assert paid_minor(parts.engine) == paid
