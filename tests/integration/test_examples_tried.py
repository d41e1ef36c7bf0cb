"""The commands under "Try it" in the READMEs of the examples, run in the shell that the first command opens."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from command import succeeds

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = [pytest.mark.stack, pytest.mark.slow]


def tried(example: str, folder: Path) -> str:
    """Run the commands in a copy of the example; return what they print."""
    shutil.copytree(EXAMPLES / example, folder)
    section = (folder / "README.md").read_text().partition("\n## Try it\n")[2].partition("\n## ")[0]
    opening, *commands = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FANFOLD_"))}
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell = opening.replace(" -- bash", " -- bash -eu")
    return succeeds("/bin/bash", "-c", shell, input="\n".join(commands), folder=folder, env=variables, timeout=None)


# Slow: three commands of the README, each in a new process, and a cold start for each function.
@pytest.mark.deep
def test_the_flights_are_counted_by_sqs_and_by_step_functions(tmp_path: Path):
    """Both runs have the same output."""
    printed = tried("flights", tmp_path / "flights")
    assert printed.count('"mean_dep_delay": 16.882510013351133') == 2


# Slow: the README's commands, each in a new process, and sixteen cold starts.
@pytest.mark.deep
def test_a_table_is_counted(tmp_path: Path):
    """The run has a thousand items in sixteen segments, spread as the README shows."""
    printed = tried("table_count", tmp_path / "table_count")
    assert '"total_count": 1000' in printed
    assert "46 to 74, mean 62" in printed


# Slow: the README's commands, each in a new process, on an emulator that they start.
@pytest.mark.deep
def test_a_bucket_is_archived(tmp_path: Path):
    """As in the README: nineteen objects are archived, one has no target, and one is missing: its target exists."""
    printed = tried("archive_bucket", tmp_path / "archive_bucket")
    rows = printed.partition("key,result,to\n")[2].splitlines()
    assert (len(rows), sum(",archived,S3/" in row for row in rows)) == (20, 19)
    assert rows[-1] == "incoming/readme.txt,no target,"
    assert "incoming/2026-11-24-07.log" not in "".join(rows)
