"""The segments to look at first: failed, retried, continued, slow, large, late."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fanfold._base.readable import duration_text
from fanfold._report.columns import DONE, FAILED, KINDS, UNKNOWN, Columns, short

MAX_ALL: Final = 100
"""Up to this number of ended segments, all are listed."""
_MOST: Final = {"failed": 30, "slowest": 15, "most attempts": 15, "most parts": 15, "most items": 10, "last to end": 5}
HEADER: Final = ("segment", "state", "begin", "duration", "attempts", "parts", "items", "environment", "why listed")


@dataclass(frozen=True, slots=True)
class Standouts:
    """A table of segments."""

    rows: Sequence[Sequence[str]]
    """Texts by the titles in ``HEADER``; without the last one if all segments are listed."""
    styles: Sequence[str]
    """CSS class of each row."""
    is_complete: bool
    """True if every ended segment is listed."""


def standouts(columns: Columns, begin: float) -> Standouts:
    """Return the segments that stand out, or all if there are few; times are from ``begin``."""
    reasons: dict[int, list[str]] = {}
    for why, rows in _chosen(columns).items():
        for row in rows:
            reasons.setdefault(row, []).append(why)
    ended = columns.kind.count(DONE) + columns.kind.count(FAILED)
    is_complete = ended <= MAX_ALL
    rows = sorted(columns.rows(DONE, FAILED), key=columns.segment.__getitem__) if is_complete else list(reasons)
    return Standouts(
        [_texts(columns, row, begin, None if is_complete else reasons[row]) for row in rows],
        ["failed" if columns.kind[row] == FAILED else "" for row in rows],
        is_complete,
    )


def _chosen(columns: Columns) -> dict[str, Sequence[int]]:
    done = list(columns.rows(DONE))
    failed = list(columns.rows(FAILED))
    timed = [row for row in done if not math.isnan(columns.seconds[row] + columns.began[row])]

    def most(why: str, rows: Iterable[int], key: Sequence[float]) -> Sequence[int]:
        return heapq.nlargest(_MOST[why], rows, key=key.__getitem__)

    return {
        "failed": heapq.nsmallest(_MOST["failed"], failed, key=columns.segment.__getitem__),
        "slowest": most("slowest", timed, columns.seconds),
        "most attempts": most("most attempts", (row for row in done if columns.tries[row] > 1), columns.tries),
        "most parts": most("most parts", (row for row in done if columns.parts[row] > 1), columns.parts),
        "most items": most("most items", (row for row in done if columns.items[row] > 0), columns.items),
        "last to end": heapq.nlargest(_MOST["last to end"], timed, key=columns.ended.__getitem__),
    }


def _texts(columns: Columns, row: int, begin: float, why: Sequence[str] | None) -> Sequence[str]:
    began, seconds, items = columns.began[row], columns.seconds[row], columns.items[row]
    environment = columns.environments[columns.environment[row]]
    return [
        f"{columns.segment[row]}",
        KINDS[columns.kind[row]],
        "-" if math.isnan(began) else duration_text(max(0.0, began - begin)),
        "-" if math.isnan(seconds) else duration_text(seconds),
        f"{columns.tries[row]}",
        f"{columns.parts[row]}",
        "-" if items == UNKNOWN else f"{items:,}",
        "-" if environment is None else short(environment),
        *([] if why is None else [", ".join(why)]),
    ]
