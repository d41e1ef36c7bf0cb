"""A run as one self-contained HTML page, for light mode, dark mode, and print. Its size does not depend on the run's.

Pictures have a sentence and a table with the same numbers. Colors are never the only difference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fanfold._base.html import render
from fanfold._base.readable import duration_text, ranges_text
from fanfold._jobs.failure_groups import FailureGroup
from fanfold._jobs.masking import masked
from fanfold._jobs.run_details import RunDetails
from fanfold._ports.queue import QueueCounts
from fanfold._ports.run import Run, RunState
from fanfold._report import standouts as standouts_
from fanfold._report.charts import Chart, Tick, TimeAxis
from fanfold._report.columns import ATTEMPT, DONE, PART, UNKNOWN, Columns
from fanfold._report.cost import DEFAULT_MEMORY_MB, cost_of, dollars_text
from fanfold._report.distribution import Distribution, distribution
from fanfold._report.failures import Command, failures, time_text
from fanfold._report.throughput import rate_text, throughput
from fanfold._report.timeline import BINS, Timeline, timeline

MAX_GENERATIONS: Final = 3
"""Generations with a timeline: the latest."""
_MAX_PARAMETERS: Final = 2_000
_MAX_NOTES: Final = 10
_MAX_COMMAND: Final = 1_000
_SHORTEST_AXIS: Final = 0.001
_MOST_WAIT: Final = 3_600.0
"""Seconds between the creation of a run and its first segment up to which the axis begins at the creation."""


@dataclass(frozen=True, slots=True)
class RunPage:
    """The contents of the page in addition to the details of a run."""

    details: RunDetails
    """The run and its segments."""
    fold_failure: str | None = None
    """Why the run failed although its segments did not; None otherwise."""
    memory_mb: int = DEFAULT_MEMORY_MB
    """Memory of the segment function, for the estimated cost."""
    retry: str = "fanfold redrive {run}"
    """Command that retries the failed segments; ``--only`` is added to it."""
    queue: QueueCounts | None = None
    """Messages of the work queue, which all runs share; None if they are unknown, or the run has ended."""
    inline: bool = False
    """True for a run in one process, which has no logs in CloudWatch and no cost on AWS."""

    @property
    def run(self) -> Run:
        """The run."""
        return self.details.run

    @property
    def title(self) -> str:
        """Title of the page."""
        return f"Run {self.run.id} of {self.run.job}"

    @property
    def command(self) -> str:
        """Command that retries everything that failed."""
        return self.retry.format(run=self.run.id)

    @property
    def purpose(self) -> str:
        """Purpose of the command."""
        return "continue the run" if self.run.state == RunState.CANCELLED else "retry the failed segments"

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last segment will have ended; None if that is unknown, or only failing ones are left."""
        details = self.details
        if details.estimated_end is None or details.missing <= details.failing:
            return None
        return max(0.0, details.estimated_end - details.now)

    @property
    def verdict(self) -> str:
        """The state of the run in a sentence."""
        return _verdict(self)


@dataclass(frozen=True, slots=True)
class _Generation:
    number: int
    title: str
    timeline: Timeline
    throughput: Chart
    ticks: Sequence[Tick] = field(default_factory=list)


def page(source: RunPage, *, next_ms: int | None = None) -> str:
    """Return the page of a run. All texts are escaped.

    Args:
        source: The run.
        next_ms: Milliseconds after which the page refreshes itself, 0 for never; None for a page without a script.
    """
    return render(__package__, "page.html", live=next_ms is not None, next_ms=next_ms, **_values(source))


def main_part(source: RunPage) -> str:
    """Return the part of the page that changes while the run is in progress."""
    return render(__package__, "body.html", **_values(source))


