"""HTML pages in a real browser, if one is installed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


def drawn(file: Path, scheme: str, *widths: int) -> Iterator[Any]:
    """Yield the page at each width; fail on console messages, requests to other hosts, or horizontal overflow."""
    problems: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for width in widths:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("console", lambda message: problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("request", lambda request: problems.append(request.url) if "file:" not in request.url else None)
            page.goto(file.as_uri())
            yield page
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert problems == []
