"""The dashboard in a real browser, before a real daemon: what an operator clicks, and what then is true.

One daemon for all of it: it starts with a streamer just below the target, one whose payout needs an approval, and one
whose document cannot be read.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from pymongo import MongoClient

from app.parts import Parts, parts_of
from app.process import lease_of, run_until_stopped
from jobs.process.daemon import DaemonEnd
from reconciler.api.api_keys import digest_of, new_key
from reconciler.config import load
from reconciler.devstack.process import free_port, wait_until
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing
from tests.support.contrast import POOR_CONTRAST
from tests.support.platform import Platform
from tests.support.servers import Postgres, ReplicaSet

ADMIN, VIEWER = new_key(), new_key()
TOKEN = "a-token-of-the-tests-0001"
DESK, PHONE = 1280, 390
WAIT_MS = 30_000
"""For what usually takes well under a second, on a machine that does other things besides."""
ENDS_WITHIN_S = 15.0
EMPTY_WALLET = dict.fromkeys(("balance", "withdrawableBalance", "heldBalance", "totalEarnings"), 0)

expect.set_options(timeout=WAIT_MS)

Open = Callable[..., AbstractContextManager[Page]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A daemon that serves its pages. Identities are those of participations."""

    url: str
    parts: Parts
    platform: Platform
    near: Any
    waiting: str
    malformed: str


