"""The quickstart, followed to the letter in an empty folder: every file written, every command run."""

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
"""What made the environment that this test runs in, and the demonstration, which has a test of its own."""

pytestmark = [pytest.mark.stack, pytest.mark.slow]


def test_the_quickstart_does_what_it_says(tmp_path: Path):
    """Each command ends well; the replay's account, and the job's output, here and on the local AWS, are the page's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FANFOLD_"))}
    environment |= {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    environment["HOME"] = str(tmp_path / "home")
    outputs = []
    for language, title, text in STEPS:
        if title:
            (tmp_path / title).write_text(text)
        elif language == "sh":
            for command in text.splitlines():
                if command.startswith(ELSEWHERE):
                    continue
                outputs.append(succeeds("/bin/bash", "-c", command, folder=tmp_path, env=environment))
    assert "2 passed" in outputs[0]
    (account,) = re.findall(r"`(3 messages: [^`]+)`", PAGE)
    assert account in " ".join(outputs[1].split())
    (answer,) = re.findall(r"one output, `(\d+)`", PAGE)
    assert [output.split()[0] for output in outputs[-2:]] == [answer, answer]


def test_every_block_of_the_quickstart_is_a_file_or_a_command():
    """Nothing on the page is left out of the test above."""
    assert [language for language, title, _ in STEPS if not title and language != "sh"] == []
    assert PAGE.count("```") == 2 * len(STEPS)
