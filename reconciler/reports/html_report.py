"""The report as one page: a file of its own, that needs no network, no script and no other file.

It is drawn from data alone, the JSON document and the rows of breaks, so it can be drawn again from stored files.
Every text may have come from a document that strangers edit: the template escapes all of it, without exception, and
the page forbids itself everything but its own style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from reconciler.look import STYLES
from reconciler.look import text as html_text
from reconciler.reports.break_rows import RowStatus, acknowledge_command, age_text, next_command, whole_frame
from reconciler.reports.charts import Bar, stacked_bars, waterfall
from reconciler.reports.paid_days import PaidSeries, paid_series, rows_of_payouts
from reconciler.reports.verdict import Verdict, verdict_of

ROWS_MAX = 1000
"""Rows of a table; a sentence then names the file that has all of them."""
_WAITING_ROWS_MAX = 100
_TEMPLATES = Path(__file__).parent / "templates"

_PARTS = (
    ("matched", "Paid and shown", "good"),
    ("settled_before_us", "Settled before us", "calm"),
    ("not_due", "Not due", "idle"),
    ("withheld", "Withheld", "idle"),
    ("in_flight", "In flight", "calm"),
    ("held", "Held", "warn"),
    ("broken", "Broken", "bad"),
    ("malformed", "Malformed", "bad"),
)
_SEVERITIES = (("critical", "critical"), ("error", "bad"), ("warning", "warn"), ("info", "idle"))
_AGES = (
    ("under a day", 0, 86_400),
    ("1 to 7 days", 86_400, 7 * 86_400),
    ("7 to 30 days", 7 * 86_400, 30 * 86_400),
    ("30 to 90 days", 30 * 86_400, 90 * 86_400),
    ("over 90 days", 90 * 86_400, None),
)
_TABLES = (
    (RowStatus.OPEN, "Open breaks", "Each of these waits for somebody. The worst come first."),
    (RowStatus.ACKNOWLEDGED, "Acknowledged", "Known, with a name and a reason; they do not count as open."),
    (RowStatus.REPAIRED, "Repaired by this check", "Nothing is left to do about these."),
    (
        RowStatus.INFO,
        "For information",
        "Nothing is wrong with these; they are told so that nothing happens in silence.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakTable:
    """The breaks of one standing: the first ``rows`` of ``count``."""

    standing: RowStatus
    title: str
    intro: str
    count: int
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """A table with a drawn column. ``tones`` says what the colours mean: (tone, name), of those that occur."""

    bars: Sequence[Bar]
    tones: Sequence[tuple[str, str]]


def render_html(
    document: Mapping[str, Any],
    breaks: pd.DataFrame,
    payouts: pd.DataFrame | None = None,
    *,
    rows_max: int = ROWS_MAX,
) -> str:
    """The page of a report.

    ``document`` is the JSON report, ``breaks`` all its breaks in the columns of docs/report.md, not guarded against
    spreadsheets. ``payouts``, in the columns of ``<report_id>.payouts.csv`` with ``created_at`` as times, serves
    documents that have no ``paid_by_day`` of their own.
    """
    frame = whole_frame(breaks)
    zone = html_text.zone_of(document.get("timezone"))
    standings = frame["status"].value_counts()
    counts = {standing: int(standings.get(standing.value, 0)) for standing in RowStatus}
    context: dict[str, Any] = {
        "document": document,
        "verdict": _verdict(document, frame),
        "completeness": _completeness(document.get("completeness") or {}),
        "kinds": _by_kind(frame),
        "ages": _by_age(frame),
        "paid": _paid(document, payouts),
        "titles": _titles(document),
        "waiting": document.get("waiting"),
        "waiting_rows_max": _WAITING_ROWS_MAX,
        "tables": [_table(frame, *one, rows_max=rows_max) for one in _TABLES],
        "counts": counts,
        "zone": zone,
    }
    return _environment().get_template("report.html.j2").render(context)


@cache
def _environment() -> jinja2.Environment:
    # StrictUndefined: a misspelt name in the template is an error, and not a hole in the page.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_TEMPLATES, STYLES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        money=html_text.money,
        round_money=html_text.round_money,
        count=html_text.count,
        words=html_text.words,
        visible=html_text.visible,
        local=html_text.local,
        age=age_text,
    )
    environment.globals.update(share=html_text.share, plural=html_text.plural)
    return environment


def _verdict(document: Mapping[str, Any], frame: pd.DataFrame) -> Verdict:
    is_open = frame["status"] == RowStatus.OPEN.value
    return verdict_of(document, frame.loc[is_open, "severity"].value_counts().to_dict())


def _completeness(parts: Mapping[str, Any]) -> BarChart:
    rows = [(label, tone, int(parts.get(name) or 0)) for name, label, tone in _PARTS]
    return BarChart(bars=waterfall(rows, int(parts.get("participations") or 0)), tones=())


def _by_kind(frame: pd.DataFrame) -> BarChart:
    """Breaks of each kind, the most first, those that are still open in the colour of their severity."""
    found = frame.assign(tone=_tones(frame)).groupby(["kind", "tone"]).size()
    kinds = frame["kind"].value_counts(sort=False)
    ordered = sorted(kinds.index, key=lambda kind: (-int(kinds[kind]), kind))
    rows = [(html_text.words(kind), _segments(found, kind)) for kind in ordered]
    return BarChart(bars=stacked_bars(rows), tones=_legend(frame))


def _by_age(frame: pd.DataFrame) -> BarChart:
    """Breaks that are open or acknowledged, by the time since a check first saw them."""
    waits = frame[frame["status"].isin([RowStatus.OPEN.value, RowStatus.ACKNOWLEDGED.value])]
    ages = waits["age_s"].fillna(0)
    rows = []
    for label, since, until in _AGES:
        found = waits[(ages >= since) & (ages < until if until is not None else True)]
        sizes = found.assign(tone=_tones(found), all="").groupby(["all", "tone"]).size()
        rows.append((label, _segments(sizes, "")))
    return BarChart(bars=stacked_bars(rows) if len(waits) else [], tones=_legend(waits))


def _tones(frame: pd.DataFrame) -> pd.Series[str]:
    tones = frame["severity"].map(dict(_SEVERITIES)).fillna("idle")
    return tones.mask(frame["status"] == RowStatus.ACKNOWLEDGED.value, "calm").mask(
        frame["status"] == RowStatus.REPAIRED.value, "good"
    )


def _segments(sizes: pd.Series[int], row: str) -> list[tuple[str, int]]:
    order = [tone for _, tone in _SEVERITIES[:-1]] + ["calm", "good", "idle"]
    return [(tone, int(sizes.get((row, tone), 0))) for tone in order]


def _legend(frame: pd.DataFrame) -> list[tuple[str, str]]:
    names = {"critical": "critical", "bad": "error", "warn": "warning", "calm": "acknowledged", "good": "repaired"}
    used = set(_tones(frame))
    return [(tone, name) for tone, name in {**names, "idle": "information"}.items() if tone in used]


def _paid(document: Mapping[str, Any], payouts: pd.DataFrame | None) -> list[PaidSeries]:
    rows = document.get("paid_by_day")
    if rows is None and payouts is not None:
        rows = rows_of_payouts(payouts, html_text.zone_of(document.get("timezone")))
    return paid_series(rows or [])


def _titles(document: Mapping[str, Any]) -> dict[str, str]:
    """Campaign → its title, where the report tells one."""
    accrued = (document.get("waiting") or {}).get("accrued") or []
    return {str(row.get("campaign_id")): str(row["title"]) for row in accrued if row.get("title")}


def _table(frame: pd.DataFrame, standing: RowStatus, title: str, intro: str, *, rows_max: int) -> BreakTable:
    found = frame[frame["status"] == standing.value]
    first = found.head(rows_max).astype(object)
    rows = first.where(first.notna(), None).to_dict("records")
    return BreakTable(
        standing=standing,
        title=title,
        intro=intro,
        count=len(found),
        rows=[_shown({str(name): value for name, value in row.items()}) for row in rows],
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    is_done = row["status"] == RowStatus.REPAIRED
    return row | {
        "tone": dict(_SEVERITIES).get(row["severity"], "idle"),
        "age": age_text(row["age_s"]) if row["age_s"] else "new",
        "command": None if is_done else next_command(row),
        "acknowledge": acknowledge_command(row),
    }
