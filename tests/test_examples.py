"""What the README and the examples show, runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from fanfold import Consumer, Job

ROOT = Path(__file__).parents[1]


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


async def ship(order: dict) -> None:
    if order["customer"] is None:
        raise ValueError("an order without a customer")


@pytest.fixture(scope="module")
def readme() -> dict[str, Any]:
    """Every Python block of the README, run one after another in one namespace."""
    namespace: dict[str, Any] = {"ship": ship, "__name__": "readme"}
    for block in blocks("README.md"):
        exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102 - our own page
    return namespace


def test_the_code_of_the_readme_runs(readme: dict[str, Any]):
    """Its handler is a consumer, its job has four handlers, its test passes."""
    assert isinstance(readme["handler"], Consumer)
    assert isinstance(readme["job"], Job)
    assert isinstance(readme["segment_handler"], Consumer)
    readme["test_an_order_without_a_customer_comes_back"]()


IN_PAIRS = {"docs/migrate-from-powertools.md"}
"""Pages whose blocks stand for themselves, before and after; run by tests of their own."""
PAGES = {str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")} - IN_PAIRS


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_code_of_the_documentation_runs(page: str):
    """Every block, one after another, and then the tests in it."""
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        exec(compile(block, page, "exec"), namespace)  # noqa: S102 - our own page
    for name, function in list(namespace.items()):
        if name.startswith("test_"):
            function()


def test_every_file_the_readme_names_is_there():
    """No link leads nowhere."""
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"\]\(([^):]+)\)", text) + re.findall(r"`(tests/[^`]+\.py)`", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_first_code_stands_in_the_first_30_lines():
    """A reader sees at once what it looks like."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index("```python") < 30


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
