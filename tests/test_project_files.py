"""The workflows and hooks: what they run is pinned, and they are granted no more than they need."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


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
