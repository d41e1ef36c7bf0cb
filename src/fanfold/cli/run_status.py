"""The status of a run on a terminal of 80 columns, and as lines if stderr is not a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fanfold._base.readable import duration_text, first_ranges_text, printable
from fanfold._jobs.failure_groups import FailureGroup
from fanfold._jobs.run_details import RunDetails, Spread
from fanfold._ports.run import RunState
from fanfold._report.failures import error_of, where_of
from fanfold._report.page import RunPage, retry_command
from fanfold._report.throughput import rate_text

MAX_GROUPS: Final = 8
"""Groups of failures that are shown; the page of the run shows more."""
LINE_SECONDS: Final = 5.0
"""Least time between two lines, if stderr is not a terminal and no other error appears."""
_TIMES: Final = "×"  # noqa: RUF001 - not a letter
_BAR_WIDTH: Final = 34
_SEGMENTS_CHARACTERS: Final = 60
_COLORS: Final = {RunState.SUCCEEDED: "green", RunState.FAILED: "red", RunState.CANCELLED: "yellow"}


def status_view(source: RunPage) -> RenderableType:
    """Return the status of a run."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, value in _rows(source):
        rows.add_row(name, Text(value) if isinstance(value, str) else value)
    return Group(_headline(source.details), _bar(source.details), rows)


def _headline(details: RunDetails) -> Text:
    run = details.run
    took = f"{'after' if run.ended_at is not None else 'for'} {duration_text(details.elapsed)}"
    generation = f", generation {run.gen}" if run.gen else ""
    text = Text.assemble("run ", (run.id, "bold"), f" of {run.job}: ")
    text.append(run.state, _COLORS.get(run.state, "cyan"))
    return text.append(f" {took}{generation}")


def progress_of(details: RunDetails) -> tuple[str, int, int]:
    """Return what the progress bar counts, how many have ended, and of how many: of a redrive, only its segments."""
    if details.run.gen:
        redriven = details.run.redo
        return "redriven segments ended", max(0, redriven - details.missing), redriven
    return "segments ended", details.total - details.missing, details.total


def _bar(details: RunDetails) -> RenderableType:
    name, ended, total = progress_of(details)
    bar = Table.grid(padding=(0, 1))
    more = "" if details.is_enqueued else " so far"
    bar.add_row(name, ProgressBar(total=max(1, total), completed=ended, width=_BAR_WIDTH), f"{ended:,}/{total:,}{more}")
    return bar


def _rows(source: RunPage) -> Iterator[tuple[str, RenderableType]]:
    details, run = source.details, source.run
    yield "segments", _counts(details)
    if source.queue is not None:
        yield (
            "queue",
            f"about {source.queue.in_flight:,} messages in flight, {source.queue.waiting:,} waiting, of all runs",
        )
    if not run.ended and details.rate:
        left = source.seconds_left
        yield "rate", rate_text(details.rate) + ("" if left is None else f", about {duration_text(left)} left")
    yield "deliveries", _deliveries(details)
    if details.continued:
        yield "continued", f"{_segments(details.continued)}, in at most {details.most_parts} parts"
    yield from _spread("items", details.items, lambda value: f"{value:,.0f}", with_total=True)
    yield from _spread("duration", details.seconds, duration_text)
    if details.bad_rows:
        yield "bad rows", f"{details.bad_rows:,}"
    if run.output is not None and not source.fold_failure and run.state == RunState.SUCCEEDED:
        yield "output", Text(run.output)
    for item in details.unreadable[:MAX_GROUPS]:
        yield "unreadable", Text(printable(f"{item.key}: {item.reason}"))
    yield from _failures("failing now", details.failing_now)
    yield from _failures("failed", details.failed_groups)
    yield from _next(source)


def _counts(details: RunDetails) -> str:
    counts = {
        "done": details.done,
        "failing": details.failing,
        "failed": details.failed,
        "not ended": details.missing,
    }
    named = [f"{count:,} {name}" for name, count in counts.items() if count or name == "done"]
    return f"{details.total:,}: {', '.join(named)}"


