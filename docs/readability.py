"""Count the words of the documentation, and compute how easy its prose is to read.

::

    python docs/readability.py [--at COMMIT] [FILE …]

Without files, it reads the README and every page directly in docs/. ``--at`` reads them as they were in a commit.

Words are those of headings, prose, lists, and tables, without code blocks. The score is that of Flesch for English,
206.835 - 1.015 x words per sentence - 84.6 x syllables per word: 60 to 70 is plain English, 30 to 50 is difficult. It
counts prose and lists, without headings, tables, and code. Inline code and the text of a link count as text; a colon
or a semicolon does not end a sentence. Syllables are estimated from groups of vowels.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
_NOT_TEXT = re.compile(r"^```.*?^```|<!--.*?-->|!\[[^\]]*\]\([^)]*\)|<[^>\n]+>", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_TABLE = re.compile(r"^\s*\|.*$", re.MULTILINE)
_HEADING = re.compile(r"^#+ .*$", re.MULTILINE)
_ITEM = re.compile(r"^\s*(?:[-*>]|\d+\.)\s+", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])[\"')*]*\s+(?=[\"'(*]*[A-Z`0-9])|\n\s*\n")
_WORD = re.compile(r"[^\W_]+(?:['\u2019.-][^\W_]+)*")
_LETTER = re.compile(r"[a-z]", re.IGNORECASE)


class Readability(NamedTuple):
    """The measures of a text."""

    words: int
    """Words outside code blocks."""
    sentences: int
    """Sentences of the prose."""
    words_per_sentence: float
    score: float
    """Flesch reading ease."""


def syllables(word: str) -> int:
    """Return an estimate: groups of vowels, without a silent e at the end."""
    groups = re.findall(r"[aeiouy]+", word.lower())
    silent = word.lower().endswith(("e", "es", "ed")) and not word.lower().endswith(("le", "les", "ted", "ded", "ses"))
    return max(1, len(groups) - (silent and len(groups) > 1))


def measure(markdown: str) -> Readability:
    """Return the measures of a page."""
    text = _LINK.sub(r"\1", _NOT_TEXT.sub("", markdown))
    everything = _WORD.findall(text)
    prose = _ITEM.sub("\n\n", _HEADING.sub("\n\n", _TABLE.sub("\n\n", text)))
    sentences = [words for part in _SENTENCE.split(prose) if (words := _WORD.findall(part))]
    words = [word for sentence in sentences for word in sentence]
    if not words:
        return Readability(len(everything), 0, 0.0, 0.0)
    length = len(words) / len(sentences)
    spoken = sum(syllables(word) if _LETTER.search(word) else 1 for word in words) / len(words)
    return Readability(len(everything), len(sentences), length, 206.835 - 1.015 * length - 84.6 * spoken)


def pages(names: list[str], commit: str | None) -> dict[str, str]:
    """Return the text of pages by their paths, from the work tree or from a commit."""
    if commit is None:
        files = [ROOT / name for name in names] or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        return {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}
    listed = names or ["README.md", *(name for name in git("ls-tree", "--name-only", commit, "docs/").split())]
    return {name: git("show", f"{commit}:{name}") for name in listed if name.endswith(".md")}


def git(*arguments: str) -> str:
    """Return the output of a git command in this repository."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603, S607 - ours
    return done.stdout


def main() -> None:
    """Print a table of the pages, and a line for all of them together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--at", metavar="COMMIT")
    chosen = parser.parse_args()
    texts = pages(chosen.files, chosen.at)
    lines = ["| page | words | words per sentence | Flesch |", "|---|---:|---:|---:|"]
    for name, text in [*texts.items(), ("together", "\n\n".join(texts.values()))]:
        result = measure(text)
        lines.append(f"| {name} | {result.words:,} | {result.words_per_sentence:.1f} | {result.score:.0f} |")
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    sys.exit(main())
