"""The HTML pages of a sweep and of a replay in a real browser, if one is installed."""

from pathlib import Path

import pytest

from bench_cells import PRICES, sample
from browser import drawn, needs_browser
from fanfold.bench.cells import OUT_OF_MEMORY, Grid
from fanfold.bench.page import page
from fanfold.bench.result import Result, Workload, about_this_machine
from replayed import folder_in, replay

AXES = (1, 10, 50, 100, 200), (128, 256, 512, 1024, 1769, 3008)


def whole_sweep() -> Result:
    """Return a sweep of thirty cells, three of them out of memory."""
    samples = [
        sample(concurrency, memory, end=OUT_OF_MEMORY)
        if concurrency > memory / 2
        else sample(concurrency, memory, seconds=9 / concurrency)
        for concurrency in AXES[0]
        for memory in AXES[1]
    ]
    work = Workload("app:handler", "this machine", 100, 1, "0123", 2.0, 60.0)
    return Result(work, Grid(*AXES), PRICES, tuple(samples), about_this_machine(), "memory by cgroup v1", consumer=True)


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_drawn_without_errors_and_fits_a_screen(tmp_path: Path, scheme: str):
    """It has three maps of thirty cells with tooltips, no console output, and nothing outside the screen."""
    (tmp_path / "bench.html").write_text(page(whole_sweep()), encoding="utf-8")
    for on_screen in drawn(tmp_path / "bench.html", scheme, 1280, 400):
        assert on_screen.locator("svg g.cell").count() == 3 * 30
        assert on_screen.locator("svg rect.cheapest").count() == 3
        assert on_screen.locator("svg line.frontier").count() > 0
        # All text is readable: nothing is cut off at the edge of a map.
        assert on_screen.evaluate(
            "[...document.querySelectorAll('svg text:not([transform])')].every(text => {"
            " const box = text.getBBox(), frame = text.ownerSVGElement.viewBox.baseVal;"
            " return box.x >= 0 && box.x + box.width <= frame.width && box.y + box.height <= frame.height; })"
        )


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_replay_is_drawn_without_errors_and_fits_a_screen(tmp_path: Path, scheme: str):
    """It has a bar for each record that ran, no console output, and nothing outside the screen."""
    folder = folder_in(tmp_path)
    replay(folder, "event.json", "--handler", "app:handler", "--html", "replay.html")
    for drawing in drawn(folder / "replay.html", scheme, 1280, 390):
        assert drawing.locator('svg[aria-label="slots"] rect').count() >= 4
