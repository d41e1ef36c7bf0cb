"""The result of ``fanfold replay`` on a terminal: what did not simply succeed, and how many did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanfold._base.readable import printable
from fanfold._replay.outage import survived
from fanfold._replay.timeline import durations, text_timeline
from fanfold._replay.wording import counted, notable, outcomes_unknown, unique_prefix_length

_MAX_ROWS: Final = 40
_MAX_DELIVERIES: Final = 12
_MAX_LETTERS: Final = 5
_MAX_TEXT: Final = 200
_WIDE: Final = 110
"""Columns of a terminal from which the tables show everything."""
_STYLES: Final = {"deleted": "green", "dead-lettered": "yellow", "lost": "bold red", "in the queue": "cyan"}


def show_replay(document: Mapping[str, Any], console: Console, html: Path | None) -> None:
    """Print the deliveries and the messages that did not simply succeed, a timeline of handlers, and the totals."""
    _show_deliveries(document["deliveries"], console)
    first = next((delivery for delivery in document["deliveries"] if delivery["measured"]["spans"]), None)
    if first is not None:
        console.print(f"measured timeline of delivery {first['number']}", style="bold")
        console.print(text_timeline(first, document["messages"], width=min(100, console.width)), markup=False)
        console.print()
    _show_messages(document, console)
    _show_totals(document, console, html)


def _show_deliveries(deliveries: Sequence[Mapping[str, Any]], console: Console) -> None:
    listed = [delivery for delivery in deliveries if delivery["verdict"]["kind"] != "complete success"]
    succeeded = len(deliveries) - len(listed)
    text = counted(succeeded, "delivery", "deliveries")
    console.print(f"{text} succeeded completely" + (f", {len(listed):,} did not:" if listed else "\n"))
    if listed:
        console.print(_deliveries(listed[:_MAX_DELIVERIES], wide=console.width >= _WIDE))
        _show_more(len(listed), _MAX_DELIVERIES, console)


def _deliveries(deliveries: Sequence[Mapping[str, Any]], *, wide: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("#", "at s", "records", "took s", *(("in flight", "left s", "peak MB") if wide else ())):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for delivery in deliveries:
        measured, verdict = delivery["measured"], delivery["verdict"]
        left = measured["remaining_ms"]
        more = (
            _cell(measured["most_in_flight"]),
            "-" if left is None else f"{left / 1000:.1f}",
            _cell(measured["peak_memory_mb"]),
        )
        table.add_row(
            str(delivery["number"]),
            f"{delivery['began_at']:g}",
            f"{len(delivery['messages']):,}",
            f"{measured['seconds']:.3f}",
            *(more if wide else ()),
            _shown(f"{verdict['kind']}: {_line(verdict['reason'])}"),
        )
    return table


def _show_messages(document: Mapping[str, Any], console: Console) -> None:
    messages = document["messages"]
    listed = notable(messages)
    simple = document["summary"]["messages"] - document["summary"]["filtered"] - len(listed)
    console.print(f"{counted(simple, 'message')} deleted at the first receive" + (", the others:" if listed else "\n"))
    if listed:
        length = unique_prefix_length(message["id"] for message in messages)
        console.print(_messages(listed[:_MAX_ROWS], length, durations(document), wide=console.width >= _WIDE))
        _show_more(len(listed), _MAX_ROWS, console)


def _messages(messages: Sequence[Mapping[str, Any]], length: int, took_ms: Mapping[int, float], *, wide: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("message", overflow="ellipsis", no_wrap=True, max_width=30 if wide else 18)
    table.add_column("end", no_wrap=True)
    table.add_column("receives", justify="right", no_wrap=True)
    if wide:
        table.add_column("took ms", justify="right", no_wrap=True)
    table.add_column("last outcome", overflow="fold")
    for message in messages:
        style, number = _STYLES.get(message["end"], ""), message["number"]
        outcome = ": ".join(text for text in (message["outcome"], message["error"]) if text)
        table.add_row(
            _shown(message["id"][:length]),
            _shown(message["label"]),
            f"[{style}]{message['end']}[/]",
            str(message["receives"]),
            *((f"{took_ms[number]:.1f}" if number in took_ms else "-",) if wide else ()),
            _shown(_line(outcome or "-")),
        )
    return table


def _show_totals(document: Mapping[str, Any], console: Console, html: Path | None) -> None:
    summary, measured = document["summary"], document["measured"]
    peak = f", at most {measured['peak_memory_mb']:g} MB" if measured["peak_memory_mb"] is not None else ""
    ends = [f"{summary[end]:,} {text}" for end, text in _ENDS.items() if summary[end] or end in _ALWAYS]
    console.print(
        f"[bold]{counted(summary['messages'], 'message')}[/bold]: {', '.join(ends)}; "
        f"{counted(summary['receives'], 'receive')} in {counted(summary['deliveries'], 'delivery', 'deliveries')}, "
        f"{measured['seconds']:.1f} s{peak}"
    )
    for line in survived(document):
        console.print(f"  {line}", markup=False)
    _show_foreign_letters(document["dead_letters"], console)
    if why := outcomes_unknown(document):
        console.print(f"  {why}", style="dim")
    if html is not None:
        console.print(f"  HTML page: {html}", markup=False)


def _show_foreign_letters(letters: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print the dead letters that are not messages of the replay: the handler wrote them."""
    foreign = [letter for letter in letters if letter["number"] is None]
    for letter in foreign[:_MAX_LETTERS]:
        console.print(f"  dead letter of the handler: {_shown(letter['label'])} ({_shown(_line(letter['reason']))})")
    if len(foreign) > _MAX_LETTERS:
        console.print(f"  and {len(foreign) - _MAX_LETTERS:,} more; --json lists them", style="dim")


_ENDS: Final = {
    "deleted": "deleted",
    "dead_lettered": "dead-lettered",
    "left": "in the queue",
    "lost": "lost",
    "filtered": "filtered out",
}
_ALWAYS: Final = {"deleted", "dead_lettered", "lost"}
"""Counts that are shown even if they are 0."""


def _show_more(number: int, most: int, console: Console) -> None:
    if number > most:
        console.print(f"and {number - most:,} more; --html and --json list them", style="dim")


def _line(text: str) -> str:
    """Return the first line of a text, of limited length; an error may have a traceback in its text."""
    first, *others = text.strip().splitlines() or [""]
    line = " ".join(first.split())[:_MAX_TEXT]
    return f"{line} …" if others or len(first) > _MAX_TEXT else line


def _shown(text: str) -> str:
    """Return a text of the user for a table: it neither controls the terminal nor counts as markup."""
    return escape(printable(text))


def _cell(value: object) -> str:
    return "-" if value is None else f"{value}"
