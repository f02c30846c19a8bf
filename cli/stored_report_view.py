"""A report from disk on a terminal: the verdict in one line, then the numbers, then the first breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli import render
from cli.tables import one_line
from reconciler.domain.money import format_minor, minor_digits
from reconciler.reports.stored import StoredReport

_AMOUNTS = ("expected", "paid", "held", "reversed", "refunded", "difference", "explained", "unexplained")


def show(found: StoredReport, breaks_max: int) -> None:
    """All that fits a screen or two. The files of the report have the rest."""
    document = found.document
    what = "" if found.is_whole else ", one campaign only"
    rehearsed = ", dry run: nothing was repaired" if document["dry_run"] else ""
    render.facts(
        f"{one_line(str(document['verdict'])).upper()}: report {one_line(found.report_id)}{what}{rehearsed}",
        [
            ("began", one_line(str(document["started_at"]))),
            ("ended", one_line(str(document["finished_at"]))),
            *((f"repaired: {name}", str(found.count("repairs", name))) for name in document["repairs"]),
            *((f"breaks {name}", str(found.count("carried", name))) for name in document["carried"]),
        ],
    )
    render.facts("Completeness", [(one_line(name), str(value)) for name, value in document["completeness"].items()])
    for total in document["totals"]:
        render.facts(f"Control totals {one_line(str(total.get('currency')))}", _amounts(total))
    kinds = [(one_line(kind), str(count)) for kind, count in document["breaks_by_kind"].items()]
    render.facts("Breaks by kind", kinds or [("none", "")])
    shown = document["breaks"][:breaks_max]
    if shown:
        render.facts("Breaks, the worst first", [(_name(one), _sentence(one)) for one in shown])
    rest = sum(value for value in document["breaks_by_kind"].values() if type(value) is int) - len(shown)
    render.facts("Files", [("report", str(found.path)), *([("more breaks in it", str(rest))] if rest > 0 else [])])


def _amounts(total: Mapping[str, Any]) -> list[tuple[str, str]]:
    currency = str(total.get("currency"))
    values = {name: total.get(f"{name}_minor") for name in _AMOUNTS}
    known = minor_digits(currency) is not None
    return [
        (name, format_minor(value, currency) if known else str(value))
        for name, value in values.items()
        if type(value) is int
    ]


def _name(row: Mapping[str, Any]) -> str:
    return one_line(str(row.get("break_id") or row.get("severity") or ""))


def _sentence(row: Mapping[str, Any]) -> str:
    whose = row.get("participation_id") or row.get("campaign_id") or ""
    status = str(row.get("status") or "")
    said = f" by {row['acknowledged_by']}: {row['acknowledged_reason']}" if row.get("acknowledged_by") else ""
    words = (str(row.get("severity")), str(row.get("kind")), str(row.get("reason") or ""), str(whose), status + said)
    return one_line(" ".join(word for word in words if word))
