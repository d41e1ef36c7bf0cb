"""What the benchmarks share: where and with what they run, children in a clean environment, tables, options."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import json
import logging
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

NOT_FOR_CHILDREN = (
    "FANFOLD_CONCURRENCY",
    "PYTHONASYNCIODEBUG",
    "PYTHONDEVMODE",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONMALLOC",
    "PYTHONTRACEMALLOC",
)


def about_this_run(*packages: str) -> dict[str, Any]:
    """Return where, with what and by which command the numbers are made."""
    script = Path(sys.argv[0]).name
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _version(name, script) for name in ("fanfold", *packages)},
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "command": shlex.join(["python", f"benchmarks/{script}", *sys.argv[1:]]),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _version(package: str, script: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit(f"{script}: {package} is not installed; pip install fanfold {package}") from None


def run_child(script: str, *arguments: str) -> Any:
    """Run a script's own child in a clean environment, with Lambda's variables, and return the JSON it prints."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_FOR_CHILDREN}
    # Lambda sets this variable; with it Powertools keeps its event loop instead of making one for each batch.
    environment["LAMBDA_TASK_ROOT"] = str(Path(script).parent)
    command = [sys.executable, script, "--child", *arguments]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
    if child.returncode:
        reason = (child.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SystemExit(f"{Path(script).name}: {' '.join(arguments)} failed: {reason}")
    return json.loads(child.stdout)


def set_up_child() -> None:
    """Log at WARNING into nothing: every peer composes what it logs, none pays for writing it."""
    logging.basicConfig(level=logging.WARNING, handlers=[logging.NullHandler()])


def reset_peak() -> int | None:
    """Set this process's peak of resident memory to what is resident now and return it; None where that cannot be."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    return peak_bytes()


def peak_bytes() -> int | None:
    """Return this process's peak of resident memory; None where it cannot be read."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def report(about: dict[str, Any], rows: Sequence[dict[str, Any]], *, words: int = 1) -> str:
    """Return the machine, the versions and the table, as Markdown that reads well as it is.

    Args:
        about: What ``about_this_run`` returned.
        rows: One for each line of the table, by the columns' titles.
        words: Columns that hold words and stand to the left; numbers follow.
    """
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    head = [
        f"{about['cpu']}, {about['cores']} cores, {about['system']}",
        f"{about['python']}, {packages}",
        f"{about['date']}, {about['command']}",
    ]
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    return "\n".join([*head, "", *_table(cells, words)])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _table(rows: Sequence[Sequence[str]], words: int) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [
        [
            cell.ljust(width) if i < words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    rule = ["-" * width if i < words else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return [f"| {' | '.join(cells)} |" for cells in (aligned[0], rule, *aligned[1:])]


def options_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same numbers there, as one JSON document")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    return parser


def positive(text: str) -> int:
    """Return a whole number from 1, for an option.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1, not {text!r}")
    return int(text)


def publish(about: dict[str, Any], rows: Sequence[dict[str, Any]], file: Path | None, *, words: int = 1) -> None:
    """Print the table, and write the JSON document if one is asked for."""
    print(report(about, rows, words=words))
    if file:
        file.write_text(json.dumps({**about, "results": rows}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
