"""The formats of a report, each as a function that writes it: one list, from which the writer makes files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import takewhile
from typing import Any, BinaryIO

from reconciler.reports.break_rows import BREAK_COLUMNS
from reconciler.reports.html_report import render_html
from reconciler.reports.model import Report
from reconciler.reports.payout_rows import PAYOUT_COLUMNS
from reconciler.reports.tables import Column, Columns, Kind, has_parquet, stream_parquet, value_of, write_csv

_CSV_COLUMNS = tuple(Column(one.name, Kind.COUNT if one.kind is Kind.AMOUNT else Kind.TEXT) for one in BREAK_COLUMNS)
"""Amounts in minor units alone, and times as the document has them."""

LINE_END = "\r\n"
"""Of all CSV files of a report, as RFC 4180 has it."""

Rendition = Callable[[BinaryIO], object]
"""Writes one file of a report."""

PayoutRows = Callable[[], Iterable[object]]
"""Streams the ledger's payouts in the order of posting, each with the fields of PAYOUT_COLUMNS."""


def renditions(report: Report, *, json_breaks_max: int, payouts: PayoutRows | None) -> Mapping[str, Rendition]:
    """Suffix → what writes this file of a report; JSON is last, because its presence says that the rest is there too.

    ``payouts``: nothing, and there is no file of them. A check of one campaign has none either: the list would be of
    all campaigns. Parquet needs a package of its own and is left out without it.
    """
    chosen: dict[str, Rendition] = {".csv": lambda file: _write_csv(report.break_rows(), _CSV_COLUMNS, file)}
    rows = payouts if report.is_whole else None
    if rows is not None:
        chosen[".payouts.csv"] = lambda file: _write_csv(_until(report, rows), PAYOUT_COLUMNS, file)
    if has_parquet():
        chosen[".parquet"] = lambda file: stream_parquet(_break_records(report), BREAK_COLUMNS, file)
        if rows is not None:
            chosen[".payouts.parquet"] = lambda file: stream_parquet(_until(report, rows), PAYOUT_COLUMNS, file)
    chosen[".html"] = lambda file: file.write(html_text(report).encode())
    chosen[".json"] = lambda file: file.write(json_text(report, json_breaks_max).encode())
    return chosen


def json_text(report: Report, breaks_max: int) -> str:
    """The JSON document, with the first ``breaks_max`` breaks."""
    return json.dumps(report.as_json(breaks_max), indent=2, ensure_ascii=False) + "\n"


def html_text(report: Report) -> str:
    """The page, with the first rows of each table."""
    return render_html(report.as_json(breaks_max=0), report.break_rows())


def _write_csv(rows: Iterable[object], columns: Columns, file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        write_csv(rows, columns, text, line_end=LINE_END)
    finally:
        # Whoever opened the file closes it.
        text.detach()


def _until(report: Report, payouts: PayoutRows) -> Iterator[object]:
    """The payouts that the ledger had where this report says it was: what was posted meanwhile is the next one's."""
    last = report.integrity.ledger_sequence
    return takewhile(lambda row: value_of(row, "sequence") <= last, payouts())


def _break_records(report: Report) -> Iterator[dict[str, Any]]:
    for row in report.break_rows():
        yield row | {"first_seen": datetime.fromisoformat(row["first_seen"])}
