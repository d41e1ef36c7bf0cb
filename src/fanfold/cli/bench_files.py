"""Where ``fanfold bench`` writes what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fanfold._folds.row_files import write_csv
from fanfold.bench.page import page
from fanfold.bench.plot import draw
from fanfold.bench.result import COLUMNS, Result, rows, write_result
from fanfold.cli.arguments import check_installed, check_writable, make_folder, writing

_UNASKED = Path("fanfold-bench.json")


@dataclass(slots=True)
class Files:
    """The files that were asked for."""

    csv: Path | None
    png: Path | None
    html: Path | None
    folder: Path | None
    resumed: Path | None = None
    """A result that is gone on with: it grows, unless a folder is asked for."""
    _json: Path | None = field(init=False, default=None)

    def check(self) -> None:
        """Make the folder.

        Raises:
            ConfigurationError: If it cannot be made, or a file cannot be written.
            MissingExtraError: If what writes a file is not installed.
        """
        self._json = self.resumed
        if self.folder is not None:
            make_folder(self.folder)
            self._json = self.folder / "bench.json"
        for file in (self.csv, self.png, self.html):
            if file is not None:
                check_writable(file)
        for file, module, extra, use in (
            (self.png, "matplotlib", "bench", "drawing"),
            (self.html, "jinja2", "cli", "an HTML page"),
        ):
            if file is not None or self.folder is not None:
                check_installed(module, extra, use)

    def keep(self, result: Result) -> None:
        """Write what was measured so far, if there is a folder for it."""
        if self._json is not None:
            write_result(result, self._json)

    def kept(self, result: Result) -> Path:
        """Write what was measured so far, and return where: a file of its own if none was asked for."""
        file = self._json or _UNASKED
        write_result(result, file)
        return file

    def write(self, result: Result) -> list[Path]:
        """Write all that was asked for, and return where.

        Raises:
            ConfigurationError: If a file cannot be written.
            MissingExtraError: If a picture is asked for and matplotlib is not installed.
        """
        writers: tuple[tuple[Path | None, str, Callable[[Path], object]], ...] = (
            (self.resumed if self.folder is None else None, "bench.json", lambda file: write_result(result, file)),
            (self.csv, "bench.csv", lambda file: write_csv(file, rows(result), COLUMNS)),
            (self.png, "bench.png", lambda file: draw(result, file)),
            (self.html, "bench.html", lambda file: file.write_text(page(result), encoding="utf-8")),
        )
        written = []
        for asked, name, write in writers:
            for file in (asked, None if self.folder is None else self.folder / name):
                if file is not None and (result.samples or name == "bench.json"):
                    with writing(file):
                        write(file)
                    written.append(file)
        return written
