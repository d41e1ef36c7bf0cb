"""The number of segments of a run. The plan determines it, so that a damaged counter cannot change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fanfold import sources
from fanfold._ports.run import Counter, Run
from fanfold.errors import SegmentError


def part_of(plan: Mapping[str, Any], number: int) -> Mapping[str, Any] | None:
    """Return the part of a segment in a complete plan; None if the plan has no segment of this number."""
    return next(iter(sources.cut(plan, number)), None)


def count_segments(plan: Mapping[str, Any]) -> int:
    """Return the number of segments of a complete plan, with a number of cuts that is logarithmic in it."""
    least, most = 0, 1
    while part_of(plan, most - 1) is not None:
        least, most = most, 2 * most
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if part_of(plan, middle - 1) is not None else (least, middle)
    return least


def total_of(run: Run, counter: Counter) -> int:
    """Return the number of segments of a run: of all, or of those enqueued so far.

    A number in the ledger that the plan contradicts is replaced by that of the plan.
    """
    total = run.position if counter.total is None else counter.total
    if not run.is_planned:
        return total
    try:
        if counter.total is None:
            is_possible = run.gen == 0 and (total == 0 or part_of(run.plan, total - 1) is not None)
        else:
            is_possible = is_total(run, total)
        return total if is_possible else count_segments(run.plan)
    except (SegmentError, LookupError, TypeError, ValueError):  # a plan that this release does not know
        return total


def is_total(run: Run, total: int) -> bool:
    """Return whether the plan of a run has this number of segments."""
    return part_of(run.plan, total) is None and (total == 0 or part_of(run.plan, total - 1) is not None)