def _deliveries(details: RunDetails) -> str:
    least = "" if details.is_exact else "at least "
    counts = {
        "retries": details.retries,
        "failed attempts": details.failed_attempts,
        "duplicates ignored": details.duplicates,
    }
    return f"{least}{details.deliveries:,}: {', '.join(f'{count:,} {name}' for name, count in counts.items())}"


def _spread(
    name: str, spread: Spread | None, text: Callable[[float], str], *, with_total: bool = False
) -> Iterator[tuple[str, str]]:
    if spread is None:
        return
    total = f"{text(spread.total)}: " if with_total else ""
    yield name, f"{total}{text(spread.least)} to {text(spread.most)} per segment, mean {text(spread.mean)}"
    for segment, most in list(spread.outliers.items())[:3]:
        yield "", f"uneven: segment {segment} has {text(most)}, over five times the mean"


def _failures(name: str, groups: Sequence[FailureGroup]) -> Iterator[tuple[str, RenderableType]]:
    for group in groups[:MAX_GROUPS]:
        where = where_of(group)
        text = Text(f"{group.count:,} {_TIMES} {error_of(group)}", "bold")
        text.append(f" ({where})" if where else "", "not bold")
        text.append(f"\nsegments {first_ranges_text(group.segments, characters=_SEGMENTS_CHARACTERS)}", "not bold dim")
        yield name, text
    if len(groups) > MAX_GROUPS:
        yield "", f"and {len(groups) - MAX_GROUPS} more kinds of errors"


def _next(source: RunPage) -> Iterator[tuple[str, RenderableType]]:
    """Yield why the fold failed, and the commands to use next."""
    details, run = source.details, source.run
    if source.fold_failure:
        yield "fold failed", Text(printable(source.fold_failure), "bold")
        yield "next", Text(f"fix the cause, then retry the fold:\n{source.command}")
    elif run.state == RunState.CANCELLED:
        yield "next", Text(f"continue the run:\n{source.command}")
    elif details.failed_groups and run.ended:
        command = retry_command(source, details.failed_groups[0])
        yield "next", Text(f"fix the cause, then retry:\n{command}")


def _segments(count: int) -> str:
    return f"{count:,} segment{'' if count == 1 else 's'}"


def status_line(source: RunPage) -> str:
    """Return the status of a run in a line, without errors."""
    details = source.details
    name, ended, total = progress_of(details)
    texts = [f"{ended:,}/{total:,} {name}"]
    texts += [
        f"{count:,} {what}" for what, count in (("failing", details.failing), ("failed", details.failed)) if count
    ]
    if not details.run.ended and details.rate:
        texts.append(rate_text(details.rate))
    if source.seconds_left is not None:
        texts.append(f"about {duration_text(source.seconds_left)} left")
    return f"run {details.run.id}: {details.run.state}, {', '.join(texts)}"


class StatusLines:
    """Decides which lines to print while a run is watched without a terminal."""

    def __init__(self) -> None:
        self._last: tuple[float, str, RunState | None] = (0.0, "", None)
        self._errors: set[tuple[str, str, str | None]] = set()

    def lines(self, source: RunPage) -> list[str]:
        """Return the lines to print: the status at most every 5 s or when the state changes, and each kind of error."""
        details = source.details
        lines = []
        named = [("failing now", group) for group in details.failing_now]
        named += [("failed", group) for group in details.failed_groups]
        for what, group in named:
            kind = group.error, group.message, group.place
            if kind not in self._errors and len(self._errors) < MAX_GROUPS:
                self._errors.add(kind)
                where = where_of(group)
                text = f"{what}: {group.count:,} {_TIMES} {error_of(group)}"
                lines.append(f"{text} ({where})" if where else text)
        when, last, state = self._last
        line = status_line(source)
        if state != details.run.state or (line != last and details.now - when >= LINE_SECONDS):
            self._last = details.now, line, details.run.state
            lines.insert(0, line)
        return lines


@contextmanager
def watching_status() -> Iterator[Callable[[RunPage], None]]:
    """Yield a function that shows the status on stderr: in place on a terminal, otherwise as lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        chosen = StatusLines()

        def print_lines(source: RunPage) -> None:
            for line in chosen.lines(source):
                console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield print_lines
        return
    with Live(console=console, transient=True, auto_refresh=False) as live:
        yield lambda source: live.update(status_view(source), refresh=True)
