"""The geometry of charts: numbers → percentages of a drawing, which a template draws as inline SVG.

Percentages, because then the drawing takes the width of the page while its text keeps its size: the same chart is
read on a desk, on a phone and on paper. They are floats; nothing of them is ever an amount again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SERIES_MAX = 6
"""Series that have a colour of their own; a person distinguishes no more. The last is all others."""
_COLUMN_SHARE = 0.72
_COLUMN_WIDTH_MAX = 6.0
_LABELS_MAX = 4
_VISIBLE_MIN = 0.6
"""Per cent of the width: a count of one stays visible beside a million."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a bar or column: ``start`` and ``size`` in per cent of the drawing. ``tone`` names its colour."""

    tone: str
    start: float
    size: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of a bar chart; the table around it has the label and the number."""

    label: str
    count: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnStack:
    """One column of a column chart: ``left`` and ``width`` in per cent, of the day with this ``number``."""

    number: int
    left: float
    width: float
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark on an axis. ``anchor`` keeps the outermost texts within the drawing."""

    at: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChart:
    """Stacked columns over days, with both axes."""

    columns: tuple[ColumnStack, ...]
    days: tuple[Tick, ...]
    amounts: tuple[tuple[float, int], ...]
    """(per cent from above, amount in minor units), of each line across."""


def stacked_bars(rows: Sequence[tuple[str, Sequence[tuple[str, int]]]]) -> list[Bar]:
    """(label, (tone, count) …) a row → bars that all start at the left; the longest fills the width."""
    longest = max((sum(count for _, count in parts) for _, parts in rows), default=0) or 1
    bars = []
    for label, parts in rows:
        start, segments = 0.0, []
        for tone, count in parts:
            if count > 0:
                size = max(100 * count / longest, _VISIBLE_MIN)
                size = min(size, 100 - start)
                segments.append(Segment(tone=tone, start=_near(start), size=_near(size)))
                start += size
        bars.append(Bar(label=label, count=sum(count for _, count in parts), segments=tuple(segments)))
    return bars


def waterfall(parts: Sequence[tuple[str, str, int]], whole: int) -> list[Bar]:
    """(label, tone, count) → bars of which each starts where the one above ended: together they fill the whole."""
    bars, before = [], 0
    for label, tone, count in parts:
        size = 100 * count / whole if whole else 0.0
        if count > 0:
            size = max(size, _VISIBLE_MIN)
        start = min(100 * before / whole if whole else 0.0, 100 - size)
        segments = (Segment(tone=tone, start=_near(start), size=_near(size)),) if count > 0 else ()
        bars.append(Bar(label=label, count=count, segments=segments))
        before += count
    return bars


def column_chart(days: Sequence[str], series: Sequence[Sequence[int]], tones: Sequence[str]) -> ColumnChart:
    """One list of amounts and one tone a series, one amount a day.

    What is below zero (more reversed than paid) is drawn as none.
    """
    highest = max((sum(max(one[day], 0) for one in series) for day in range(len(days))), default=0)
    lines = _round_lines(highest)
    top = lines[-1] or 1
    slot = 100 / max(len(days), 1)
    width = min(slot * _COLUMN_SHARE, _COLUMN_WIDTH_MAX)
    columns = []
    for day in range(len(days)):
        below, segments = 0.0, []
        for tone, one in zip(tones, series, strict=True):
            size = 100 * max(one[day], 0) / top
            if size > 0:
                segments.append(Segment(tone=tone, start=_near(100 - below - size), size=_near(size)))
            below += size
        left = slot * day + (slot - width) / 2
        columns.append(ColumnStack(number=day, left=_near(left), width=_near(width), segments=tuple(segments)))
    return ColumnChart(
        columns=tuple(columns),
        days=_day_ticks(days, slot),
        amounts=tuple((_near(100 - 100 * line / top), line) for line in lines),
    )


def largest(totals: Mapping[str, int]) -> list[str]:
    """The names that have a colour of their own, the largest first; what is not named is for ``all others``."""
    named = sorted((name for name in totals if name), key=lambda name: (-totals[name], name))
    others = len(named) > SERIES_MAX or "" in totals
    return named[: SERIES_MAX - 1] if others else named


def _round_lines(highest: int) -> list[int]:
    """Round amounts from 0 to at least ``highest``, two to five steps, in whole minor units."""
    if highest <= 0:
        return [0]
    step = 1
    while step * 5 < highest:
        # 1, 2, 5, 10, 20, 50 …
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return [step * number for number in range(-(-highest // step) + 1)]


def _day_ticks(days: Sequence[str], slot: float) -> tuple[Tick, ...]:
    count = len(days)
    if count == 0:
        return ()
    every = max(1, -(-count // _LABELS_MAX))
    # The newest day always has its name, so they are counted from the end.
    numbers = sorted(range(count - 1, -1, -every))
    return tuple(
        Tick(at=_near(slot * (number + 0.5)), text=days[number], anchor=_anchor(number, count)) for number in numbers
    )


def _anchor(number: int, count: int) -> str:
    if count <= _LABELS_MAX:
        return "middle"
    return "start" if number == 0 else "end" if number == count - 1 else "middle"


def _near(percent: float) -> float:
    return round(percent, 3)
