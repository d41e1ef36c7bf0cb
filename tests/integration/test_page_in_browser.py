"""The HTML page of a real replay in a real browser, where one is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from replayed import folder_in, replay

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_drawn_without_errors_and_fits_a_screen(tmp_path: Path, scheme: str):
    """A bar for each record that ran, nothing in the console, nothing beside the screen."""
    folder = folder_in(tmp_path)
    replay(folder, "event.json", "--handler", "app:handler", "--html", "replay.html")
    told: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for width in (1280, 390):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("console", lambda message: told.append(message.text))
            page.on("pageerror", lambda error: told.append(str(error)))
            page.goto((folder / "replay.html").as_uri())
            assert page.locator('svg[aria-label="slots"] rect').count() >= 4
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert told == []
