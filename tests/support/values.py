"""Values as a BSON decoder hands them over: well-formed, hand-typed, and everything else that a field may hold."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import strategies as st

from reconciler.domain.ids import DocumentId, IdKind

AWKWARD: tuple[object, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    float("nan"),
    float("inf"),
    float("-inf"),
    -0.0,
    1e300,
    5e-324,
    3299.9999999999995,
    Decimal("NaN"),
    Decimal("-NaN123"),
    Decimal("sNaN"),
    Decimal("-Infinity"),
    Decimal("0E+6111"),
    Decimal("-0E-6176"),
    Decimal("1E+6144"),
    Decimal("-1E-6176"),
    Decimal("9.999999999999999999999999999999999E+64"),
    "",
    "2000",
    "-2000.50",
    "2000\n",
    " 2000",
    "1e3",
    "+5",
    "0x10",
    ".5",
    "5.",
    "1,000",
    "NaN",
    "٢٠٠٠",  # Arabic-Indic digits: int() and \d take them, and no document means them
    "²",
    "9" * 5_000,
    "\x00",
    b"2000",
    [],
    [2000],
    {},
    {"$numberInt": "5"},
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1),  # noqa: DTZ001  # a naive one says nothing about when
    DocumentId(IdKind.OBJECT_ID, "0" * 24),
)
"""One of each kind that was ever mistaken for a number, or for none."""

_SCALARS: st.SearchStrategy[object] = st.one_of(
    st.sampled_from(AWKWARD),
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
    st.integers(min_value=0, max_value=10_000),
    st.floats(),
    st.builds(
        lambda sign, digits, exponent: Decimal((sign, tuple(digits), exponent)),
        st.integers(0, 1),
        st.lists(st.integers(0, 9), min_size=1, max_size=34),
        st.integers(-6176, 6111),
    ),
    st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,12})?", fullmatch=True),
    st.text(max_size=40),
    st.binary(max_size=20),
    st.datetimes(timezones=st.just(UTC)),
    st.builds(DocumentId, st.sampled_from(IdKind), st.text(min_size=1, max_size=30)),
)


def bson_values() -> st.SearchStrategy[object]:
    """Anything a field may hold."""
    return st.recursive(
        _SCALARS,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
        max_leaves=5,
    )


def mostly(*usual: object) -> st.SearchStrategy[object]:
    """A field that is well-formed more often than not, so that a record of many such fields may be so as a whole."""
    return st.one_of(st.sampled_from(usual), st.sampled_from(usual), st.sampled_from(usual), bson_values())


def campaign_records() -> st.SearchStrategy[dict[str, object]]:
    """Records of campaigns, from payable to hopeless."""
    return _records(
        {
            "status": mostly("active", "completed", "draft", "paused"),
            "brand_id": mostly(DocumentId(IdKind.OBJECT_ID, "b" * 24), "brand"),
            "payment_type": mostly("cpm", "fixed"),
            "payment_rate": mostly(1650, 0.000000001, "1650.5", Decimal("90071992547409.91"), 3),
            "budget": mostly(3300, 1000.0, "90071992547409.91", 0.001, 1),
            "target_impressions": mostly(None, 0, 1, 2000, "2000", 10**12),
            "currency": mostly(None, "INR", "JPY", "KWD", "CLF"),
            "gkey_cooloff_hours": mostly(None, 1, 720.0, 8760),
            "end_date": mostly(None, datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        }
    )


def participation_records() -> st.SearchStrategy[dict[str, object]]:
    """Records of participations, from due to hopeless."""
    return _records(
        {
            "id": mostly(DocumentId(IdKind.OBJECT_ID, "1" * 24), "p1"),
            "campaign_id": mostly(DocumentId(IdKind.OBJECT_ID, "c" * 24), "c1"),
            "streamer_id": mostly(DocumentId(IdKind.OBJECT_ID, "5" * 24), "s1"),
            "status": mostly("active", "completed", "removed"),
            "impressions": mostly(0, 1999, 2000, 2000.0, "2500", Decimal(10**12), 10**12),
            "earnings_forfeited": mostly(None, False, True),
            "final_earnings_transferred": mostly(None, False, True),
            "last_stream_date": mostly(None, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 28, tzinfo=UTC)),
            "created_at": mostly(None, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 28, tzinfo=UTC)),
        }
    )


def _records(fields: dict[str, st.SearchStrategy[object]]) -> st.SearchStrategy[dict[str, object]]:
    """All fields nearly always, any of them missing now and then."""
    whole = st.fixed_dictionaries(fields)
    return st.one_of(whole, whole, st.fixed_dictionaries({}, optional=fields))
