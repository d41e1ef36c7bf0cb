"""What the README, the documentation and the examples show, runs; what cannot run says why."""

import ast
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from fanfold import Consumer, Job
from fanfold.cli.app import app

ROOT = Path(__file__).parents[1]
FILES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        ROOT / "benchmarks/README.md",
    ]
)
PAGES = [str(file.relative_to(ROOT)) for file in FILES]
IN_TESTS_OF_THEIR_OWN = {"README.md", "docs/migrate-from-powertools.md", "docs/quickstart.md"}
"""Pages whose blocks need names from outside, stand for themselves before and after, or are files."""
NOT_CODE = {"", "json", "text", "console"}
UsageError: Any = typer.BadParameter.__base__
SHOWN = {"sh", "yaml", "hcl", "py", "toml"}
"""Languages of what is shown and not run as Python: commands, whose options are checked here, and configuration."""
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: .{10,} -->\n```py\n")


def blocks(page: str, language: str = "python") -> list[str]:
    return [code for info, code in _FENCE.findall((ROOT / page).read_text()) if info.split()[:1] == [language]]


def run(code: str, page: str, namespace: dict[str, Any]) -> None:
    """Run a block as a module of its own would: nothing of this file's future imports."""
    exec(compile(code, page, "exec", dont_inherit=True), namespace)  # noqa: S102 - our own page


async def ship(order: dict) -> None:
    if order["customer"] is None:
        raise ValueError("an order without a customer")


@pytest.fixture(scope="module")
def readme() -> dict[str, Any]:
    """Every Python block of the README, run one after another in one namespace."""
    namespace: dict[str, Any] = {"ship": ship, "__name__": "readme"}
    for block in blocks("README.md"):
        run(block, "README.md", namespace)
    return namespace


def test_the_code_of_the_readme_runs(readme: dict[str, Any]):
    """Its handler is a consumer, its job has four handlers, its test passes."""
    assert isinstance(readme["handler"], Consumer)
    assert isinstance(readme["job"], Job)
    assert isinstance(readme["segment_handler"], Consumer)
    readme["test_an_order_without_a_customer_comes_back"]()


@pytest.mark.parametrize("page", [page for page in PAGES if page not in IN_TESTS_OF_THEIR_OWN])
def test_the_code_of_the_documentation_runs(page: str):
    """Every block, one after another, and then the tests in it."""
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        run(block, page, namespace)
    for name, function in list(namespace.items()):
        if name.startswith("test_"):
            function()


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_says_why_not(page: str):
    """A language this file knows; Python that is not run has its reason above it; the other languages can be parsed."""
    text = (ROOT / page).read_text()
    for info, code in _FENCE.findall(text):
        language = (info.split() or [""])[0]
        assert language in NOT_CODE | SHOWN | {"python"}, f"{page}: {info}"
        if language == "py":
            ast.parse(code)
    assert len(blocks(page, "py")) == len(_NOT_RUN.findall(text))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")])
def test_the_commands_of_the_documentation_are_understood(page: str):
    """By the shell; and every ``fanfold …`` by the command line of today: its command, options and arguments."""
    for code in blocks(page, "sh"):
        subprocess.run(["bash", "-n", "-c", code], check=True)  # noqa: S603, S607 - parses it and runs nothing
        for command in commands_in(code):
            assert not not_understood(command), f"{page}: fanfold {' '.join(command)}"


def commands_in(code: str) -> list[list[str]]:
    """Return the words after each ``fanfold`` in a block of shell, up to the command's end."""
    found = []
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        starts = [
            n for n, word in enumerate(words) if word == "fanfold" and (not n or re.search("^--$|=", words[n - 1]))
        ]
        for start in starts:
            ends = (n for n, word in enumerate(words) if n > start and word in {"|", "&&", ";", ">", "--"})
            found.append(words[start + 1 : next(ends, len(words))])
    return found


def not_understood(arguments: list[str]) -> str:
    """Return what the command line finds wrong with these arguments; whether files are there is another question."""
    group: Any = typer.main.get_command(app)
    name, command, rest = group.resolve_command(typer.Context(group), arguments)
    try:
        command.make_context(name, rest)
    except UsageError as error:
        return "" if "does not exist" in str(error) else str(error)
    return ""


@pytest.mark.parametrize("page", PAGES)
def test_no_link_leads_nowhere(page: str):
    """Files that are linked, shown as pictures, or named as the test or script behind a claim."""
    file = ROOT / page
    text = _FENCE.sub("", file.read_text())
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    named = re.findall(r"`((?:tests|benchmarks|examples|docs)/[\w/.-]+\.\w+)`", text)
    lost = [link for link in links if "://" not in link and not (file.parent / link).exists()]
    assert lost + [name for name in named if not (ROOT / name).exists()] == []


def test_the_first_code_stands_in_the_first_30_lines():
    """A reader sees at once what it looks like."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index("```python") < 30


@pytest.mark.usefixtures("parsing")
def test_each_test_opens_with_one_sentence_that_says_what_holds():
    """As the others do."""
    without = [
        f"{file.name}: {function.name}"
        for file in (ROOT / "tests").rglob("test_*.py")
        for function in ast.walk(ast.parse(file.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and function.name.startswith("test_")
        and not (ast.get_docstring(function) or "").endswith(".")
    ]
    assert without == []
