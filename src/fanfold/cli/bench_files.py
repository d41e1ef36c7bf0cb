"""The files that ``fanfold bench`` writes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from fanfold._folds.row_files import write_csv
from fanfold.bench.page import page
from fanfold.bench.plot import draw
from fanfold.bench.result import COLUMNS, Result, rows, write_result
from fanfold.cli.arguments import check_installed, check_writable, make_folder, writing

_FALLBACK = Path("fanfold-bench.json")
"""Where the samples of an interrupted sweep are saved if the user named no file."""


@dataclass(slots=True)
class Files:
    """The files that the user requested."""

    csv: Path | None
    png: Path | None
    html: Path | None
    folder: Path | None
    resumed: Path | None = None
    """The result that is resumed. It is updated, unless the user named a folder."""
    _json: Path | None = field(init=False, default=None)
    _draws: bool = field(init=False, default=True)

    def check(self) -> None:
        """Create the folder, and check that every file can be written.

        Raises:
            ConfigurationError: If the folder cannot be created, or a file cannot be written.
            MissingExtraError: If a package that writes a file is not installed.
        """
        self._json = self.resumed
        if self.folder is not None:
            make_folder(self.folder)
            self._json = self.folder / "bench.json"
        for file in (self.csv, self.png, self.html):
            if file is not None:
                check_writable(file)
        if self.html is not None or self.folder is not None:
            check_installed("jinja2", "cli", "an HTML page")
        if self.png is not None:
            check_installed("matplotlib", "bench", "drawing")
        elif self.folder is not None and find_spec("matplotlib") is None:
            self._draws = False
            print("bench.png is not drawn: pip install 'fanfold[bench]' draws it", file=sys.stderr)

    def save_progress(self, result: Result) -> None:
        """Write the result as measured so far, if the user named a folder or a result to resume."""
        if self._json is not None:
            write_result(result, self._json)

    def save(self, result: Result) -> Path:
        """Write the result as measured so far, to a default file if the user named none; return the file."""
        file = self._json or _FALLBACK
        write_result(result, file)
        return file

    def write(self, result: Result) -> list[Path]:
        """Write every requested file, and return their paths.

        Raises:
            ConfigurationError: If a file cannot be written.
            MissingExtraError: If a picture is requested and matplotlib is not installed.
        """
        writers: tuple[tuple[Path | None, str, Callable[[Path], object]], ...] = (
            (self.resumed if self.folder is None else None, "bench.json", lambda file: write_result(result, file)),
            (self.csv, "bench.csv", lambda file: write_csv(file, rows(result), COLUMNS)),
            (self.png, "bench.png", lambda file: draw(result, file)),
            (self.html, "bench.html", lambda file: file.write_text(page(result), encoding="utf-8")),
        )
        written = []
        for requested, name, write in writers:
            for file in (requested, None if self.folder is None else self.folder / name):
                if (
                    file is not None
                    and (result.samples or name == "bench.json")
                    and (self._draws or name != "bench.png")
                ):
                    with writing(file):
                        write(file)
                    written.append(file)
        return written
