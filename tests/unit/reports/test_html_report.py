"""The page of a report, as markup: what it says, and that nothing from a document becomes markup."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from reconciler.look.text import local, moment, money, round_money, share, visible, zone_of
from reconciler.reports.html_report import render_html
from tests.support import report_documents as reports
from tests.support.report_documents import HOSTILE, SampleReport

_VOID = {"meta", "rect", "line", "br", "img", "link", "input"}
_OF_THE_PAGE = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "nav", "section", "div", "span",
    "p", "h1", "h2", "h3", "ul", "li", "a", "b", "br", "code", "bdi", "dl", "dt", "dd", "table", "caption", "thead",
    "tbody", "tfoot", "tr", "th", "td", "figure", "figcaption", "details", "summary", "svg", "g", "rect", "line",
    "text", "desc",
}  # fmt: skip


class Page(HTMLParser):
    """A page's elements, their attributes, its text, and the cells of its tables by caption."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.elements if "id" in attributes]


def page_of(report: SampleReport, **options: Any) -> Page:
    return Page(render_html(report.document, report.rows, **options))


CASES = [reports.clean, reports.eventful, reports.halted, reports.hostile]


@pytest.mark.parametrize("case", CASES)
def test_a_page_is_well_formed_and_brings_only_its_own_elements(case: Callable[[], SampleReport]) -> None:
    page = page_of(case())

    assert page.open == []
    assert {tag for tag, _ in page.elements} <= _OF_THE_PAGE
    assert len(page.ids()) == len(set(page.ids()))
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert set((attributes.get("aria-labelledby") or "").split()) <= set(page.ids())
        assert (attributes.get("href") or "./").startswith(("./", "#"))


def test_hostile_text_is_text_wherever_it_comes_from() -> None:
    page = page_of(reports.hostile())

    seen = " ".join(visible(HOSTILE).split())
    # Six texts a row, and the document's own.
    assert page.words.count(seen) > 6 * 20
    assert "\u202e" not in page.words
    assert "{{ 7*7 }}" in page.words
    assert all(HOSTILE not in (value or "") for _, attributes in page.elements for value in attributes.values())


def test_a_page_forbids_itself_everything_but_its_style() -> None:
    [policy] = [
        one["content"] for tag, one in page_of(reports.clean()).elements if tag == "meta" and "http-equiv" in one
    ]

    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")


def test_the_verdict_is_one_sentence() -> None:
    assert "Everything is in order: 0 participations checked, and nothing is open." in page_of(reports.clean()).words
    assert (
        "33 breaks are open among 19,970 participations: 8 errors and 25 warnings." in page_of(reports.eventful()).words
    )
    halted = page_of(reports.halted()).words
    assert "Paying must stop: the ledger contradicts itself (2 critical breaks)." in halted
    assert "python run.py resume --by NAME --reason TEXT" in halted
    repaired = reports.clean()
    repaired.document.update(verdict="repaired", repairs={"paid": 1, "projected": 2}, dry_run=True)
    words = page_of(repaired).words
    assert "1 participation paid and effects of 2 payouts applied again by this check" in words
    assert "This was a dry run" in words


def test_an_unexplained_difference_is_said_beside_the_verdict() -> None:
    assert "0.001 KWD of the difference is unexplained." in page_of(reports.eventful()).words


def test_each_break_stands_in_the_table_of_its_standing() -> None:
    report = reports.eventful()
    words = page_of(report).words
    begins = [words.index(title) for title in ("Open breaks 33", "Acknowledged 2", "Repaired by this check 5")]

    assert begins == sorted(begins)
    ends = [*begins[1:], len(words)]
    for row in report.rows:
        number = ["open", "acknowledged", "repaired"].index(row["status"])
        assert (row["participation_id"] or row["campaign_id"]) in words[begins[number] : ends[number]]
    assert "Acknowledged by Asha Rao : the brand confirmed the cut, ticket 4121" in words[begins[1] : begins[2]]


def test_a_break_has_both_amounts_the_difference_why_and_what_to_do() -> None:
    [row] = [
        row for row in reports.eventful().rows if row["kind"] == "amount_differs" and row["expected_minor"] == 330_000
    ]
    report = SampleReport(document=reports.clean().document, rows=[row])

    words = page_of(report).words

    assert "3,300.00 3,299.99 −0.01 INR 3299.99 was posted; its stored facts make 3300.00" in words
    assert f"python run.py explain {row['participation_id']}" in words
    assert f"python run.py breaks acknowledge {row['break_id']} --by NAME --reason TEXT" in words


def test_a_long_table_shows_its_first_rows_and_names_the_file_with_all() -> None:
    report = reports.eventful(200)

    page = page_of(report, rows_max=10)

    assert "The first 10 are shown; 20261126T023000Z-1f0c9a2b.csv , which lies beside this file, has all" in page.words
    assert sum(one.get("class") == "what" for tag, one in page.elements if tag == "th") == 10 * 3 + 3
    assert "./20261126T023000Z-1f0c9a2b.csv" in [one.get("href") for _, one in page.elements]


def test_money_in_waiting_and_history_are_told() -> None:
    words = page_of(reports.eventful()).words

    assert "INR 2,141,184.00 9,900.00 642.10" in words
    assert "Diwali drop: headsets" in words
    assert "INR 410 1,353,000.00" in words


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (None, "INR", ""),
        (0, "INR", "0.00"),
        (-123_456_789, "INR", "−1,234,567.89"),
        (1_234_567, "JPY", "1,234,567"),
        (1_234_567, "KWD", "1,234.567"),
        (2**60, "INR", "11,529,215,046,068,469.76"),
        (5, "", "5"),
    ],
)
def test_amounts_have_the_places_of_their_currency(amount_minor: int | None, currency: str, text: str) -> None:
    assert money(amount_minor, currency) == text


def test_small_texts() -> None:
    assert (round_money(500_000, "INR"), round_money(50, "INR")) == ("5,000", "0.50")
    assert [share(*one) for one in ((0, 0), (0, 5), (1, 3), (1, 10**6), (999_999, 10**6), (5, 5))] == [
        "", "0.0 %", "33.3 %", "< 0.1 %", "> 99.9 %", "100.0 %"
    ]  # fmt: skip
    assert zone_of("../../etc/passwd").key == zone_of(None).key == zone_of("Nowhere/Land").key == "UTC"
    assert local("no time", zone_of("UTC")) == "no time"
    assert local(None, zone_of("UTC")) == ""
    assert moment("2026-01-01T00:00:00", zone_of("Asia/Kolkata")) == moment("2026-01-01T00:00:00Z", zone_of("UTC"))


def test_drawing_needs_no_plotting_library() -> None:
    """matplotlib takes a second and forty megabytes, of every command of the program."""
    code = "import sys, cli.app; sys.exit('matplotlib' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
