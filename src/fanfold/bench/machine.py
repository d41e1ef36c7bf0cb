"""Where and with what numbers are made."""

from __future__ import annotations

import datetime as dt
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from fanfold import __version__

_PACKAGES: Final = ("anyio", "aiohttp", "aiobotocore", "boto3", "aws-lambda-powertools")


def about_this_machine() -> dict[str, Any]:
    """Return what a reader needs to know of the machine and the versions, and nothing that names its owner."""
    packages = {"fanfold": __version__}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": packages,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
