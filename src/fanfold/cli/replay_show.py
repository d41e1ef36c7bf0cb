"""How a replay looks in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from fanfold._replay.timeline import durations, text_timeline

_MOST_ROWS = 40
_MOST_DELIVERIES = 12
_STYLES = {"deleted": "green", "dead-lettered": "yellow", "lost": "bold red", "in the queue": "cyan"}


@contextmanager
def progress_bar(messages: int) -> Iterator[Callable[[int, int, int], None]]:
    """Show on stderr how many messages have ended; yields what a replay tells its progress."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("messages ended", total=messages)

        def tell(deliveries: int, left: int, dead: int) -> None:
            words = f"messages ended [dim]{deliveries} deliveries, {dead} dead letters[/dim]"
            progress.update(bar, completed=max(0, messages - left), description=words)

        yield tell


def show(document: Mapping[str, Any], console: Console, html: Path | None) -> None:
    """Print what happened: deliveries with their verdicts, who ran when, the messages, the sum."""
    console.print(_deliveries(document))
    first = next((each for each in document["deliveries"] if each["measured"]["spans"]), None)
    if first is not None:
        console.print(f"\nwho ran when, delivery {first['number']}, measured", style="bold")
        console.print(text_timeline(first, document["messages"], width=min(100, console.width)), markup=False)
    console.print()
    console.print(_messages(document["messages"], durations(document)))
    _sum_up(document, console, html)


def _deliveries(document: Mapping[str, Any]) -> Table:
    deliveries = document["deliveries"]
    table = Table(title=_counted("deliveries", len(deliveries), _MOST_DELIVERIES), title_justify="left")
    for name, justify in (("#", "right"), ("at s", "right"), ("records", "right"), ("verdict", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type] # one of rich's words
    for name in ("took s", "in flight", "left s", "peak MB"):
        table.add_column(name, justify="right")
    for each in deliveries[:_MOST_DELIVERIES]:
        measured, verdict = each["measured"], each["verdict"]
        left = measured["remaining_ms"]
        table.add_row(
            str(each["number"]),
            f"{each['began_at']:g}",
            f"{len(each['messages']):,}",
            f"{verdict['kind']}: {escape(verdict['reason'])}",
            f"{measured['seconds']:.3f}",
            _cell(measured["most_in_flight"]),
            "-" if left is None else f"{left / 1000:.1f}",
            _cell(measured["peak_memory_mb"]),
        )
    return table


def _messages(messages: Sequence[Mapping[str, Any]], took_ms: Mapping[int, float]) -> Table:
    """Return a table of messages, those that did not simply succeed first."""
    order = sorted(messages, key=lambda each: (each["end"] == "deleted" and each["receives"] <= 1, each["number"]))
    table = Table(title=_counted("messages", len(messages), _MOST_ROWS), title_justify="left")
    for name in ("message", "end", "last outcome", "error"):
        table.add_column(name, overflow="fold", no_wrap=name == "end")
    for name in ("receives", "took ms"):
        table.add_column(name, justify="right")
    for each in order[:_MOST_ROWS]:
        style = _STYLES.get(each["end"], "")
        table.add_row(
            escape(each["id"]), f"[{style}]{each['end']}[/]", each["outcome"] or "-", escape(each["error"] or "-"),
            str(each["receives"]), f"{took_ms[each['number']]:.1f}" if each["number"] in took_ms else "-",
        )  # fmt: skip
    return table


def _sum_up(document: Mapping[str, Any], console: Console, html: Path | None) -> None:
    summary, measured = document["summary"], document["measured"]
    peak = f", at most {measured['peak_memory_mb']:g} MB" if measured["peak_memory_mb"] is not None else ""
    console.print(
        f"[bold]{summary['messages']:,} messages[/bold]: {summary['deleted']:,} deleted, "
        f"{summary['dead_lettered']:,} dead-lettered, {summary['left']:,} in the queue, {summary['lost']:,} lost; "
        f"{summary['receives']:,} receives in {summary['deliveries']:,} deliveries, {measured['seconds']:.1f} s{peak}"
    )
    for letter in document["dead_letters"][:5]:
        console.print(f"  dead letter {letter['id']}: {letter['reason']}", markup=False)
    if not document["consumer"]:
        console.print(
            "  this handler is no fanfold consumer: of single records it tells only what its response names",
            style="dim",
        )
    if html is not None:
        console.print(f"  the page: {html}", markup=False)


def _counted(what: str, number: int, most: int) -> str:
    return f"{number:,} {what}" + (f", {most} shown" if number > most else "")


def _cell(value: object) -> str:
    return "-" if value is None else f"{value}"
