"""The page of a report in a real browser, without a network: on a desk, on a phone, in the dark and on paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from reconciler.reports.html_report import render_html
from tests.support import report_documents as reports
from tests.support.contrast import POOR_CONTRAST
from tests.support.report_documents import SampleReport

Scheme = Literal["light", "dark"]

DESK, PHONE = 1280, 390
_HEIGHT = 900
CASES = [reports.clean, reports.eventful, reports.halted, reports.hostile]
_DRAWN_OUTSIDE = """[...document.querySelectorAll("svg rect, svg text, svg line")].filter(one => {
  const box = one.getBoundingClientRect();
  return box.right > innerWidth + 1 || box.left < -1;
}).length"""


@dataclass(frozen=True, slots=True)
class OpenPage:
    """Opens a report's page from a file, offline; at the end nothing was asked for, refused or complained about.

    ``refused``: directives of the page's policy that must have refused something instead.
    """

    browser: Browser
    file: Path

    @contextmanager
    def __call__(
        self, report: SampleReport, width: int = DESK, scheme: Scheme = "light", refused: Sequence[str] = ()
    ) -> Iterator[Page]:
        self.file.write_text(render_html(report.document, report.rows), encoding="utf-8")
        said: list[str] = []
        asked: list[str] = []
        context = self.browser.new_context(
            viewport={"width": width, "height": _HEIGHT}, color_scheme=scheme, offline=True
        )
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(self.file.as_uri())
        yield page
        context.close()
        assert all(any(directive in one for one in said) for directive in refused), said
        assert [one for one in said if not any(directive in one for directive in refused)] == []
        # What a page was refused, the browser tells as asked for too.
        assert asked == [self.file.as_uri()] or refused


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> OpenPage:
    return OpenPage(browser, tmp_path / "report.html")


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("case", CASES)
def test_a_page_fits_its_window_and_shows_the_verdict(
    open_page: OpenPage, case: Callable[[], SampleReport], width: int
) -> None:
    with open_page(case(), width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        box = page.locator("h1").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < _HEIGHT
        # Drawings too: what hangs out of the window is cut off, and no scroll bar tells.
        assert page.evaluate(_DRAWN_OUTSIDE) == 0


def test_hostile_text_makes_no_element_and_runs_nothing(open_page: OpenPage) -> None:
    with open_page(reports.hostile()) as page:
        assert page.locator("script, img, iframe, object, embed, link, form, input").count() == 0
        # Open, so that everything is laid out: the texts of breaks, of charts and of what waits.
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.get_by_text("<script>alert(2)</script>{{ 7*7 }}\ufffdevil").count() > 100
        assert page.evaluate("document.title").startswith("Breaks · reconciliation 2026")


def test_the_policy_of_the_page_is_in_force(open_page: OpenPage) -> None:
    """What got into the page all the same would still not run: shown with an element that we put there."""
    with open_page(reports.clean(), refused=["script-src", "img-src"]) as page:
        page.evaluate(
            """() => {
              const image = "<img src='http://127.0.0.1:9/x.png' onerror='window.ran = 1'>";
              document.body.insertAdjacentHTML("beforeend", image);
              const script = document.createElement("script");
              script.textContent = "window.ran = 2";
              document.body.append(script);
            }"""
        )
        assert page.evaluate("window.ran === undefined")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESK, PHONE])
def test_every_text_can_be_read_against_what_is_behind_it(open_page: OpenPage, width: int, scheme: Scheme) -> None:
    """WCAG 2 asks for a contrast of 4.5 to 1, of every text in both schemes."""
    for report in (reports.eventful(), reports.halted()):
        with open_page(report, width, scheme) as page:
            assert page.evaluate(POOR_CONTRAST) == []


def test_dark_is_dark_and_paper_is_white(open_page: OpenPage) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    with open_page(reports.eventful(), scheme="dark") as page:
        assert page.evaluate(background) != "rgb(255, 255, 255)"
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(background) == "rgb(255, 255, 255)"
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_on_paper_the_heads_of_tables_are_repeated_and_rows_stay_whole(open_page: OpenPage) -> None:
    with open_page(reports.eventful()) as page:
        page.emulate_media(media="print")
        heads = "[...document.querySelectorAll('.breaks thead')].map(one => getComputedStyle(one).display)"
        rows = "[...document.querySelectorAll('.breaks tbody tr')].map(one => getComputedStyle(one).breakInside)"
        assert page.evaluate(heads) == ["table-header-group"] * 3
        assert set(page.evaluate(rows)) == {"avoid"}


def test_on_a_phone_a_row_is_a_card_and_still_a_row_of_a_table(open_page: OpenPage) -> None:
    report = reports.eventful()
    with open_page(report, PHONE) as page:
        table = page.get_by_role("table").filter(has_text="Each of these waits for somebody")
        rows = table.get_by_role("row")
        first = rows.nth(1)
        assert rows.count() == 1 + sum(row["status"] == "open" for row in report.rows)
        assert first.evaluate("one => getComputedStyle(one).display") == "block"
        assert first.get_by_role("cell").first.evaluate("one => one.getBoundingClientRect().width") > PHONE / 2


def test_charts_have_names_for_those_who_do_not_see_them(open_page: OpenPage) -> None:
    with open_page(reports.eventful()) as page:
        charts = page.get_by_role("img")
        assert charts.count() == 3
        assert page.get_by_role("img", name="INR paid each day, by campaign").count() == 1
        for chart in charts.all():
            assert chart.locator("desc").text_content()
        page.get_by_text("The numbers of this chart").first.click()
        numbers = page.get_by_role("table", name="INR by day; the net is what streamers got")
        assert numbers.is_visible()
        assert "Together" in (numbers.text_content() or "")


def test_links_lead_to_what_they_name(open_page: OpenPage) -> None:
    with open_page(reports.eventful()) as page:
        assert page.evaluate(
            "[...document.querySelectorAll('nav a')].every(one => document.querySelector(one.getAttribute('href')))"
        )
        page.get_by_role("link", name="5 repaired").click()
        assert page.get_by_role("heading", name="Repaired by this check").bounding_box()
