"""The quickstart, followed exactly in an empty folder: every file is written and every command is run."""

import os
import re
import sys
from pathlib import Path

import pytest

from command import succeeds

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quickstart.md").read_text()
STEPS = re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)
ELSEWHERE = ("python3 -m venv", ". .venv", "pip install", "fanfold demo")
"""Commands that create the environment, which exists here, and the demo, which has a separate test."""

pytestmark = [pytest.mark.stack, pytest.mark.slow]


# Slow: every command of the page, each in a new process.
def test_the_quickstart_works_as_written(tmp_path: Path):
    """Each command succeeds; the summary of the replay and the outputs of the job equal those on the page."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FANFOLD_"))}
    environment |= {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    environment["HOME"] = str(tmp_path / "home")
    outputs = []
    for language, title, text in STEPS:
        if title:
            (tmp_path / title).write_text(text)
        elif language == "sh":
            for command in text.replace("\\\n", "").splitlines():
                if command.startswith(ELSEWHERE):
                    continue
                outputs.append(succeeds("/bin/bash", "-c", command, folder=tmp_path, env=environment))
    assert "2 passed" in outputs[0]
    (summary,) = re.findall(r"`(3 messages: [^`]+)`", PAGE)
    assert summary in " ".join(outputs[1].split())
    (output_value,) = re.findall(r"one output, `(\d+)`", PAGE)
    assert [output.split()[0] for output in outputs[-2:]] == [output_value, output_value]


def test_every_block_of_the_quickstart_is_a_file_or_a_command():
    """So that the test above covers the whole page."""
    assert [language for language, title, _ in STEPS if not title and language != "sh"] == []
    assert PAGE.count("```") == 2 * len(STEPS)
