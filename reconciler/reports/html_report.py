"""The report as one page: a file of its own, that needs no network, no script and no other file.

It is drawn from data alone, the JSON document and the rows of breaks, so it can be drawn again from stored files.
Every text may have come from a document that strangers edit: the template escapes all of it, without exception, and
the page forbids itself everything but its own style.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from reconciler.domain.breaks import BreakStatus
from reconciler.look import STYLES
from reconciler.look import text as html_text
from reconciler.reports.break_rows import acknowledge_command, age_text, next_command
from reconciler.reports.charts import Bar, stacked_bars, waterfall
from reconciler.reports.paid_days import paid_series
from reconciler.reports.verdict import verdict_of

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
    ("under a day", 86_400),
    ("1 to 7 days", 7 * 86_400),
    ("7 to 30 days", 30 * 86_400),
    ("30 to 90 days", 90 * 86_400),
    ("over 90 days", None),
)
"""Each up to so many seconds."""
_TABLES = (
    (BreakStatus.OPEN, "Open breaks", "Each of these waits for somebody. The worst come first."),
    (BreakStatus.ACKNOWLEDGED, "Acknowledged", "Known, with a name and a reason; they do not count as open."),
    (BreakStatus.REPAIRED, "Repaired by this check", "Nothing is left to do about these."),
    (
        BreakStatus.INFO,
        "For information",
        "Nothing is wrong with these; they are told so that nothing happens in silence.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakTable:
    """The breaks of one status: the first ``rows`` of ``count``."""

    status: BreakStatus
    title: str
    intro: str
    count: int
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """A table with a drawn column. ``tones`` says what the colours mean: (tone, name), of those that occur."""

    bars: Sequence[Bar]
    tones: Sequence[tuple[str, str]]


def render_html(document: Mapping[str, Any], breaks: Sequence[Mapping[str, Any]], *, rows_max: int = ROWS_MAX) -> str:
    """The page of a report. ``document`` is the JSON report, ``breaks`` all its rows, as docs/report.md has them."""
    zone = html_text.zone_of(document["timezone"])
    statuses = Counter(row["status"] for row in breaks)
    open_by_severity = Counter(row["severity"] for row in breaks if row["status"] == BreakStatus.OPEN)
    context: dict[str, Any] = {
        "document": document,
        "verdict": verdict_of(document, open_by_severity),
        "completeness": _completeness(document["completeness"]),
        "kinds": _by_kind(breaks),
        "ages": _by_age(breaks),
        "paid": paid_series(document["paid_by_day"]),
        "titles": {row["campaign_id"]: row["title"] for row in document["waiting"]["accrued"] if row["title"]},
        "waiting": document["waiting"],
        "waiting_rows_max": _WAITING_ROWS_MAX,
        "tables": [_table(breaks, *one, rows_max=rows_max) for one in _TABLES],
        "counts": {status: statuses[status] for status in BreakStatus},
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


def _completeness(parts: Mapping[str, int]) -> BarChart:
    rows = [(label, tone, parts[name]) for name, label, tone in _PARTS]
    return BarChart(bars=waterfall(rows, parts["participations"]), tones=())


def _by_kind(breaks: Sequence[Mapping[str, Any]]) -> BarChart:
    """Breaks of each kind, the most first, those that are still open in the colour of their severity."""
    kinds = Counter(row["kind"] for row in breaks)
    sizes = Counter((row["kind"], _tone(row)) for row in breaks)
    ordered = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
    return BarChart(
        bars=stacked_bars([(html_text.words(kind), _segments(sizes, kind)) for kind in ordered]), tones=_legend(breaks)
    )


def _by_age(breaks: Sequence[Mapping[str, Any]]) -> BarChart:
    """Breaks that are open or acknowledged, by the time since a check first saw them."""
    waits = [row for row in breaks if row["status"] in (BreakStatus.OPEN, BreakStatus.ACKNOWLEDGED)]
    sizes = Counter((_age_group(row["age_s"]), _tone(row)) for row in waits)
    rows = [(label, _segments(sizes, label)) for label, _ in _AGES]
    return BarChart(bars=stacked_bars(rows) if waits else [], tones=_legend(waits))


def _age_group(age_s: int) -> str:
    return next(label for label, until in _AGES if until is None or age_s < until)


def _tone(row: Mapping[str, Any]) -> str:
    by_status = {BreakStatus.ACKNOWLEDGED.value: "calm", BreakStatus.REPAIRED.value: "good"}
    return by_status.get(row["status"], dict(_SEVERITIES).get(row["severity"], "idle"))


def _segments(sizes: Mapping[tuple[str, str], int], row: str) -> list[tuple[str, int]]:
    order = [tone for _, tone in _SEVERITIES[:-1]] + ["calm", "good", "idle"]
    return [(tone, sizes.get((row, tone), 0)) for tone in order]


def _legend(breaks: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    names = {"critical": "critical", "bad": "error", "warn": "warning", "calm": "acknowledged", "good": "repaired"}
    used = {_tone(row) for row in breaks}
    return [(tone, name) for tone, name in {**names, "idle": "information"}.items() if tone in used]


def _table(
    breaks: Sequence[Mapping[str, Any]], status: BreakStatus, title: str, intro: str, *, rows_max: int
) -> BreakTable:
    found = [row for row in breaks if row["status"] == status]
    return BreakTable(
        status=status, title=title, intro=intro, count=len(found), rows=[_shown(row) for row in found[:rows_max]]
    )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "tone": dict(_SEVERITIES).get(row["severity"], "idle"),
        "age": age_text(row["age_s"]) if row["age_s"] else "new",
        "command": None if row["status"] == BreakStatus.REPAIRED else next_command(row),
        "acknowledge": acknowledge_command(row),
    }
