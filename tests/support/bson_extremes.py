"""Every type that BSON has and the extremes of each, as the driver writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID

from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.regex import Regex
from bson.timestamp import Timestamp


def _deep(levels: int) -> dict[str, object]:
    found: dict[str, object] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


EXTREMES: dict[str, object] = {
    "null": None,
    "true": True,
    "false": False,
    "int32": -(2**31),
    "int64": Int64(2**63 - 1),
    "int64 negative": Int64(-(2**63)),
    "double nan": float("nan"),
    "double infinity": float("inf"),
    "double minus infinity": float("-inf"),
    "double minus zero": -0.0,
    "double huge": 1e308,
    "double beyond int64": 1e19,
    "double tiny": 5e-324,
    "double smallest rate": 1e-9,
    "decimal nan": Decimal128("NaN"),
    "decimal snan": Decimal128("sNaN"),
    "decimal infinity": Decimal128("-Infinity"),
    "decimal zero": Decimal128("-0E+6111"),
    "decimal huge": Decimal128("1E+6144"),
    "decimal tiny": Decimal128("1E-6176"),
    "text empty": "",
    "text": "Active",
    "text number": "9" * 60,
    "text nul": "a\x00b",
    "text long": "x" * 100_000,
    "text operator": "$impressions",
    "text controls": "\x1b[31m\u202e\r\n'\"<&",
    "text replacement": "caf\ufffd",
    "object id": ObjectId("ffffffffffffffffffffffff"),
    "date": datetime(2026, 1, 1, tzinfo=UTC),
    "date first": datetime(1, 1, 1, tzinfo=UTC),
    "date last": datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
    "date beyond": DatetimeMS(2**62),
    "date before": DatetimeMS(-(2**62)),
    "timestamp": Timestamp(2**32 - 1, 1),
    "code": Code("INR"),
    "code with scope": Code("active", {"a": 1}),
    "regex": Regex(".*", "i"),
    "pattern": re.compile("a"),
    "binary": Binary(b"\x00\xff" * 100, 0),
    "uuid": Binary.from_uuid(UUID(int=7)),
    "vector": Binary(b"\x27\x00a", 9),
    "reference": DBRef("users", ObjectId()),
    "reference odd": {"$ref": "users", "$id": {"$ref": "users", "$id": None}},
    "min key": MinKey(),
    "max key": MaxKey(),
    "array empty": [],
    "array": [2000, "active", [Code("x")]],
    "document empty": {},
    "document": {"": 1, "a.b": 2, "$gt": ""},
    "document deep": _deep(100),
    "symbol": RawBSONDocument(b"\x10\x00\x00\x00\x0ev\x00\x04\x00\x00\x00abc\x00\x00"),
    "undefined": RawBSONDocument(b"\x08\x00\x00\x00\x06v\x00\x00"),
}
"""By name. What only an old server could have written comes inside a document: the driver writes it no other way."""