def _values(source: RunPage) -> dict[str, Any]:
    details, run = source.details, source.run
    columns = Columns.of(details.ends(), details.attempts(), details.parts())
    segments = standouts_.standouts(columns, run.created_at)
    return {
        "title": source.title,
        "state": run.state,
        "is_bad": run.state == RunState.FAILED,
        "verdict": source.verdict,
        "tiles": _tiles(source).items(),
        "notes": _notes(source, columns),
        "failing": failures(details.failing_now, "attempt", lambda group: _logs_of(source, group)),
        "failed": failures(details.failed_groups, "failed", lambda group: _retry_of(source, group)),
        "recovered": failures(details.recovered(), "attempt", lambda group: _logs_of(source, group)),
        "fold": _fold(source, columns),
        "fold_commands": _fold_commands(source),
        "generations": _generations(run, columns),
        "timeline_header": ("execution environment", "segments", "failed attempts", "begin", "end", "mean in flight"),
        "has_parts": PART in columns.kind,
        "bins": BINS,
        "distributions": _distributions(columns),
        "segments": segments,
        "segments_header": standouts_.HEADER[: 8 if segments.is_complete else 9],
        "cost": None if source.inline else cost_of(columns, details.deliveries, source.memory_mb),
        "about": _about(source),
        "percent": _percent,
        "dollars": dollars_text,
    }


