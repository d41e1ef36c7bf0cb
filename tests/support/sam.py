"""The real SAM CLI, from a separate virtual environment, with the emulated AWS."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from command import succeeds
from depth import by_depth

ROOT = Path(__file__).parents[2]
RUNTIMES = ("3.11", "3.12", "3.13")

OUR_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
OUR_ARCHITECTURE = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
"""The emulator runs every function on this Python and architecture, whatever the template specifies."""


def program() -> Path:
    """Return the path of ``sam``, which ``make test`` installs in a separate environment; skip if it is missing."""
    installed = Path(f"{sys.prefix}-sam") / "bin" / "sam"
    path = installed if installed.exists() else shutil.which("sam")
    if path is None:
        pytest.skip(f"the SAM CLI is not installed: make {installed.parents[1].name}/.made")
    return Path(path)


def sam(*arguments: str, folder: Path = ROOT, **variables: str) -> str:
    """Run ``sam`` and return its output; a failure shows the whole output."""
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
    """Return the environment variables, without those of an outer ``make``, and with those that ``sam`` needs."""
    return {
        **{name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(ROOT / ".aws-sam" / "settings"),  # instead of the user's home folder
        "PIP": f"{sys.executable} -m pip",
        "PIP_NO_BUILD_ISOLATION": "0",  # this means yes to pip: hatchling is installed here
        **variables,
    }


def build(
    target: Path,
    version: str = OUR_VERSION,
    architecture: str = OUR_ARCHITECTURE,
    folder: Path = ROOT,
    **variables: str,
) -> Path:
    """Build a project for a Python version and an architecture; return the build folder."""
    runtime = f"python{version if version in RUNTIMES else RUNTIMES[-1]}"
    parameters = {"PYTHON_VERSION": version, "ARCHITECTURE": architecture, **variables}
    overrides = ("--parameter-overrides", f"Runtime={runtime}", f"Architecture={architecture}")
    sam("build", "--build-dir", str(target / "build"), *overrides, folder=folder, **parameters)
    return target / "build"


def wheels(temporary: Path) -> dict[str, str]:
    """Return variables with which pip installs fanfold and its dependencies from files; collect them first.

    For each build, pip would read an index of thousands of versions of the SDK. ``make deep`` does.

    Args:
        temporary: The temporary folder of this process; with pytest-xdist, its parent is shared by all processes.
    """
    import fcntl  # not on Windows

    folder = (temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary) / "wheels"
    with folder.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _collect(temporary / "collected").rename(folder)
    links = f"{folder} {os.environ.get('PIP_FIND_LINKS', '')}".strip()
    return {"PIP_FIND_LINKS": links, **({} if by_depth(0, 1) else {"PIP_NO_INDEX": "1"})}


def _collect(folder: Path) -> Path:
    """Build fanfold's wheel, and download the pinned versions of its dependencies for AWS and for Excel."""
    pip = [sys.executable, "-m", "pip", "--quiet"]
    succeeds(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("fanfold-*.whl")
    pins = folder / "pins.txt"
    lines = re.findall(r"^[\w.-]+==\S+", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE)
    pins.write_text("\n".join(lines))
    machine = "aarch64" if OUR_ARCHITECTURE == "arm64" else "x86_64"
    libraries = ["manylinux2014", "manylinux_2_17", *(["manylinux_2_28"] if OUR_VERSION != "3.11" else [])]
    tags = [f"--platform={library}_{machine}" for library in libraries]
    where = ["--implementation=cp", f"--python-version={OUR_VERSION}", *tags, "--only-binary=:all:", "--dest", folder]
    succeeds(*pip, "download", *where, "--constraint", pins, f"fanfold[aws,excel] @ file://{wheel}")
    return folder
