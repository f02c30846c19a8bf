"""One browser for all tests that look at pages; a context of its own for each."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# For this folder, and not for the session: while it runs, its event loop counts as running in this thread, and a test
# elsewhere that starts its own would be refused.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium: what playwright would download is another half of a gigabyte."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    assert path is not None, f"no browser is installed: apt install chromium (looked for {', '.join(_NAMES)})"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        yield browser
        browser.close()