def _percent(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") + "%"


def _verdict(source: RunPage) -> str:
    details, run = source.details, source.run
    counts = f"{details.done:,} of {details.total:,} segments are done"
    others = {"failing": details.failing, "failed permanently": details.failed}
    text = ", ".join([counts, *(f"{count:,} {name}" for name, count in others.items() if count)]) + "."
    if run.ended_at is not None:
        text = f"after {duration_text(details.elapsed)}. {text}"
        return f"{text} The fold failed: {source.fold_failure}" if source.fold_failure else text
    text = f"for {duration_text(details.elapsed)}. {text}"
    left = source.seconds_left
    return text if left is None else f"{text} About {duration_text(left)} left."


def _tiles(source: RunPage) -> dict[str, str]:
    details = source.details
    least = "" if details.is_exact else "at least "
    tiles = {"segments": f"{details.total:,}", "done": f"{details.done:,}", "failed": f"{details.failed:,}"}
    if details.failing:
        tiles["failing now"] = f"{details.failing:,}"
    if source.queue is not None:
        tiles["messages in flight"] = f"{source.queue.in_flight:,}"
    if details.missing and not source.run.ended:
        tiles["not ended"] = f"{details.missing:,}"
    if details.rate and not source.run.ended:
        tiles["rate"] = rate_text(details.rate)
    tiles["deliveries"] = f"{least}{details.deliveries:,}"
    tiles["retries"] = f"{least}{details.retries:,}"
    tiles["duplicates ignored"] = f"{details.duplicates:,}"
    if details.items is not None:
        tiles["items"] = f"{details.items.total:,}"
    if details.bad_rows:
        tiles["bad rows"] = f"{details.bad_rows:,}"
    return tiles


def _notes(source: RunPage, columns: Columns) -> Sequence[str]:
    notes = []
    if not source.run.ended:
        notes.append(f"As of {time_text(source.details.now)}: the run is in progress.")
    if (known := columns.kind.count(ATTEMPT)) < source.details.failed_attempts:
        notes.append(f"The pictures show {known:,} of {source.details.failed_attempts:,} failed attempts.")
    for name, spread, text in (
        ("items", source.details.items, _count),
        ("durations", source.details.seconds, duration_text),
    ):
        if spread is not None and spread.outliers:
            segment, most = next(iter(spread.outliers.items()))
            notes.append(f"Uneven {name}: segment {segment} has {text(most)}, over five times the mean.")
    notes += [f"An item of the ledger cannot be read: {item.key}: {item.reason}" for item in source.details.unreadable]
    return notes[:_MAX_NOTES]


def _count(value: float) -> str:
    return f"{value:,.0f}"


def retry_command(source: RunPage, group: FailureGroup) -> str:
    """Return the command that retries the segments of a group, or all that failed if there are too many to name."""
    numbers = ranges_text(group.segments, characters=_MAX_COMMAND)
    command = source.command
    return command if numbers is None or len(group.segments) < group.count else f"{command} --only {numbers}"


def _retry_of(source: RunPage, group: FailureGroup) -> Sequence[Command]:
    command = retry_command(source, group)
    which = "these segments" if "--only" in command else "all failed segments"
    when = "Fix the cause, then" if source.run.ended else "After the run has ended,"
    return [*_logs_of(source, group), (f"{when} retry {which}:", command)]


def _logs_of(source: RunPage, group: FailureGroup) -> Sequence[Command]:
    if source.inline or group.example is None:
        return []
    return [("Show the log of the example:", f"fanfold logs {source.run.id} --segment {group.example.segment}")]


def _fold(source: RunPage, columns: Columns) -> Sequence[tuple[str, str]]:
    run = source.run
    if not run.ended:
        state = "in progress" if run.state == RunState.FOLDING else "starts when every segment has ended"
        return [("state", state)]
    if source.fold_failure:
        facts = [("state", "failed"), ("reason", source.fold_failure)]
    elif run.state == RunState.SUCCEEDED:
        facts = [("state", "succeeded"), ("output", run.output or "-")]
    else:
        reason = "the run was cancelled" if run.state == RunState.CANCELLED else "too many segments failed"
        facts = [("state", f"not started, because {reason}")]
    last = max((columns.ended[row] for row in columns.of_generation(run.gen)), default=None)
    if last is not None and run.ended_at is not None:
        facts.append(("from the last segment to the end", duration_text(max(0.0, run.ended_at - last))))
    if run.fence > 1:
        facts.append(("claims of the fold", f"{run.fence:,}, including those of earlier generations"))
    return facts


def _fold_commands(source: RunPage) -> Sequence[Command]:
    if source.run.state == RunState.CANCELLED:
        return [("Continue the run:", source.command)]
    if not source.fold_failure:
        return []
    return [("Fix the cause, then retry the fold; segments are not repeated:", source.command)]


def _generations(run: Run, columns: Columns) -> Sequence[_Generation]:
    generations = []
    for gen in range(max(0, run.gen + 1 - MAX_GENERATIONS), run.gen + 1):
        if not (ended := columns.of_generation(gen)):
            continue
        begun = columns.with_begin(ended)
        begin = min(columns.began[begun[0]] if begun else math.inf, *(columns.ended[row] for row in ended))
        if gen == 0:
            begin = min(begin, max(run.created_at, begin - _MOST_WAIT))
        axis = TimeAxis(begin, max(begin + _SHORTEST_AXIS, *(columns.ended[row] for row in ended)))
        title = f", generation {gen}" if run.gen else ""
        drawn = timeline(columns, begun, axis), throughput(columns, ended, axis)
        generations.append(_Generation(gen, title, *drawn, axis.ticks))
    return generations


def _distributions(columns: Columns) -> Sequence[tuple[str, Distribution]]:
    done = list(columns.rows(DONE))
    seconds = (columns.seconds[row] for row in done if not math.isnan(columns.seconds[row]))
    items = (columns.items[row] for row in done if columns.items[row] != UNKNOWN)
    drawn = {
        "items": distribution("Items", items, _count),
        "seconds": distribution("Duration", seconds, duration_text),
    }
    return [(name, shown) for name, shown in drawn.items() if shown is not None]


def _about(source: RunPage) -> Sequence[tuple[str, str]]:
    run = source.run
    parameters = json.dumps(masked(dict(run.params)), ensure_ascii=False)
    if len(parameters) > _MAX_PARAMETERS:
        parameters = f"{parameters[:_MAX_PARAMETERS]} …"
    return [
        ("run", run.id),
        ("job", run.job),
        ("parameters", parameters),
        ("source", str(run.plan.get("type", "-"))),
        ("created", time_text(run.created_at)),
        ("ended", "-" if run.ended_at is None else time_text(run.ended_at)),
        ("generation", str(run.gen)),
    ]