@pytest.fixture(scope="module")
def dashboard(
    replica_set: ReplicaSet, postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dashboard]:
    name, port = f"dashboard_{uuid4().hex[:8]}", free_port()
    settings = load(
        None,
        {},
        {
            "mongodb.uri": replica_set.uri,
            "mongodb.database": name,
            "ledger.url": postgres_server.create_database(name),
            "reports.directory": str(tmp_path_factory.mktemp("reports")),
            "payout.approval_threshold": "INR=5000",
            "api.enabled": True,
            "api.port": port,
            "api.test_page": True,
            "api.auth.api_keys": f"asha:admin:{digest_of(ADMIN)},vik:viewer:{digest_of(VIEWER)}",
        },
    )
    with ExitStack() as stack:
        client = stack.enter_context(MongoClient[dict[str, Any]](replica_set.uri, tz_aware=True))
        stack.callback(client.drop_database, name)
        platform = Platform(client[name])
        near = platform.participation(platform.campaign(), 1900, browserSourceToken=TOKEN)
        platform.wallet(platform.read("campaignparticipations", near)["streamerId"], **EMPTY_WALLET)
        large = platform.campaign(paymentType="fixed", paymentRate=6000, budget=6000, targetImpressions=1000)
        waiting = platform.participation(large, 1000)
        malformed = platform.participation(platform.campaign(), "many")
        lease = stack.enter_context(lease_of(settings))
        parts = stack.enter_context(parts_of(settings, fence=lease.fence))
        upgrade(parts.engine)
        create_missing(parts.connection, settings.mapping)
        ended: list[DaemonEnd] = []
        thread = threading.Thread(target=lambda: ended.append(run_until_stopped(parts, lease)), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{port}"
        try:
            assert wait_until(lambda: _is_ready(url), timeout_s=60)
            yield Dashboard(
                url=url,
                parts=parts,
                platform=platform,
                near=near,
                waiting=str(waiting),
                malformed=str(malformed),
            )
        finally:
            parts.stopping.set()
            thread.join(ENDS_WITHIN_S)
        # Streams that browsers had open must not hold it up.
        assert ended == [DaemonEnd(in_time=True, by_defect=False)]


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def opened(browser: Browser, dashboard: Dashboard) -> Open:
    """Opens a page as somebody; at the end the browser complained about nothing: no error, no refused content."""

    @contextmanager
    def opening(
        path: str, key: str | None = ADMIN, width: int = DESK, refused: Sequence[str] = (), **more: Any
    ) -> Iterator[Page]:
        complaints: list[str] = []
        context = browser.new_context(base_url=dashboard.url, viewport={"width": width, "height": 900}, **more)
        context.set_default_timeout(WAIT_MS)
        if key is not None:
            assert context.request.post("/login", form={"credential": key, "next": "/"}).ok
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        yield page
        context.close()
        assert [one for one in complaints if not any(words in one for words in refused)] == []

    return opening


def test_nobody_gets_in_without_a_key_and_who_logs_out_is_out(opened: Open, dashboard: Dashboard) -> None:
    with opened("/payouts?status=held", key=None, refused=["401 (Unauthorized)"]) as page:
        expect(page).to_have_title("Log in · Payouts")
        page.get_by_label("Token or API key").fill(f"{ADMIN[:-1]}x")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("not one of ours")
        page.get_by_label("Token or API key").fill(ADMIN)
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(f"{dashboard.url}/payouts?status=held")
        expect(page.get_by_text("admin asha")).to_be_visible()
        assert ADMIN not in page.content()
        page.get_by_role("button", name="Log out").click()
        page.goto("/")
        expect(page).to_have_title("Log in · Payouts")


def test_recorded_to_the_target_it_is_paid_and_every_number_is_explained(opened: Open, dashboard: Dashboard) -> None:
    with opened("/test") as page:
        expect(page.get_by_text("This is a test page.")).to_be_visible()
        page.get_by_label("Recording token").fill(TOKEN)
        page.get_by_role("button", name="Watch").click()
        look = page.locator("#look")
        expect(look).to_contain_text("1,900 of 2,000 impressions")
        expect(look).to_contain_text("0.00 INR withdrawable")
        page.get_by_role("button", name="Record 1 impression").click()
        expect(look).to_contain_text("99 impressions to go")
        page.get_by_label("Impressions", exact=True).fill("99")
        page.get_by_role("button", name="Send a burst").click()
        expect(page.locator("#said")).to_contain_text("Recorded 99 of 99")
        expect(look).to_contain_text("Paid 3,300.00 INR")
        expect(look).to_contain_text("3,300.00 INR withdrawable")
        assert TOKEN not in page.content()
        look.get_by_role("link", name="Explain").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("It was paid 3300.00 INR")
        expect(page.get_by_role("table", name="Computed again")).to_contain_text("2000")
        expect(page.get_by_text("What was posted is what these facts give.")).to_be_visible()
    assert dashboard.platform.wallet_of(dashboard.near)["withdrawableBalance"] == 3300
    with opened("/") as page:
        expect(page.get_by_role("heading", level=1)).to_contain_text("Paying:")
        latest = page.get_by_role("table", name="Payouts")
        expect(latest).to_contain_text("3,300.00 INR")
        latest.get_by_role("link", name="Details").first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("3,300.00 INR")


def test_a_check_is_run_and_followed_and_its_report_opened_and_a_break_acknowledged(
    opened: Open, dashboard: Dashboard
) -> None:
    with opened("/reports") as page:
        page.get_by_role("button", name="Run a full check now").click()
        expect(page).to_have_url(re.compile("/reports/checks/"))
        expect(page.get_by_role("heading", name="Full check")).to_be_visible()
        # The page is loaded again by itself when the check has ended.
        page.get_by_role("link", name="Open the report").wait_for()
        expect(page.locator(".verdict .word")).to_have_text("breaks")
        page.get_by_role("link", name="Open breaks").click()
        mine = page.get_by_role("listitem").filter(has_text=dashboard.malformed)
        expect(mine).to_contain_text("A field of the document cannot be read.")
        mine.get_by_text("Acknowledge", exact=True).click()
        mine.get_by_label("What is known of it").fill("the platform mends it on Monday")
        mine.get_by_role("button", name="Acknowledge this break").click()
        expect(page.get_by_role("status")).to_contain_text("Acknowledged.")
        known = page.locator("section", has=page.get_by_role("heading", name="Acknowledged"))
        expect(known).to_contain_text("by asha")
        expect(known).to_contain_text("the platform mends it on Monday")
        page.goto("/reports")
        page.get_by_role("link", name="Report", exact=True).first.click()
        expect(page).to_have_title(re.compile("reconciliation"))
        expect(page.get_by_role("heading", name="Control totals")).to_be_visible()


def test_a_hold_is_approved_by_the_name_of_who_is_signed_in_and_then_taken_back(
    opened: Open, dashboard: Dashboard
) -> None:
    with opened("/holds") as page:
        hold = page.get_by_role("listitem").filter(has_text=dashboard.waiting)
        expect(hold).to_contain_text("6,000.00 INR")
        hold.get_by_label("Reason to approve").fill("checked with the brand")
        hold.get_by_role("button", name="Approve 6,000.00 INR").click()
        expect(page.get_by_role("status")).to_contain_text("Approved.")
        expect(page.get_by_role("button", name="Approve 6,000.00 INR")).to_have_count(0)
        _reload_until(page, "/holds", "Nobody waits for an approval.")
        _reload_until(page, f"/payouts/{dashboard.waiting}", "shown in MongoDB")
        expect(page.get_by_text("by asha").first).to_be_visible()
        page.get_by_role("link", name="Reverse this payout").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Take back 6,000.00 INR?")
        page.get_by_label("Reason").fill("the brand complained")
        page.get_by_role("button", name="Reverse").click()
        # The browser itself refuses a form whose box is not ticked.
        expect(page).to_have_url(re.compile("/reverse$"))
        page.get_by_label("I have looked at this payout").check()
        page.get_by_role("button", name="Reverse").click()
        expect(page.get_by_role("status")).to_contain_text("Reversed.")
        expect(page.get_by_role("link", name="Reverse this payout")).to_have_count(0)


def test_a_halt_is_seen_without_a_reload_and_ended_with_a_reason(opened: Open, dashboard: Dashboard) -> None:
    with opened("/") as page:
        expect(page.locator("#live-line")).to_have_text("Live.")
        dashboard.parts.decisions.halt("balance_differs", "told by the tests")
        expect(page.get_by_role("heading", level=1)).to_have_text("Nothing is paid: paying is halted.")
        expect(page).to_have_title("Halted · Payouts")
        page.get_by_role("link", name="What happened, and how to go on").click()
        page.get_by_label("Reason").fill("it was a test")
        page.get_by_role("button", name="Resume paying").click()
        expect(page.get_by_role("status")).to_contain_text("Paying goes on.")
        expect(page.locator("#pill")).not_to_have_text("Halted")


PAGES = ("/", "/payouts", "/holds", "/breaks", "/reports", "/webhooks", "/test", "/halt")


def test_a_viewer_reads_everything_and_is_offered_no_action(opened: Open, dashboard: Dashboard) -> None:
    with opened("/", key=VIEWER) as page:
        for path in (*PAGES, f"/payouts/{dashboard.near}", f"/participations/{dashboard.near}"):
            page.goto(path)
            expect(page.get_by_text("viewer vik")).to_be_visible()
            offered = page.locator("form[method=post]:not([action='/logout'])")
            assert offered.count() == 0, path
            assert page.get_by_role("link", name="Reverse").count() == 0
        answer = page.request.post("/resume", form={"reason": "because"})
        assert answer.status == 403


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone_and_can_be_read(opened: Open, dashboard: Dashboard, scheme: str) -> None:
    with opened("/", width=PHONE, color_scheme=scheme) as page:
        for path in (*PAGES, f"/payouts/{dashboard.near}", f"/participations/{dashboard.near}"):
            page.goto(path)
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE, path
            assert page.evaluate(POOR_CONTRAST) == [], path


def test_the_keyboard_leads_past_the_head_and_every_field_has_a_name(opened: Open) -> None:
    with opened("/payouts") as page:
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("main")).to_be_focused()
        nameless = """[...document.querySelectorAll("input:not([type=hidden]), select")]
            .filter(one => !one.labels.length).length"""
        assert page.evaluate(nameless) == 0
        assert page.locator("h1").count() == 1


def test_filters_find_and_say_when_there_is_nothing(opened: Open, dashboard: Dashboard) -> None:
    with opened("/payouts") as page:
        page.get_by_label("Currency").fill("JPY")
        page.get_by_role("button", name="Filter").click()
        expect(page.get_by_text("No payout agrees with all of these.")).to_be_visible()
        page.get_by_role("link", name="Clear").click()
        page.get_by_label("Find a payout or a participation").fill(dashboard.malformed)
        page.get_by_role("button", name="Find").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("It is not paid: malformed")


def _reload_until(page: Page, path: str, text: str) -> None:
    def is_there() -> bool:
        page.goto(path)
        return page.get_by_text(text).count() > 0

    assert wait_until(is_there, timeout_s=WAIT_MS / 1000), f"{path} never says {text!r}"
