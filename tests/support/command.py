"""The command line, as a user has it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"


def fanfold(*arguments: str, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with more variables in its environment; return its code and what it printed."""
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "fanfold", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **variables},
        timeout=300,
    )


def only_line(text: str) -> str:
    """Return the one line a failure prints, beside the progress."""
    lines = [line for line in text.splitlines() if line.startswith("fanfold: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]
