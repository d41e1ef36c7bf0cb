"""Paths in the project's configuration exist, so that a moved or split file cannot silently drop out of a list."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TOOLS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
TARGETS: dict[str, Any] = TOOLS["hatch"]["build"]["targets"]
WHEEL = (ROOT / "tests" / "wheel.sh").read_text(encoding="utf-8")
DESELECTED = re.findall(r"--deselect=([\w/.]+)::(\w+)", WHEEL)


LISTS: dict[str, list[str]] = {
    "include of coverage": TOOLS["coverage"]["run"]["include"],
    "only_mutate": TOOLS["mutmut"]["only_mutate"],
    "also_copy": TOOLS["mutmut"]["also_copy"],
    "test_selection of mutmut": TOOLS["mutmut"]["pytest_add_cli_args_test_selection"],
    "force-include": list(TARGETS["wheel"]["force-include"]),
    "sdist": [path.lstrip("/") for path in TARGETS["sdist"]["include"]],
    "per-file-ignores": list(TOOLS["ruff"]["lint"]["per-file-ignores"]),
    "src of ruff": TOOLS["ruff"]["src"],
    "files of mypy": TOOLS["mypy"]["files"],
    "mypy_path": TOOLS["mypy"]["mypy_path"],
    "pythonpath of pytest": TOOLS["pytest"]["ini_options"]["pythonpath"],
    "--ignore of wheel.sh": re.findall(r"--ignore=([\w/.]+)", WHEEL),
}


@pytest.mark.parametrize("name", LISTS)
def test_the_paths_of_each_list_exist(name: str):
    """Each pattern matches a file, and no list is empty."""
    assert LISTS[name]
    assert [path for path in LISTS[name] if not any(ROOT.glob(path))] == []


def test_deselected_tests_exist():
    """Each is the name of a test, or the beginning of one."""
    assert DESELECTED
    wrong = [f"{path}::{test}" for path, test in DESELECTED if f"def {test}" not in (ROOT / path).read_text()]
    assert wrong == []
