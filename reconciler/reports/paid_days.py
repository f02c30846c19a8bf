"""What was paid each day, campaign by campaign: the series of a chart a currency, and the same numbers as a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from reconciler.reports.charts import SERIES_MAX, ColumnChart, column_chart, largest

_DAYS_MAX = 92
"""Columns of days that a chart holds; a longer time is shown by months."""
OTHERS = ""
"""In place of a campaign's identity: all those that are not named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidDay:
    """One line of the table under the chart: a day, or a month of a long time. Amounts in minor units."""

    day: str
    payouts: int
    gross_minor: int
    fee_minor: int
    amount_minor: int
    reversed_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidSeries:
    """One currency. ``campaigns``: identity of each series in the chart's order; OTHERS stands for the rest.

    ``tones`` names their colours: that of OTHERS is the grey one, unless it stands for everybody.
    """

    currency: str
    by_month: bool
    campaigns: tuple[str, ...]
    tones: tuple[str, ...]
    campaign_minor: tuple[int, ...]
    chart: ColumnChart
    days: tuple[PaidDay, ...]
    total: PaidDay


def paid_series(rows: Sequence[Mapping[str, Any]]) -> list[PaidSeries]:
    """``paid_by_day`` of a report → one series of columns a currency, days without a payment among them."""
    by_currency: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_currency[str(row.get("currency", ""))].append(row)
    days = [date.fromisoformat(str(row["day"])) for row in rows]
    # One time for all currencies, so that their charts can be laid above one another.
    return [_of_currency(currency, found, min(days), max(days)) for currency, found in sorted(by_currency.items())]


def _of_currency(currency: str, rows: Sequence[Mapping[str, Any]], first: date, last: date) -> PaidSeries:
    by_month = (last - first).days >= _DAYS_MAX
    periods = _months(first, last) if by_month else _days(first, last)
    totals: dict[str, int] = defaultdict(int)
    for row in rows:
        totals[str(row.get("campaign_id") or OTHERS)] += int(row["gross_minor"])
    named = largest(totals)
    campaigns = (*named, OTHERS) if len(named) < len(totals) else tuple(named)
    tones = tuple(
        f"series-{SERIES_MAX if campaign == OTHERS and named else number + 1}"
        for number, campaign in enumerate(campaigns)
    )
    cells: dict[tuple[str, str], int] = defaultdict(int)
    lines = {period: [0, 0, 0, 0, 0] for period in periods}
    for row in rows:
        day = date.fromisoformat(str(row["day"]))
        period = day.strftime("%Y-%m") if by_month else day.isoformat()
        campaign = str(row.get("campaign_id") or OTHERS)
        cells[campaign if campaign in named else OTHERS, period] += int(row["gross_minor"])
        for number, name in enumerate(("payouts", "gross_minor", "fee_minor", "amount_minor", "reversed_minor")):
            lines[period][number] += int(row.get(name) or 0)
    paid_days = tuple(_line(period, lines[period]) for period in periods)
    return PaidSeries(
        currency=currency,
        by_month=by_month,
        campaigns=campaigns,
        tones=tones,
        campaign_minor=tuple(sum(cells[campaign, period] for period in periods) for campaign in campaigns),
        chart=column_chart(
            [_short(period) for period in periods],
            [[cells[campaign, period] for period in periods] for campaign in campaigns],
            tones,
        ),
        days=paid_days,
        total=_line("", [sum(lines[period][number] for period in periods) for number in range(5)]),
    )


def _line(period: str, sums: Sequence[int]) -> PaidDay:
    payouts, gross_minor, fee_minor, amount_minor, reversed_minor = sums
    return PaidDay(
        day=period,
        payouts=payouts,
        gross_minor=gross_minor,
        fee_minor=fee_minor,
        amount_minor=amount_minor,
        reversed_minor=reversed_minor,
    )


def _days(first: date, last: date) -> list[str]:
    return [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]


def _months(first: date, last: date) -> list[str]:
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in numbers]


def _short(period: str) -> str:
    """``2026-11-05`` → ``5 Nov``; ``2026-11`` → ``Nov 2026``."""
    if len(period) == len("2026-11"):
        return date.fromisoformat(f"{period}-01").strftime("%b %Y")
    day = date.fromisoformat(period)
    return f"{day.day} {day:%b}"
