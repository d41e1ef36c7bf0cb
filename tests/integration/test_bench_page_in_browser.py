"""The HTML page of a sweep in a real browser, where one is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench_cells import PRICES, sample
from fanfold.bench.cells import OUT_OF_MEMORY, Grid
from fanfold.bench.page import page
from fanfold.bench.result import Result, Workload, about_this_machine

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXES = (1, 10, 50, 100, 200), (128, 256, 512, 1024, 1769, 3008)


def whole_sweep() -> Result:
    """Return a sweep of thirty cells, three of them out of memory."""
    samples = [
        sample(at_once, memory, end=OUT_OF_MEMORY)
        if at_once > memory / 2
        else sample(at_once, memory, seconds=9 / at_once)
        for at_once in AXES[0]
        for memory in AXES[1]
    ]
    work = Workload("app:handler", "this machine", 100, 1, "0123", 2.0, 60.0)
    return Result(work, Grid(*AXES), PRICES, tuple(samples), about_this_machine(), "memory by cgroup v1", consumer=True)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_drawn_without_errors_and_fits_a_screen(tmp_path: Path, scheme: str):
    """Three maps of thirty cells with words under the pointer, nothing in the console, nothing beside the screen."""
    (tmp_path / "bench.html").write_text(page(whole_sweep()), encoding="utf-8")
    told: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for width in (1280, 400):
            drawn = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            drawn.on("console", lambda message: told.append(message.text))
            drawn.on("pageerror", lambda error: told.append(str(error)))
            drawn.on("request", lambda request: told.append(request.url) if "file:" not in request.url else None)
            drawn.goto((tmp_path / "bench.html").as_uri())
            assert drawn.locator("svg g.cell").count() == 3 * 30
            assert drawn.locator("svg rect.cheapest").count() == 3
            assert drawn.locator("svg line.frontier").count() > 0
            assert drawn.evaluate("document.documentElement.scrollWidth") <= width
            # Every word is as readable as it was meant: nothing is cut off at the edge of its map.
            assert drawn.evaluate(
                "[...document.querySelectorAll('svg text:not([transform])')].every(text => {"
                " const box = text.getBBox(), frame = text.ownerSVGElement.viewBox.baseVal;"
                " return box.x >= 0 && box.x + box.width <= frame.width && box.y + box.height <= frame.height; })"
            )
        browser.close()
    assert told == []
