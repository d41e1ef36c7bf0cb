"""The real SAM CLI, from its own environment, against the emulated AWS."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNTIMES = ("3.11", "3.12", "3.13")

OUR_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
OUR_ARCHITECTURE = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
"""What the emulator runs functions on, whatever their runtime and architecture say."""


def program() -> Path:
    """Return the program that ``make test`` installs beside the tests' environment; skip where it is not."""
    beside = Path(f"{sys.prefix}-sam") / "bin" / "sam"
    found = beside if beside.exists() else shutil.which("sam")
    if found is None:
        pytest.skip(f"the SAM CLI is not installed: make {beside.parents[1].name}/.made")
    return Path(found)


def sam(*arguments: str, folder: Path = ROOT, **variables: str) -> str:
    """Run ``sam`` and return what it printed; a failure shows all of it."""
    done = subprocess.run(  # noqa: S603 - an installed program
        [program(), *arguments],
        cwd=folder,
        env=environment(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"sam {' '.join(arguments)}:\n{done.stdout}"
    return done.stdout


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return this environment without what an outer ``make`` left for inner ones, and with what ``sam`` needs."""
    return {
        **{name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(ROOT / ".aws-sam" / "settings"),  # not in the user's home
        "PIP": f"{sys.executable} -m pip",
        **variables,
    }


def build(target: Path, version: str = OUR_VERSION, architecture: str = OUR_ARCHITECTURE, folder: Path = ROOT) -> Path:
    """Build a project for a Python and a processor; return the folder of what was built."""
    runtime = f"python{version if version in RUNTIMES else RUNTIMES[-1]}"
    chosen = {"PYTHON_VERSION": version, "ARCHITECTURE": architecture}
    overrides = ("--parameter-overrides", f"Runtime={runtime}", f"Architecture={architecture}")
    sam("build", "--build-dir", str(target / "build"), *overrides, folder=folder, **chosen)
    return target / "build"
