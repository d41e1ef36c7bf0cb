"""Lays out what the documentation site is built from: the pages as they lie in the repository, and what they link to.

::

    python docs/stage.py build/pages

The site mirrors the repository, so that one link is right in both. What can be read from the code is generated here,
and not committed: the reference of the command line, and a page for each rule of ``fanfold check``. Committed pages do
not link to these pages, since only the site has them.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from fanfold.check.rules import RULES, page, table
from fanfold.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = Path("docs/reference/commands.md")
CHECK = Path("docs/check.md")
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)|<(?:img|source)[^>]+?(?:src|srcset)=\"([^\"]+)\"")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def links(file: Path) -> Iterable[Path]:
    """Yield the files in the repository that a page links to; a link that leads nowhere is left to the build."""
    for link, picture in _LINK.findall(_CODE.sub("", file.read_text(encoding="utf-8"))):
        target = (file.parent / (link or picture)).resolve()
        if "://" not in link and target.is_relative_to(ROOT) and target.is_file():
            yield target


def files() -> set[Path]:
    """Return every page of the documentation, and what can be reached from there by links."""
    found = {ROOT / "README.md", ROOT / "CHANGELOG.md"}
    found |= {path for path in (ROOT / "docs").rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    waiting = [path for path in found if path.suffix == ".md"]
    while waiting:
        new = set(links(waiting.pop())) - found
        found |= new
        waiting += [path for path in new if path.suffix == ".md"]
    return found


def commands() -> str:
    """Return the reference of the command line, as the commands describe themselves."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="fanfold")
    return text[text.index("\n## ") :]


def generated() -> dict[Path, str]:
    """Return what follows on each page from the code: at its end, or all of it, where no page is committed."""
    rules = CHECK.with_suffix("")
    return {
        COMMANDS: commands(),
        CHECK: f"\n{table(rules.name)}",
        **{rules / f"{rule.id}.md": page(rule) for rule in RULES},
    }


def stage(folder: Path) -> None:
    """Copy all of it into a folder, in place of what lies there."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in files():
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    for name, text in generated().items():
        (folder / name).parent.mkdir(exist_ok=True)
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    stage(Path(sys.argv[1]))
