"""The HTML page of a real replay in a real browser, where one is installed."""

from pathlib import Path

import pytest

from browser import drawn, needs_browser
from replayed import folder_in, replay


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_drawn_without_errors_and_fits_a_screen(tmp_path: Path, scheme: str):
    """A bar for each record that ran, nothing in the console, nothing beside the screen."""
    folder = folder_in(tmp_path)
    replay(folder, "event.json", "--handler", "app:handler", "--html", "replay.html")
    for page in drawn(folder / "replay.html", scheme, 1280, 390):
        assert page.locator('svg[aria-label="slots"] rect').count() >= 4
