"""Whole minor units of a currency's own size, one rounding, and no binary float in between."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.money import (
    AMOUNT_MINOR_MAX,
    format_minor,
    format_rate,
    minor_digits,
    minor_per_major,
    parse_amount_minor,
    parse_currency,
    parse_rate,
    round_half_up,
)
from reconciler.domain.parsing import Unreadable
from tests.support.values import AWKWARD, bson_values

CURRENCIES = ("JPY", "INR", "KWD", "CLF")
"""With 0, 2, 3 and 4 decimal places."""

NO_MINOR_UNIT = {code: Unreadable(f"is no whole number of minor units of {code}") for code in CURRENCIES}
TOO_MUCH = Unreadable("is more than 2^53 minor units")


@pytest.mark.parametrize(
    ("currency", "digits"),
    [
        ("INR", 2),
        ("JPY", 0),
        ("ISK", 0),
        ("KWD", 3),
        ("BHD", 3),
        ("IQD", 3),  # babel says 0
        ("RSD", 2),  # babel says 0
        ("CLF", 4),
        ("UYW", 4),
        ("XAU", None),
        ("XTS", None),
        ("inr", None),
        ("XYZ", None),
        ("", None),
    ],
)
def test_minor_units_are_those_of_iso_4217(currency: str, digits: int | None) -> None:
    assert minor_digits(currency) == digits


def test_a_currency_without_a_minor_unit_has_no_scale() -> None:
    assert [minor_per_major(currency) for currency in CURRENCIES] == [1, 100, 1_000, 10_000]
    with pytest.raises(ValueError, match="'XAU' is not a currency of ISO 4217 with a minor unit"):
        minor_per_major("XAU")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "INR"),
        ("USD", "USD"),
        ("", Unreadable("is not a currency code of ISO 4217")),
        ("usd", Unreadable("is not a currency code of ISO 4217")),
        (" USD", Unreadable("is not a currency code of ISO 4217")),
        ("XXX", Unreadable("is not a currency code of ISO 4217")),
        ("₹", Unreadable("is not a currency code of ISO 4217")),
        ("USD" * 5_000, Unreadable("is not a currency code of ISO 4217")),
        (356, Unreadable("is a int, not a currency code")),
        (True, Unreadable("is a bool, not a currency code")),
        (["INR"], Unreadable("is a list, not a currency code")),
        (b"INR", Unreadable("is a bytes, not a currency code")),
    ],
)
def test_a_currency_is_a_code_or_left_to_the_configuration(value: object, expected: object) -> None:
    assert parse_currency(value, "INR") == expected


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (Fraction(0), 0),
        (Fraction(49, 100), 0),
        (Fraction(1, 2), 1),
        (Fraction(3, 2), 2),
        (Fraction(5, 2), 3),  # half-even would say 2
        (Fraction(249999999999999999, 10**17), 2),
        (Fraction(-1, 2), 0),  # upwards is towards plus infinity
        (Fraction(-3, 2), -1),
        (Fraction(-151, 100), -2),
    ],
)
def test_halves_are_rounded_upwards(amount: Fraction, expected: int) -> None:
    assert round_half_up(amount) == expected


@pytest.mark.parametrize(
    ("value", "currency", "expected"),
    [
        (3300, "INR", 330_000),
        (1650.5, "INR", 165_050),
        (3299.9999999999995, "INR", 330_000),
        (3300.0000000000005, "INR", 330_000),
        ("3300.00", "INR", 330_000),
        (Decimal("3300.000000"), "INR", 330_000),
        (0.1 + 0.2, "INR", 30),
        (0, "INR", 0),
        (-0.0, "INR", 0),
        (-12.34, "INR", -1_234),
        ("0.010001", "INR", 1),  # 10^-6 of a major unit away: just forgiven
        ("0.009999", "INR", 1),
        ("0.0100010001", "INR", NO_MINOR_UNIT["INR"]),
        ("0.0099989999", "INR", NO_MINOR_UNIT["INR"]),
        ("0.005", "INR", NO_MINOR_UNIT["INR"]),
        (5e-324, "INR", 0),
        (3300, "JPY", 3_300),
        (3299.9999999999995, "JPY", 3_300),
        (3300.5, "JPY", NO_MINOR_UNIT["JPY"]),
        (1.234, "KWD", 1_234),
        (1.2345, "KWD", NO_MINOR_UNIT["KWD"]),
        (1.2345, "CLF", 12_345),
        (1.23456, "CLF", NO_MINOR_UNIT["CLF"]),
        ("90071992547409.92", "INR", 2**53),
        ("-90071992547409.92", "INR", -(2**53)),
        ("90071992547409.93", "INR", TOO_MUCH),
        ("-90071992547409.93", "INR", TOO_MUCH),
        (2**53, "JPY", 2**53),
        (2**53 + 1, "JPY", TOO_MUCH),
        (1e300, "INR", TOO_MUCH),
        pytest.param(10**5_000, "INR", TOO_MUCH, id="5001 digits"),
        (None, "INR", Unreadable("is missing")),
        (True, "INR", Unreadable("is a boolean, not a number")),
        (float("nan"), "INR", Unreadable("is not a finite number")),
        ("₹3300", "INR", Unreadable("is text that is not a plain decimal number")),
    ],
)
def test_an_amount_is_whole_minor_units_or_refused(value: object, currency: str, expected: object) -> None:
    assert parse_amount_minor(value, currency) == expected


@pytest.mark.parametrize(
    ("value", "currency", "expected"),
    [
        (1650, "INR", Fraction(1650)),
        (0.005, "INR", Fraction(1, 200)),  # finer than a minor unit
        ("0.123456789", "JPY", Fraction(123456789, 10**9)),
        ("0.1234567894", "INR", Fraction(123456789, 10**9)),
        ("0.1234567895", "INR", Fraction(123456790, 10**9)),
        (1649.9999999999998, "INR", Fraction(1650)),
        ("0.0000000004", "INR", Fraction(0)),
        (-1, "INR", Fraction(-1)),
        ("90071992547409.92", "INR", Fraction(9007199254740992, 100)),
        ("90071992547409.93", "INR", TOO_MUCH),
        ("-90071992547409.93", "INR", TOO_MUCH),
        (2**53, "JPY", Fraction(2**53)),
        (2**53, "CLF", TOO_MUCH),
        ([], "INR", Unreadable("is a list, not a number")),
    ],
)
def test_a_rate_is_read_to_nine_decimals(value: object, currency: str, expected: object) -> None:
    assert parse_rate(value, currency) == expected


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (330_000, "INR", "3300.00"),
        (5, "INR", "0.05"),
        (-5, "INR", "-0.05"),
        (-330_001, "INR", "-3300.01"),
        (0, "INR", "0.00"),
        (3_300, "JPY", "3300"),
        (-7, "JPY", "-7"),
        (1_005, "KWD", "1.005"),
        (1, "CLF", "0.0001"),
    ],
)
def test_an_amount_is_shown_with_all_its_places(amount_minor: int, currency: str, text: str) -> None:
    assert format_minor(amount_minor, currency) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (Fraction(1650), "1650"),
        (Fraction(100), "100"),
        (Fraction(3301, 2), "1650.5"),
        (Fraction(1, 10**9), "0.000000001"),
        (Fraction(0), "0"),
    ],
)
def test_a_rate_is_shown_exactly_and_without_trailing_zeros(rate: Fraction, text: str) -> None:
    assert format_rate(rate) == text


@given(st.decimals(min_value=0, max_value=2**53, allow_nan=False, allow_infinity=False))
def test_rounding_agrees_with_decimal(amount: Decimal) -> None:
    with localcontext() as context:
        context.prec = 400
        expected = amount.quantize(Decimal(1), rounding=ROUND_HALF_UP)

    assert round_half_up(Fraction(amount)) == expected


@given(st.integers(min_value=0, max_value=2**53), st.sampled_from([1, 2, 4, 5, 8, 10, 1000]))
def test_rounding_agrees_with_decimal_near_halves(numerator: int, denominator: int) -> None:
    expected = (Decimal(numerator) / denominator).quantize(Decimal(1), rounding=ROUND_HALF_UP)

    assert round_half_up(Fraction(numerator, denominator)) == expected


@given(st.integers(-AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX), st.sampled_from(CURRENCIES))
def test_an_amount_reads_back_as_itself(amount_minor: int, currency: str) -> None:
    assert parse_amount_minor(format_minor(amount_minor, currency), currency) == amount_minor


@given(st.integers(0, 10**13), st.sampled_from(CURRENCIES))
def test_an_amount_kept_as_a_double_reads_back_as_itself(amount_minor: int, currency: str) -> None:
    assert parse_amount_minor(float(format_minor(amount_minor, currency)), currency) == amount_minor


@given(st.integers(0, 10**15))
def test_a_rate_reads_back_as_itself(billionths: int) -> None:
    rate = Fraction(billionths, 10**9)

    assert parse_rate(format_rate(rate), "INR") == rate


@pytest.mark.parametrize("currency", CURRENCIES)
@pytest.mark.parametrize("value", AWKWARD, ids=lambda value: repr(value)[:40])
def test_every_awkward_value_gets_an_answer(value: object, currency: str) -> None:
    assert isinstance(parse_amount_minor(value, currency), int | Unreadable)
    assert isinstance(parse_rate(value, currency), Fraction | Unreadable)


@given(bson_values(), st.sampled_from(CURRENCIES))
def test_no_value_makes_reading_money_raise(value: object, currency: str) -> None:
    amount_minor, rate = parse_amount_minor(value, currency), parse_rate(value, currency)

    assert isinstance(parse_currency(value, currency), str | Unreadable)
    if isinstance(amount_minor, int):
        assert abs(amount_minor) <= AMOUNT_MINOR_MAX
    if isinstance(rate, Fraction):
        assert abs(rate) * minor_per_major(currency) <= AMOUNT_MINOR_MAX
