"""The command line in a separate process, as users run it."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forked

FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"


def run(*command: str | Path, folder: Path | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder; return its code and what it printed."""
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, **{"timeout": 600, **more})  # noqa: S603 - the tests' own


def succeeds(*command: str | Path, **more: Any) -> str:
    """Run a program that must succeed; return its output."""
    done = run(*command, **more)
    assert done.returncode == 0, f"{command[-1]}: {done.stdout}{done.stderr}"
    return done.stdout


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a separate process."""
    return run(sys.executable, "-c", textwrap.dedent(program), *arguments)


def fanfold(*arguments: str, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with more variables in its environment; return its code and what it printed."""
    environment = {**os.environ, **variables}
    if sys.platform != "linux":
        return run(sys.executable, "-m", "fanfold", *arguments, folder=folder, env=environment)
    return forked.parent().run(*arguments, folder=folder, environment=environment, timeout=600)


@contextmanager
def running(*arguments: str, folder: Path | None = None, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command during the block; kill it at the end if it is still running."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", "fanfold", *arguments]
    with subprocess.Popen(command, text=True, cwd=folder, **{**pipes, **more}) as process:  # noqa: S603 - our own program
        try:
            yield process
        finally:
            process.kill()


def only_line(text: str) -> str:
    """Return the only error line of a command, which may also print progress."""
    lines = [line for line in text.splitlines() if line.startswith("fanfold: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]
