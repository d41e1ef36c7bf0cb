"""Search code, tests, examples and documentation for terms that have a standard alternative; part of ``make lint``.

    python tests/wording.py            print each place, with the term to use; exit code 1 if there is one
    python tests/wording.py --counts   print a count for each term and folder instead
    python tests/wording.py PATH …     search only these files or folders

A term is searched in every line; those in ``NAMES`` only in names that Python code defines. A sense in which a
term is right is on the list ``ALLOWED``.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
CODE = ("src", "tests", "template.yaml", "statemachine", "examples")
SEARCHED = (*CODE, "docs", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
NOT_TEXT = {".gz", ".parquet", ".png", ".zst", ".zip", ".csv", ".bz2"}


class Term(NamedTuple):
    """A term to avoid."""

    avoid: str
    """A regular expression."""
    use: str
    """The standard term."""


TERMS = (
    Term(r"\banswer(s|ed|ing)?\b", "response, respond, result"),
    Term(r"\b(comes?|came|coming) back\b", "is redelivered, is retried, is returned"),
    Term(r"\bat once\b", "concurrently; immediately"),
    Term(r"\bin hand\b", "in flight, being processed"),
    Term(r"\btime is over\b", "is about to time out; timeout; deadline"),
    Term(r"\b(mend(s|ed|ing)?|(make|makes|making|made) good)\b", "fix"),
    Term(r"\brungs?\b", "evidence level"),
    Term(r"\bsandbox(es)?\b", "execution environment"),
    Term(r"\bplain (handler|function|def)s?\b", "``def`` handler, synchronous handler"),
    Term(r"\bbur(y|ies|ied|ying)\b", "send to the dead-letter queue"),
    Term(r"\b(hid|hides?|hidden|hiding)\b", "change visibility; in flight, invisible"),
    Term(r"\bpark(s|ed|ing)?\b", "quarantine"),
    Term(r"\b(told|untold|hears? of)\b", "notified; returned, specified"),
    Term(r"(?<!here )\bis no (?!longer|more|need|way|such|\w+er )\w+", "is not an X, is not a valid X"),
    Term(r"\bno name for\b", "not a valid name for"),
    Term(r'"""(What|Whether|Whatever|Says?|Tells?)\b', "a noun phrase, or an imperative verb such as Return"),
    Term(r"\b[Tt]ells? whether\b", "return whether"),
    Term(r"\blaws?\b", "property-based tests, properties"),
    Term(r"\b(an?|the|its|run's) account of\b", "run report"),
    Term(r"\b(dearer|dearest)\b", "more expensive"),
    Term(r"\breckon(s|ed|ing)?\b", "estimate"),
    Term(r"\bat last\b", "finally"),
    Term(r"\bas (it|they) stands?\b", "as is"),
    Term(r"\b(say|says|said|saying)\b", "specify, state; message"),
    Term(r"\bwords?\b", "message, text"),
    Term(r"\bof (its|their|his|her|your|our|one's) own\b", "custom, separate"),
    Term(r"\bbeside\b", "alongside, next to, in addition to"),
    Term(r"\b(befalls?|whoever)\b", "happens to; anyone who"),
    Term(
        r"\b((behavi|col|fav|hon|neighb)ours?|(label|model|signal|travel)l(ed|ing)|cent(re|red)|grey|licences?|artefacts?"
        r"|(initial|normal|optim|organ|recogn|serial|summar)is(e|es|ed|ing|ation)|analys(e|es|ed|ing)|whilst|misspelt)\b",
        "American spelling",
    ),
)

NAMES = (
    Term(r"_*(told|untold|tell|each|asked|given|found)", "a name that states what the value is"),
    Term(r"_?(Pace|Once|Holding|Kept|Together|Account|Inbox|Terms)", "the name in the field's terms"),
    Term(r"_?(again|pause|clamped)", "retry, backoff, clamp_concurrency"),
)

# (path, text around the term, why this sense is right)
ALLOWED: tuple[tuple[str, str, str], ...] = (
    ("tests/wording.py", r".", "the list itself"),
    ("docs/readability.py", r"(?i)words?", "the unit that it counts"),
    ("CONTRIBUTING.md", r"counts the words", "the same"),
    ("docs/screens.py", r"--no-sandbox", "Chromium's option"),
    ("*", r"Sandbox\.Timedout", "Lambda's own name for this error"),
    ("*", r"\bhidden=True\b", "click's option that leaves a command out of the help"),
    ("src/fanfold/_consumer/learned_limit.py", r"Little's law", "the name of a theorem"),
    ("src/fanfold/cli/help.py", r'"hidden"', "the same option, read"),
    ("tests/integration/test_run_page_in_browser.py", "'hidden'", "a browser's name for a page that is not visible"),
    ("tests/*.py", r"--no-sandbox", "Chromium's option"),
    ("src/fanfold/_report/*.html", r"aria-hidden|overflow: hidden", "terms of HTML and CSS"),
)


class Place(NamedTuple):
    """A line with a term to avoid."""

    path: str
    line: int
    text: str
    term: Term


def defined_names(code: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every name that Python code defines."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


def is_allowed(path: str, text: str, found: str) -> bool:
    """Return whether a list entry for this path matches where the term stands."""
    return any(
        fnmatch(path, glob) and any(found in match[0] or match[0] in text for match in re.finditer(around, text))
        for glob, around, _ in ALLOWED
    )


def places_in(path: str, text: str) -> Iterator[Place]:
    """Yield each place of one file."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        for term in TERMS:
            for match in re.finditer(term.avoid, line, re.IGNORECASE if '"""' not in term.avoid else 0):
                if not is_allowed(path, line, match[0]):
                    yield Place(path, number, line.strip(), term)
    if path.endswith(".py"):
        for number, name in defined_names(text):
            for term in NAMES:
                if re.fullmatch(term.avoid, name) and not is_allowed(path, lines[number - 1], name):
                    yield Place(path, number, f"{name}: {lines[number - 1].strip()}", term)
        for term in TERMS[:12]:
            yield from _in_test_names(path, lines, term)


def _in_test_names(path: str, lines: list[str], term: Term) -> Iterator[Place]:
    for number, line in enumerate(lines, 1):
        if match := re.match(r"\s*(?:async )?def (test_\w+)", line):
            sentence = match[1].replace("_", " ")
            if re.search(term.avoid, sentence):
                yield Place(path, number, match[1], term)


def main(arguments: list[str]) -> int:
    """Search, print, and return the exit code."""
    counts_only = "--counts" in arguments
    searched = [argument for argument in arguments if not argument.startswith("--")] or SEARCHED
    listed = subprocess.run(["git", "ls-files", *searched], cwd=ROOT, capture_output=True, text=True, check=True)
    places: list[Place] = []
    for path in listed.stdout.splitlines():
        file = ROOT / path
        if file.suffix not in NOT_TEXT and file.exists():
            try:
                places += places_in(path, file.read_text(encoding="utf-8"))
            except UnicodeDecodeError:  # a binary file
                continue
    if counts_only:
        folders = Counter((place.term, place.path.split("/")[0]) for place in places)
        for term in (*TERMS, *NAMES):
            if total := sum(count for (counted, _), count in folders.items() if counted is term):
                parts = ", ".join(f"{name} {count}" for (counted, name), count in folders.items() if counted is term)
                print(f"{total:6}  {term.avoid}  ({parts})")
        print(f"{len(places):6}  in all")
        return 0
    for place in places:
        print(f"{place.path}:{place.line}: {place.text[:120]}  [use: {place.term.use}]")
    return min(1, len(places))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
