"""Prepare the input of the documentation site: the pages of the repository, and the files that they link to.

::

    python docs/stage.py build/pages

The site mirrors the repository, so that links work in both. The reference of the command line, and a page for each
rule of ``fanfold check``, are generated from the code and not committed. Committed pages do not link to them, because
only the site has them.
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
_HELP_AS_MARKDOWN = (
    (r"`([A-Z:]+) <[^`]*>`", r"`\1`"),  # types of arguments
    (r"default: \((.*?)\)([;\]])", r"default: \1\2"),
    (r"([\d.]+)<=x<=([\d.]+)\]", r"\1..\2]"),
    (r"x>=([\d.]+)\]", r"at least \1]"),
    (r"\nExample:\n  (.*)\n", r"\n**Example**:\n\n```console\n$ \1\n```\n"),
)
"""Replacements that give the generated reference the form of the help."""
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def links(file: Path) -> Iterable[Path]:
    """Yield the files of the repository that a page links to. Broken links are reported by the build."""
    for link, picture in _LINK.findall(_CODE.sub("", file.read_text(encoding="utf-8"))):
        target = (file.parent / (link or picture)).resolve()
        if "://" not in link and target.is_relative_to(ROOT) and target.is_file():
            yield target


def files() -> set[Path]:
    """Return all pages of the documentation, and the files that they link to, directly or not."""
    staged = {ROOT / "README.md", ROOT / "CHANGELOG.md"}
    staged |= {path for path in (ROOT / "docs").rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    waiting = [path for path in staged if path.suffix == ".md"]
    while waiting:
        new = set(links(waiting.pop())) - staged
        staged |= new
        waiting += [path for path in new if path.suffix == ".md"]
    return staged


def commands() -> str:
    """Return the reference of the command line, generated from the help of the commands."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="fanfold")
    for pattern, replacement in _HELP_AS_MARKDOWN:
        text = re.sub(pattern, replacement, text)
    return text[text.index("\n## ") :]


def generated() -> dict[Path, str]:
    """Return the generated text of each page. It is appended if the page is committed."""
    rules = CHECK.with_suffix("")
    return {
        COMMANDS: commands(),
        CHECK: f"\n{table(rules.name)}",
        **{rules / f"{rule.id}.md": page(rule) for rule in RULES},
    }


def stage(folder: Path) -> None:
    """Copy the pages and files into a folder, replacing its contents."""
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
