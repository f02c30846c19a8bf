"""Partitions of a check meet every document once, wherever they are cut and whatever identities there are."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from bson.binary import Binary
from bson.code import Code
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from reconciler.clock import utc_now
from reconciler.config.mapping import MappingSettings
from reconciler.mongo.connection import Connection
from reconciler.mongo.scanning import MongoFactScan

IDENTITIES: tuple[Any, ...] = (
    None, 0, 1, True, float("nan"), "a", "b", "c", "1", ObjectId("0" * 24), ObjectId("f" * 24), MinKey(), MaxKey(),
    Code("a"), Binary(b"x"), {"a": float("nan")}, {"a": 1},
)  # fmt: skip
BROKEN = (b"a\x80", b"a\xff", b"\x80", b"b\xfe\xff")
"""Texts that are no UTF-8, and lie before and behind the replacement character that they are read with."""


def _with_broken_identity(text: bytes) -> RawBSONDocument:
    element = b"\x02_id\x00" + struct.pack("<i", len(text) + 1) + text + b"\x00"
    return RawBSONDocument(struct.pack("<i", len(element) + 5) + element + b"\x00")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_every_document_is_met_once(mongo_connection: Connection, mongo_database: Database[Any], size: int) -> None:
    collection = mongo_database["campaignparticipations"]
    collection.insert_many([{"_id": identity} for identity in IDENTITIES])
    collection.insert_many([_with_broken_identity(text) for text in BROKEN])
    scan = MongoFactScan(mongo_connection, MappingSettings(), clock=utc_now)

    with scan.partitions(size, campaign_id=None, after=None) as partitions:
        found = list(partitions)

    sizes = [len(one.unreadable) + len(one.columns.participation_ids) for one in found]
    assert sum(sizes) == len(IDENTITIES) + len(BROKEN)
    named = [tagged for one in found for tagged in one.columns.participation_ids]
    assert sorted(named) == sorted(["oid:" + "0" * 24, "oid:" + "f" * 24, "str:a", "str:b", "str:c", "str:1"])
    assert [one.up_to for one in found].count(None) >= 1
    assert found[-1].up_to is None
    assert max(sizes) <= size + len(BROKEN)
