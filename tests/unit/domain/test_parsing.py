"""Numbers from every type that a document may hold: read exactly, or refused with the reason."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.parsing import (
    IMPRESSIONS_MAX,
    FieldProblem,
    Unreadable,
    keep,
    parse_count,
    parse_flag,
    parse_number,
)
from tests.support.values import AWKWARD, bson_values

NOT_PLAIN = "is text that is not a plain decimal number"
NOT_FINITE = "is not a finite number"
TOO_FAR = "is of a magnitude beyond 10^64"


class Int64(int):
    """As bson's: a subclass of int."""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (-7, -7),
        (Int64(2**62), 2**62),
        (2**63 - 1, 2**63 - 1),
        (2000.0, 2000),
        (-0.0, 0),
        (0.1, Fraction(1, 10)),  # by its shortest text, not its 55 binary digits
        (1650.5, Fraction(3301, 2)),
        (3299.9999999999995, Fraction(32999999999999995, 10**13)),
        (1e300, 10**300),
        (5e-324, Fraction(5, 10**324)),
        (Decimal("1650.50"), Fraction(3301, 2)),
        (Decimal("2E+3"), 2000),
        (Decimal("-0"), 0),
        (Decimal("0E+6111"), 0),
        (Decimal("0E-6176"), 0),
        (Decimal("0E+999999999999"), 0),
        (Decimal("1E+64"), 10**64),
        (Decimal("1E-64"), Fraction(1, 10**64)),
        ("2000", 2000),
        ("-2000.50", Fraction(-4001, 2)),
        ("007", 7),
        ("0.000000001", Fraction(1, 10**9)),
        ("9" * 64, int("9" * 64)),
    ],
)
def test_a_number_is_read_exactly(value: object, expected: int | Fraction) -> None:
    number = parse_number(value)

    assert number == expected
    assert isinstance(number, Fraction)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "is missing"),
        (True, "is a boolean, not a number"),
        (False, "is a boolean, not a number"),
        (float("nan"), NOT_FINITE),
        (float("inf"), NOT_FINITE),
        (float("-inf"), NOT_FINITE),
        (Decimal("NaN"), NOT_FINITE),
        (Decimal("sNaN"), NOT_FINITE),
        (Decimal("-Infinity"), NOT_FINITE),
        (Decimal("1E+65"), TOO_FAR),
        (Decimal("1E-65"), TOO_FAR),
        (Decimal("9.99E+6144"), TOO_FAR),
        (Decimal("-1E-6176"), TOO_FAR),
        ("", NOT_PLAIN),
        ("abc", NOT_PLAIN),
        ("NaN", NOT_PLAIN),
        ("Infinity", NOT_PLAIN),
        ("1e3", NOT_PLAIN),
        ("+5", NOT_PLAIN),
        (".5", NOT_PLAIN),
        ("5.", NOT_PLAIN),
        ("--5", NOT_PLAIN),
        ("1_000", NOT_PLAIN),
        ("1,000", NOT_PLAIN),
        ("0x10", NOT_PLAIN),
        (" 2000", NOT_PLAIN),
        ("2000 ", NOT_PLAIN),
        ("2000\n", NOT_PLAIN),
        ("٢٠٠٠", NOT_PLAIN),
        ("2٠00", NOT_PLAIN),
        ("²", NOT_PLAIN),
        ("9" * 65, NOT_PLAIN),
        ("9" * 5_000, NOT_PLAIN),
        ([2000], "is a list, not a number"),
        ({"$numberInt": "5"}, "is a dict, not a number"),
        (b"2000", "is a bytes, not a number"),
        (2000j, "is a complex, not a number"),
    ],
)
def test_what_is_no_number_is_refused_with_the_reason(value: object, why: str) -> None:
    assert parse_number(value) == Unreadable(why)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (2000, 2000),
        (2000.0, 2000),
        (-0.0, 0),
        ("2000", 2000),
        ("2000.000", 2000),
        (Decimal("2E+3"), 2000),
        (10**12, 10**12),
        (1e12, 10**12),
    ],
)
def test_a_count_may_be_of_any_numeric_type(value: object, expected: int) -> None:
    count = parse_count(value)

    assert count == expected
    assert type(count) is int


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "is missing"),
        (True, "is a boolean, not a number"),
        (-0.5, "is not a whole number"),  # before "is negative"
        (2000.5, "is not a whole number"),
        ("1999.999999999999999999", "is not a whole number"),
        (5e-324, "is not a whole number"),
        (-1, "is negative"),
        ("-1", "is negative"),
        (-(10**13), "is negative"),
        (10**12 + 1, "is more than 1000000000000"),
        (1e300, "is more than 1000000000000"),
        pytest.param(10**5_000, "is more than 1000000000000", id="5001 digits"),
    ],
)
def test_a_count_is_whole_not_negative_and_not_absurd(value: object, why: str) -> None:
    assert parse_count(value) == Unreadable(why)


def test_a_count_without_a_limit_may_be_of_any_size() -> None:
    assert parse_count(10**12 + 1, count_max=None) == 10**12 + 1
    assert parse_count(11, count_max=10) == Unreadable("is more than 10")
    assert parse_count(10, count_max=10) == 10


@pytest.mark.parametrize(("value", "expected"), [(None, False), (False, False), (True, True)])
def test_a_flag_is_a_boolean_and_false_when_it_is_missing(value: object, *, expected: bool) -> None:
    assert parse_flag(value) is expected


@pytest.mark.parametrize("value", [0, 1, 0.0, "false", "true", "", [], {}, b"", Decimal(1)])
def test_no_flag_is_guessed_from_another_type(value: object) -> None:
    assert parse_flag(value) == Unreadable(f"is a {type(value).__name__}, not a boolean")


def test_every_problem_of_a_document_is_kept() -> None:
    problems: list[FieldProblem] = []

    assert keep(parse_count("x"), "impressions", problems) is None
    assert keep(parse_count(7), "clicks", problems) == 7
    assert keep(parse_flag(0), "earningsForfeited", problems) is None
    assert [str(problem) for problem in problems] == [
        "impressions is text that is not a plain decimal number",
        "earningsForfeited is a int, not a boolean",
    ]


@pytest.mark.parametrize("value", AWKWARD, ids=lambda value: repr(value)[:40])
def test_every_awkward_value_gets_an_answer(value: object) -> None:
    assert isinstance(parse_number(value), Fraction | Unreadable)
    assert isinstance(parse_count(value), int | Unreadable)
    assert isinstance(parse_flag(value), bool | Unreadable)


@given(bson_values())
def test_no_value_makes_reading_raise(value: object) -> None:
    number, count = parse_number(value), parse_count(value)

    assert isinstance(number, Fraction | Unreadable)
    assert isinstance(parse_flag(value), bool | Unreadable)
    if isinstance(count, int):
        assert number == count
        assert 0 <= count <= IMPRESSIONS_MAX
    elif isinstance(number, Fraction):
        assert number.denominator != 1 or not 0 <= number <= IMPRESSIONS_MAX


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_is_read_by_its_shortest_text(value: float) -> None:
    number = parse_number(value)

    assert number == Fraction(repr(value))
    assert isinstance(number, Fraction)
    assert float(number) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**18), max_value=10**18, places=9))
def test_text_and_decimal_of_the_same_number_are_the_same(value: Decimal) -> None:
    assert parse_number(f"{value:f}") == parse_number(value) == Fraction(value)
