"""The files around the code: what they list exists, and what they run is pinned."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def listed() -> Iterator[str]:
    """Yield every path in lists that are kept by hand: deciding modules, mutants, what the wheel's tests leave out."""
    yield from re.findall(r"src/fanfold/[\w/]+\.py", (ROOT / "Makefile").read_text())
    yield from re.findall(r"--(?:ignore|deselect)=([\w/.]+)", (ROOT / "tests/wheel.sh").read_text())
    mutmut = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    yield from mutmut["only_mutate"] + mutmut["pytest_add_cli_args_test_selection"]


@pytest.mark.parametrize("path", sorted(set(listed())))
def test_a_path_that_a_list_names_exists(path: str):
    """A file that moves takes its place in the lists along."""
    assert (ROOT / path).exists()


def test_a_test_that_the_wheel_leaves_out_exists():
    """Its name begins as the list says: pytest takes an unknown name without a word."""
    left_out = re.findall(r"--deselect=([\w/.]+)::(\w+)", (ROOT / "tests/wheel.sh").read_text())
    assert [name for file, name in left_out if f"def {name}" not in (ROOT / file).read_text()] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_is_granted_nothing_and_runs_pinned_actions(workflow: Path):
    """Each job is granted what it needs; an action is pinned by its commit, beside its version."""
    text = workflow.read_text()
    steps = yaml.safe_load(text)
    assert steps["permissions"] == {}
    assert all("permissions" in job for job in steps["jobs"].values())
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert [each for each in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v[\d.]+", each)] == []


def test_pre_commit_fetches_nothing():
    """It runs the tools of ``make check``."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repo["repo"] for repo in hooks["repos"]} == {"local"}
    assert {hook["language"] for repo in hooks["repos"] for hook in repo["hooks"]} == {"system"}
