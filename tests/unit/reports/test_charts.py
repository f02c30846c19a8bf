"""The geometry of charts: what is drawn stands for the numbers, and nothing leaves the drawing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.reports.charts import SERIES_MAX, column_chart, largest, stacked_bars, waterfall
from reconciler.reports.paid_days import OTHERS, paid_series

COUNTS = st.lists(st.integers(min_value=0, max_value=10**9), min_size=1, max_size=8)


def test_the_longest_bar_fills_the_width_and_the_others_follow() -> None:
    long, short = stacked_bars([("long", [("bad", 30), ("warn", 10)]), ("short", [("bad", 0), ("warn", 20)])])

    assert [(one.tone, one.start, one.size) for one in long.segments] == [("bad", 0, 75), ("warn", 75, 25)]
    assert [(one.tone, one.start, one.size) for one in short.segments] == [("warn", 0, 50)]
    assert (long.count, short.count) == (40, 20)


def test_each_bar_of_a_waterfall_starts_where_the_one_above_ended() -> None:
    bars = waterfall([("a", "good", 60), ("b", "warn", 0), ("c", "bad", 40)], 100)

    assert [[(one.start, one.size) for one in bar.segments] for bar in bars] == [[(0, 60)], [], [(60, 40)]]


@given(COUNTS)
def test_nothing_leaves_the_drawing_and_one_of_a_million_is_seen(counts: list[int]) -> None:
    rows = [(str(number), "good", count) for number, count in enumerate(counts)]
    for bars in (waterfall(rows, sum(counts)), stacked_bars([(label, [(tone, count)]) for label, tone, count in rows])):
        for bar, count in zip(bars, counts, strict=True):
            assert len(bar.segments) == (count > 0)
            for one in bar.segments:
                assert one.start >= 0
                assert one.size > 0.5
                assert one.start + one.size <= 100.01


@given(st.lists(COUNTS, min_size=1, max_size=3), st.integers(min_value=1, max_value=40))
def test_columns_stack_within_round_lines(series: list[list[int]], days: int) -> None:
    series = [(one * days)[:days] for one in series]
    names = [str(day) for day in range(days)]

    chart = column_chart(names, series, ["series-1"] * len(series))

    top = chart.amounts[-1][1]
    assert top >= max(sum(one[day] for one in series) for day in range(days))
    assert len(chart.amounts) <= 6
    for day, column in enumerate(chart.columns):
        drawn = sum(one.size for one in column.segments)
        assert drawn == pytest.approx(100 * sum(one[day] for one in series) / (top or 1), abs=0.01)
        ground = 100.0
        for part in column.segments:
            assert part.start + part.size == pytest.approx(ground, abs=0.01)
            ground = part.start
        assert column.left >= 0
        assert column.left + column.width <= 100.01
    assert chart.days[-1].text == names[-1]
    assert len(chart.days) <= 4


def test_lines_are_round_amounts() -> None:
    lines = [
        [line for _, line in column_chart(["x"], [[highest]], ["series-1"]).amounts] for highest in (0, 3, 37_000, 110)
    ]

    assert lines == [[0], [0, 1, 2, 3], [0, 10_000, 20_000, 30_000, 40_000], [0, 50, 100, 150]]


def test_only_so_many_campaigns_have_a_colour() -> None:
    many = {f"c{number}": number for number in range(9)}

    assert largest(many) == ["c8", "c7", "c6", "c5", "c4"]
    assert largest({"a": 1, "b": 2}) == ["b", "a"]
    assert len(largest({**{f"c{number}": 1 for number in range(SERIES_MAX)}, OTHERS: 1})) == SERIES_MAX - 1


def paid(day: str, campaign: str, gross_minor: int, **changes: object) -> dict[str, object]:
    return {
        "day": day, "campaign_id": campaign, "currency": "INR", "payouts": 1, "gross_minor": gross_minor,
        "fee_minor": 0, "amount_minor": gross_minor, "reversed_minor": 0,
    } | changes  # fmt: skip


def test_days_without_a_payment_are_days_too() -> None:
    [one] = paid_series([paid("2026-02-27", "a", 5), paid("2026-03-02", "", 7, reversed_minor=2)])

    assert [(day.day, day.gross_minor) for day in one.days] == [
        ("2026-02-27", 5), ("2026-02-28", 0), ("2026-03-01", 0), ("2026-03-02", 7)
    ]  # fmt: skip
    assert (one.campaigns, one.campaign_minor) == (("a", OTHERS), (5, 7))
    assert one.tones == ("series-1", "series-6")
    assert paid_series([paid("2026-02-27", "", 5)])[0].tones == ("series-1",)
    assert (one.total.payouts, one.total.gross_minor, one.total.reversed_minor) == (2, 12, 2)


def test_a_long_time_is_told_by_months() -> None:
    [one] = paid_series([paid("2025-11-30", "a", 5), paid("2026-02-01", "a", 7), paid("2026-03-02", "a", 1)])

    assert one.by_month
    assert [(day.day, day.gross_minor) for day in one.days] == [
        ("2025-11", 5), ("2025-12", 0), ("2026-01", 0), ("2026-02", 7), ("2026-03", 1)
    ]  # fmt: skip


def test_currencies_share_their_time() -> None:
    first, second = paid_series([paid("2026-03-01", "a", 5), paid("2026-03-03", "a", 7, currency="JPY")])

    assert [day.day for day in first.days] == [day.day for day in second.days]
