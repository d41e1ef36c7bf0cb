"""The page of what becomes of a batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_page_of_what_becomes_of_a_batch_is_up_to_date():
    """Made again, by the script it names, it is the same."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "benchmarks/mapping_page.py", "--check"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - ourselves
    assert done.returncode == 0, done.stderr
