"""The page of a run in a real browser, if one is installed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from browser import BROWSER, CONTRAST, drawn, needs_browser, playwright
from drawn_runs import DrawnRun, details_of
from fanfold._ports.run import RunState
from fanfold._report.page import RunPage, page
from fanfold._report.serve import HOST, LivePage, open_server
from fanfold.testing import ManualClock

KEY_ERROR = "KeyError: 'carrier'"
FAILED = DrawnRun(40, failed=dict.fromkeys((3, 7, 12), KEY_ERROR), state=RunState.FAILED)
LARGE = DrawnRun(5_000, environments=100, failed={3: "x" * 500}, failing={9: KEY_ERROR}, state=RunState.RUNNING)

pytestmark = pytest.mark.slow  # each test starts a browser


def source_of(run: DrawnRun) -> RunPage:
    """Return what the page of a run shows."""
    return RunPage(anyio.run(details_of, run))


@needs_browser
@pytest.mark.parametrize("run", [FAILED, LARGE], ids=["failed", "large"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_run_fits_a_screen_and_is_readable(tmp_path: Path, scheme: str, run: DrawnRun):
    """With every table open, nothing is outside the screen, and the contrast of every text is sufficient."""
    (tmp_path / "run.html").write_text(page(source_of(run)), encoding="utf-8")
    for on_screen in drawn(tmp_path / "run.html", scheme, 1280, 390):
        on_screen.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
        assert on_screen.evaluate(CONTRAST) == []
        assert on_screen.locator("svg[role=img]").count() >= 4
        bars = "document.querySelectorAll('.lanes svg, .columns')"
        assert on_screen.evaluate(f"[...{bars}].every(item => item.getBoundingClientRect().width > 150)")


@needs_browser
def test_the_page_of_a_run_can_be_used_by_keyboard(tmp_path: Path):
    """Tab reaches the commands and the tables; Enter opens a table."""
    (tmp_path / "run.html").write_text(page(source_of(FAILED)), encoding="utf-8")
    for on_screen in drawn(tmp_path / "run.html", "light", 1280):
        reached = []
        for _ in range(20):
            on_screen.keyboard.press("Tab")
            reached.append(on_screen.evaluate("document.activeElement.textContent.trim().slice(0, 60)"))
            if reached[-1] == "Timeline as a table":
                break
        assert "fanfold redrive r-1 --only 3,7,12" in reached
        on_screen.keyboard.press("Enter")
        assert on_screen.locator("#timeline-0[open]").count() == 1


class Changing:
    """A run in progress that has ended in the third read."""

    def __init__(self) -> None:
        self.reads = 0
        self.clock = ManualClock()
        self.running = source_of(DrawnRun(40, failing={3: KEY_ERROR}, state=RunState.RUNNING))
        self.ended = source_of(DrawnRun(40))

    def __call__(self) -> RunPage:
        self.reads += 1
        return self.ended if self.reads >= 3 else self.running


@contextmanager
def served(read: Changing) -> Iterator[str]:
    """Serve the page of a run during the block; yield the URL."""
    with open_server(LivePage(read, read.clock), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{HOST}:{server.server_port}/"
        server.shutdown()
        thread.join()


@needs_browser
def test_a_page_refreshes_while_it_is_visible_and_keeps_what_is_open():
    """A page that nobody looks at reads nothing; after the end of the run it stops."""
    read = Changing()
    problems: list[str] = []
    with served(read) as url, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        window = browser.new_page(viewport={"width": 390, "height": 900})
        window.on("console", lambda message: problems.append(message.text))
        window.on("pageerror", lambda error: problems.append(str(error)))
        window.clock.install()
        window.goto(url)
        window.locator("#throughput-0 summary").click()
        window.evaluate("Object.defineProperty(document, 'visibilityState', {get: () => 'hidden', configurable: true})")
        window.clock.run_for(60_000)
        assert read.reads == 1
        read.clock.advance(2.0)
        window.evaluate("Object.defineProperty(document, 'visibilityState', {get: () => 'visible'})")
        window.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        window.locator("#live", has_text="RUNNING for").wait_for()
        assert read.reads == 2
        read.clock.advance(2.0)
        window.clock.run_for(60_000)
        window.locator("#live", has_text="this page no longer refreshes").wait_for()
        assert window.locator("#throughput-0[open]").count() == 1
        assert window.title() == "SUCCEEDED: Run r-1 of delays"
        read.clock.advance(2.0)
        window.clock.run_for(60_000)
        assert read.reads == 3
        assert window.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
    assert problems == []
