"""The code in the README, the documentation, and the examples runs, or states why it cannot."""

import ast
import re
import shlex
import subprocess
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import typer

from fanfold import Consumer, Done, Failed, Job, Rejected
from fanfold.cli.app import app
from fanfold.testing import deliver

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
TESTED_ELSEWHERE = {"README.md", "docs/migrate-from-powertools.md", "docs/quickstart.md"}
"""Pages with separate tests: their blocks need other names, are alternatives, or are files."""
NOT_CODE = {"", "json", "text", "console"}
UsageError: Any = typer.BadParameter.__base__
SHOWN = {"sh", "yaml", "hcl", "py", "toml"}
"""Languages of blocks that do not run as Python: shell commands, whose options are checked, and configuration."""
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: .{10,} -->\n```py\n")


def blocks(page: str, language: str = "python") -> list[str]:
    return [code for info, code in _FENCE.findall((ROOT / page).read_text()) if info.split()[:1] == [language]]


def run(code: str, page: str, namespace: dict[str, Any]) -> None:
    """Run a block as a separate module, without this file's future imports."""
    exec(compile(code, page, "exec", dont_inherit=True), namespace)  # noqa: S102 - our own page


async def ship(order: dict) -> None:
    if order["customer"] is None:
        raise ValueError("an order without a customer")


@pytest.fixture(scope="module")
def readme() -> dict[str, Any]:
    """The namespace after running every Python block of the README in order."""
    namespace: dict[str, Any] = {"ship": ship, "__name__": "readme"}
    for block in blocks("README.md"):
        run(block, "README.md", namespace)
    return namespace


def test_the_code_of_the_readme_runs(readme: dict[str, Any]):
    """Its handler is a consumer with the outcomes of its table, and its job has four handlers."""
    orders = [{"customer": "c-1", "lines": [1]}, {"customer": None, "lines": [1]}, {"customer": "c-2", "lines": []}]
    outcomes = deliver(readme["handler"], *orders).outcomes
    assert [type(outcome) for outcome in outcomes] == [Done, Failed, Rejected]
    assert isinstance(readme["job"], Job)
    assert isinstance(readme["segment_handler"], Consumer)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in TESTED_ELSEWHERE])
def test_the_code_of_the_documentation_runs(page: str):
    """The blocks run in order, as those of a module, followed by the tests that they define."""
    namespace: dict[str, Any] = {"__name__": "page", "__spec__": ModuleSpec("page", None)}
    for block in blocks(page):
        run(block, page, namespace)
    for name, function in list(namespace.items()):
        if name.startswith("test_"):
            function()


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs_or_states_why_not(page: str):
    """Each block has a known language; Python that does not run is parsed, and has a comment with the reason."""
    text = (ROOT / page).read_text()
    for info, code in _FENCE.findall(text):
        language = (info.split() or [""])[0]
        assert language in NOT_CODE | SHOWN | {"python"}, f"{page}: {info}"
        if language == "py":
            ast.parse(code)
    assert len(blocks(page, "py")) == len(_NOT_RUN.findall(text))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")])
def test_the_commands_of_the_documentation_are_valid(page: str):
    """The shell can parse them, and each ``fanfold …`` has an existing command, options, and arguments."""
    for code in blocks(page, "sh"):
        subprocess.run(["bash", "-n", "-c", code], check=True)  # noqa: S603, S607 - parses it and runs nothing
        for command in commands_in(code):
            assert not usage_error_of(command), f"{page}: fanfold {' '.join(command)}"


def commands_in(code: str) -> list[list[str]]:
    """Return the arguments of each ``fanfold`` command in a block of shell code."""
    commands = []
    for line in code.replace("\\\n", " ").splitlines():
        tokens = shlex.split(line, comments=True)
        starts = [
            n for n, token in enumerate(tokens) if token == "fanfold" and (not n or re.search("^--$|=", tokens[n - 1]))
        ]
        for start in starts:
            ends = (n for n, token in enumerate(tokens) if n > start and token in {"|", "&&", ";", ">", "--"})
            commands.append(tokens[start + 1 : next(ends, len(tokens))])
    return commands


def usage_error_of(arguments: list[str]) -> str:
    """Return the usage error for arguments, or an empty string; missing files are ignored."""
    group: Any = typer.main.get_command(app)
    name, command, rest = group.resolve_command(typer.Context(group), arguments)
    try:
        command.make_context(name, rest)
    except UsageError as error:
        return "" if "does not exist" in str(error) else str(error)
    return ""


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_exist(page: str):
    """This covers links, images, and the paths of tests and scripts in the text."""
    file = ROOT / page
    text = _FENCE.sub("", file.read_text())
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    mentioned = re.findall(r"`((?:tests|benchmarks|examples|docs)/[\w/.-]+\.\w+)`", text)
    missing = [link for link in links if "://" not in link and not (file.parent / link).exists()]
    assert missing + [name for name in mentioned if not (ROOT / name).exists()] == []


def test_the_readme_has_code_in_the_first_30_lines():
    """A reader sees an example on the first screen."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index("```python") < 30


def test_the_readme_has_at_most_150_lines():
    """Longer texts have a page in docs/."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_each_test_has_a_docstring_that_ends_with_a_period():
    """The docstring is a sentence about the expected behavior."""
    without = [
        f"{file.name}: {function.name}"
        for file in (ROOT / "tests").rglob("test_*.py")
        for top in ast.parse(file.read_text()).body
        for function in [top, *getattr(top, "body", [])]
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and function.name.startswith("test_")
        and not (ast.get_docstring(function) or "").endswith(".")
    ]
    assert without == []
