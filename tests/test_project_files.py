"""Workflows and hooks: pinned actions and minimal permissions."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_has_no_default_permissions_and_pinned_actions(workflow: Path):
    """Each job states its permissions; each action is pinned to a commit, with its version in a comment."""
    text = workflow.read_text()
    steps = yaml.safe_load(text)
    assert steps["permissions"] == {}
    assert all("permissions" in job for job in steps["jobs"].values())
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert [action for action in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v[\d.]+", action)] == []


def test_pre_commit_uses_only_local_hooks():
    """The hooks run the tools of ``make check``."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repo["repo"] for repo in hooks["repos"]} == {"local"}
    assert {hook["language"] for repo in hooks["repos"] for hook in repo["hooks"]} == {"system"}
