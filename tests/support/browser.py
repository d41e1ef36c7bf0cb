"""A page of HTML in a real browser, where one is installed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


def drawn(file: Path, scheme: str, *widths: int) -> Iterator[Any]:
    """Yield the page on screens of some widths; nothing is in the console, asked of others, or beside the screen."""
    told: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-execution environment"])
        for width in widths:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("console", lambda message: told.append(message.text))
            page.on("pageerror", lambda error: told.append(str(error)))
            page.on("request", lambda request: told.append(request.url) if "file:" not in request.url else None)
            page.goto(file.as_uri())
            yield page
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert told == []
