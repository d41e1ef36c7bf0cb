"""The rows of the table of the five systems: expected value, actual value, and evidence level."""

import json
import sys
from pathlib import Path
from typing import Any, Final, TypeAlias

RESULTS: Final = Path(__file__).parents[3] / "benchmarks" / "results"
EMULATED, PROVEN, SIMULATED = "emulated", "proven here", "simulated"
Row: TypeAlias = dict[str, Any]


def row(system: int, figure: str, expected: object, got: object, evidence: str, *, holds: bool | None = None) -> Row:
    """Return a row of the table; by default, it holds if the actual value is the expected one."""
    held = expected == got if holds is None else holds
    return {
        "system": str(system),
        "figure": figure,
        "expected": as_text(expected),
        "got": as_text(got),
        "evidence": evidence,
        "holds": "yes" if held else "NO",
    }


def as_text(value: object) -> str:
    """Format a value: a list as its elements, a dict as JSON, a number with thousands separators."""
    if isinstance(value, list):
        return " / ".join(map(as_text, value))
    if isinstance(value, dict):
        return json.dumps(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def committed(name: str) -> list[dict[str, Any]]:
    """Return the rows of a committed result; if it does not exist, print that and return none."""
    try:
        rows: list[dict[str, Any]] = json.loads((RESULTS / name).read_text(encoding="utf-8"))["results"]
    except FileNotFoundError:
        print(f"five_systems.py: {name} does not exist: its rows are omitted", file=sys.stderr)
        return []
    return rows
