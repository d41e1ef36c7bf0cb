"""The installed size of fanfold with each extra, without installing anything.

::

    python benchmarks/extras_size.py [--json FILE]

The size of a package is the sum of its files as pip recorded them, without compiled modules. An extra brings its
packages and all that they need, as far as it applies to this Python and system. So all extras must be installed:
``[all]``. The size of fanfold is that of a wheel that is built from this checkout.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, requires
from pathlib import Path

from packaging.requirements import Requirement

from measure import Rows, fail, main, table

ROOT = Path(__file__).parents[1]
ORDER = (
    *("", "aws", "aws,cli", "local", "cli", "check", "bench"),
    *("powertools", "pydantic", "msgspec", "excel", "parquet", "otel", "zstd", "all"),
)
"""Extras in the order of the table; the first is fanfold without extras."""


def normal(name: str) -> str:
    """Return the normalized name of a package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(name: str, extras: frozenset[str]) -> list[Requirement]:
    """Return the requirements of a package with extras that apply here."""
    chosen = [Requirement(text) for text in requires(name) or ()]
    return [
        requirement
        for requirement in chosen
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""})
    ]


def closure(extra: str) -> set[str]:
    """Return the names of all packages that an extra of fanfold, or several, bring, without fanfold."""
    waiting = [("fanfold", frozenset(extra.split(",")))]
    seen = set(waiting)
    while waiting:
        for requirement in needed(*waiting.pop()):
            package = (normal(requirement.name), frozenset(requirement.extras))
            if package not in seen:
                seen.add(package)
                waiting.append(package)
    return {name for name, _ in seen} - {"fanfold"}


def installed(name: str) -> Distribution:
    """Return an installed package.

    Raises:
        SystemExit: If it is not installed.
    """
    try:
        return distribution(name)
    except PackageNotFoundError:
        fail(f"{name} is not installed: pip install 'fanfold[all]'")


@cache
def megabytes(name: str) -> float:
    """Return the size of an installed package."""
    files = [Path(str(file.locate())) for file in installed(name).files or () if file.suffix != ".pyc"]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def own_megabytes() -> float:
    """Return the unpacked size of fanfold's wheel."""
    with tempfile.TemporaryDirectory() as folder:
        build = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - our own build
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return sum(file.file_size for file in archive.infolist()) / 1e6


@table("boto3", "pyarrow", "matplotlib", "ministack")
def extras_size() -> Rows:
    """Add up the sizes."""
    own, rows = own_megabytes(), []
    for extra in ORDER:
        packages = closure(extra)
        rows.append(
            {
                "install": f"fanfold[{extra}]" if extra else "fanfold",
                "packages": 1 + len(packages),
                "MB": own + sum(map(megabytes, packages)),
            }
        )
    return rows


if __name__ == "__main__":
    main(extras_size)
