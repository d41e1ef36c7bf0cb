"""The lines of the table of the five systems: what has to come, what came, and how far that goes."""

import json
import sys
from pathlib import Path
from typing import Any, Final, TypeAlias

RESULTS: Final = Path(__file__).parents[3] / "benchmarks" / "results"
EMULATED, PROVEN, SIMULATED = "emulated", "proven here", "simulated"
Row: TypeAlias = dict[str, Any]


def row(system: int, figure: str, expected: object, got: object, rung: str, *, holds: bool | None = None) -> Row:
    """Return a line of the table; unless told otherwise it holds if what came is what was expected."""
    held = expected == got if holds is None else holds
    return {
        "system": str(system),
        "figure": figure,
        "expected": in_words(expected),
        "got": in_words(got),
        "rung": rung,
        "holds": "yes" if held else "NO",
    }


def in_words(value: object) -> str:
    """Say a value: a list by its elements, an object as JSON, a number with its thousands apart."""
    if isinstance(value, list):
        return " / ".join(map(in_words, value))
    if isinstance(value, dict):
        return json.dumps(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def committed(name: str) -> list[dict[str, Any]]:
    """Return the rows of a committed result; none, and say so, if it is not there."""
    try:
        rows: list[dict[str, Any]] = json.loads((RESULTS / name).read_text(encoding="utf-8"))["results"]
    except FileNotFoundError:
        print(f"five_systems.py: {name} is not there: its rows are left out", file=sys.stderr)
        return []
    return rows
