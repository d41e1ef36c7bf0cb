"""Draw the output of ``fanfold demo`` as an SVG file, and the page of its run as PNG files, in docs/assets/screens.

::

    python docs/screens.py [--demo FOLDER]

It runs the demo, which takes a minute. With ``--demo``, it draws the files of an earlier call. The picture of the
terminal has fewer carriers, and loads no fonts from other hosts. The page needs playwright and Chromium; it is drawn
without the sections between the summary and the timeline.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

SCREENS: Final = Path(__file__).parent / "assets" / "screens"
COLUMNS: Final = 80
CARRIERS: Final = 4
"""Carriers in the picture."""
PAGE_WIDTH: Final = 960
_FORMAT: Final = (
    CONSOLE_SVG_FORMAT[: CONSOLE_SVG_FORMAT.index("@font-face")]
    + CONSOLE_SVG_FORMAT[CONSOLE_SVG_FORMAT.index(".{unique_id}-matrix") :]
).replace("Fira Code, monospace", "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace")
_SHORTEN: Final = """() => {
  let isShown = true;
  for (const element of [...document.querySelector('h2').parentElement.children]) {
    if (element.tagName === 'H2') isShown = element.textContent.startsWith('Timeline');
    if (!isShown) element.remove();
  }
}"""


def run_demo(folder: Path) -> None:
    """Run the demo, and save what it prints next to its files."""
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
    command = [sys.executable, "-m", "fanfold", "demo", "--output", folder.name]
    done = subprocess.run(command, cwd=folder.parent, env=environment, stdout=subprocess.PIPE, check=True)  # noqa: S603 - ours
    (folder / "demo.ansi").write_bytes(done.stdout)


def shortened(lines: list[str]) -> list[str]:
    """Return the lines of the demo without some carriers, and without the times of this machine."""
    first = next(number for number, line in enumerate(lines) if "9E" in line)
    end = next(number for number, line in enumerate(lines) if "└" in line)
    times = next(number for number, line in enumerate(lines) if line.startswith("times:"))
    sheet = next(number for number, line in enumerate(lines) if line.startswith("sheet:"))
    more = re.sub("[^│]", " ", lines[first]).replace("│  ", "│ …", 1)
    return [*lines[: first + CARRIERS], more, *lines[end:times], *lines[sheet:]]


def terminal(output: str) -> str:
    """Return the picture of a terminal with this output."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ fanfold demo", "bold"))
    for line in shortened(output.splitlines()):
        console.print(Text.from_ansi(line))
    console.print()  # the format cuts off the lower edge of the last line
    return console.export_svg(title="fanfold demo", code_format=_FORMAT, unique_id="demo")


def draw_page(page: Path, scheme: Literal["light", "dark"], picture: Path) -> None:
    """Save a picture of the page of a run: its summary, and the timeline of its segments."""
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        view = window.new_page(viewport={"width": PAGE_WIDTH, "height": 100}, color_scheme=scheme)
        view.goto(page.resolve().as_uri())
        view.evaluate(_SHORTEN)
        view.screenshot(path=picture, full_page=True)
        window.close()


def main() -> None:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, metavar="FOLDER")
    folder = parser.parse_args().demo
    if folder is None:
        folder = Path(tempfile.mkdtemp()) / "fanfold-demo"
        folder.mkdir()
        run_demo(folder)
    SCREENS.mkdir(parents=True, exist_ok=True)
    picture = terminal((folder / "demo.ansi").read_text(encoding="utf-8"))
    (SCREENS / "demo.svg").write_text(picture, encoding="utf-8")
    draw_page(folder / "run.html", "light", SCREENS / "run.png")
    draw_page(folder / "run.html", "dark", SCREENS / "run-dark.png")


if __name__ == "__main__":
    main()
