"""``fanfold replay``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import TimeElapsedColumn
from rich.table import Table

from fanfold._base.aws_limits import (
    MAPPING_MAX_BATCH_SIZE,
    MAPPING_MAX_UNWINDOWED_BATCH,
    MAPPING_RECOMMENDED_TIMEOUTS,
    SQS_MAX_VISIBILITY_SECONDS,
)
from fanfold._base.operating_system import MEMORY_NOT_REPORTED, reports_memory
from fanfold._replay.deployed_settings import DeployedSettings, deployed_settings
from fanfold._replay.events import SavedEvent, read_events
from fanfold._replay.function import HandlerError
from fanfold._replay.replay import ReplayOptions, explain, replay
from fanfold._replay.timeline import durations, text_timeline
from fanfold.cli import replay_options as option
from fanfold.cli.arguments import check_page, writing
from fanfold.cli.options import Json
from fanfold.cli.show import progress_bar
from fanfold.errors import ConfigurationError, FanfoldError

_ENDS = ("deleted", "dead-lettered", "left", "lost")
_FLAGS = {
    "function_timeout": ("--timeout", " s"),
    "memory_mb": ("--memory", " MB"),
    "batch_size": ("--batch-size", ""),
    "window_seconds": ("--window", " s"),
    "report_batch_item_failures": ("", ""),
    "maximum_concurrency": ("--concurrency", ""),
    "visibility_timeout": ("--visibility-timeout", " s"),
    "fifo": ("--fifo", ""),
    "max_receive_count": ("--max-receive-count", ""),
}
"""By setting: the option that sets it, and its unit."""
_KINDS = {
    "fifo": {False: "a standard queue", True: "a FIFO queue"},
    "report_batch_item_failures": {True: "[ReportBatchItemFailures]"},
}

_MAX_ROWS = 40
_MAX_DELIVERIES = 12
_STYLES = {"deleted": "green", "dead-lettered": "yellow", "lost": "bold red", "in the queue": "cyan"}


def replay_events(
    events: option.Events,
    handler: option.Handler,
    until_empty: option.UntilEmpty = True,
    repeat: option.Repeat = 1,
    duplicates: option.Duplicates = 0.0,
    seed: option.Seed = 0,
    runtime_client: option.RuntimeClient = False,
    template: option.Template = None,
    function: option.Function = None,
    batch_size: option.BatchSize = None,
    window: option.Window = None,
    concurrency: option.Concurrency = None,
    timeout: option.Timeout = None,
    memory: option.Memory = None,
    max_receive_count: option.MaxReceiveCount = None,
    visibility_timeout: option.VisibilityTimeout = None,
    fifo: option.Fifo = None,
    expect: option.Expect = None,
    explain_id: option.ExplainId = None,
    html: option.Html = None,
    as_json: Json = False,
) -> None:
    """Run a handler on saved events as Lambda's SQS event source mapping would.

    Use it to reproduce a failure, or to test how a handler reacts to retries, timeouts and duplicates. The queue, the
    mapping and the clock are simulated: batches, visibility, redelivery, receive counts, dead letters, FIFO order. The
    handler runs for real, in a separate process that is killed if it exceeds its timeout or memory. Its SQS calls for
    the replayed messages go to the simulated queue; all its other calls are real.

    Exit code: 1 if a message was lost or dead-lettered, unless --expect allows it.
    """
    saved = read_events(events, stdin=sys.stdin.buffer)
    specified = {
        "batch_size": batch_size, "window_seconds": window, "function_timeout": timeout, "memory_mb": memory,
        "max_receive_count": max_receive_count, "visibility_timeout": visibility_timeout,
        "maximum_concurrency": concurrency, "fifo": fifo,
    }  # fmt: skip
    flags = {"duplicates": duplicates, "seed": seed, "until_empty": until_empty, "runtime_client": runtime_client}
    expected = _expected(expect or [])
    check_page(html)
    deployed = _from_template(template, function)
    options = _options(specified, deployed.values, saved, flags)
    for line in (*_undetermined(deployed, specified, options), *_unmeasured()):
        print("fanfold:", line, file=sys.stderr)
    document = _replayed(handler, _repeated(saved, repeat), options)
    _report(document, explain_id, html, as_json=as_json)
    _check(document["summary"], expected)


def _replayed(handler: str, sent: Sequence[SavedEvent], options: ReplayOptions) -> dict[str, Any]:
    messages = sum(len(event.records) for event in sent)
    try:
        with progress_bar("messages ended", messages, TimeElapsedColumn()) as update:

            def show_progress(deliveries: int, left: int, dead: int) -> None:
                text = f"messages ended [dim]{deliveries} deliveries, {dead} dead letters[/dim]"
                update(completed=max(0, messages - left), description=text)

            return replay(handler, sent, options, progress=show_progress)
    except HandlerError as error:
        print(error.traceback, end="", file=sys.stderr)
        raise ConfigurationError(str(error)) from error


def _options(
    specified: Mapping[str, Any],
    from_template: Mapping[str, Any],
    saved: Sequence[SavedEvent],
    flags: Mapping[str, Any],
) -> ReplayOptions:
    chosen = {**from_template, **{name: value for name, value in specified.items() if value is not None}}
    arns = [str(record.get("eventSourceARN", "")) for event in saved for record in event.records]
    chosen.setdefault("fifo", arns[0].endswith(".fifo"))
    small = MAPPING_MAX_UNWINDOWED_BATCH
    if "batch_size" not in chosen:
        largest = max(len(event.records) for event in saved)
        chosen["batch_size"] = min(largest, MAPPING_MAX_BATCH_SIZE) if largest > small and not chosen["fifo"] else small
    if chosen["batch_size"] > small and "window_seconds" not in chosen and not chosen["fifo"]:
        chosen["window_seconds"] = 1
    if "visibility_timeout" not in chosen:
        seconds = chosen.get("window_seconds", 0)
        seconds += MAPPING_RECOMMENDED_TIMEOUTS * chosen.get("function_timeout", ReplayOptions().function_timeout)
        chosen["visibility_timeout"] = min(seconds, SQS_MAX_VISIBILITY_SECONDS)
    return ReplayOptions(**chosen, **flags)


def _from_template(template: Path | None, function: str | None) -> DeployedSettings:
    if template is None and function is None:
        return DeployedSettings()
    if template is None or function is None:
        missing = "--function with the function's logical id" if function is None else "--template with its template"
        raise ConfigurationError(f"--template and --function go together: add {missing}")
    return deployed_settings(template, function)


def _undetermined(deployed: DeployedSettings, specified: Mapping[str, Any], options: ReplayOptions) -> Iterator[str]:
    """Yield a line for each setting that neither the template nor the user specifies, with the value used instead."""
    for name, line in deployed.undetermined.items():
        if specified.get(name) is None:
            flag, unit = _FLAGS[name]
            value = _KINDS.get(name, {}).get(getattr(options, name)) or f"{getattr(options, name):g}{unit}"
            yield f"{line}; {value} is used instead{flag and f', {flag} sets it'}"
    yield from deployed.remarks


def _unmeasured() -> Iterator[str]:
    """Yield a line for what a replay cannot do on this platform."""
    if not reports_memory():
        yield f"peak memory is not measured and --memory is not enforced: {MEMORY_NOT_REPORTED}"


def _repeated(saved: Sequence[SavedEvent], times: int) -> list[SavedEvent]:
    """Return the events, repeated this many times. Each repetition has new message ids."""
    sent = list(saved)
    for time in range(2, times + 1):
        for event in saved:
            records = [{**record, "messageId": f"{record['messageId']}-{time}"} for record in event.records]
            sent.append(SavedEvent(f"{event.name} ({time})", records))
    return sent


def _report(document: Mapping[str, Any], explain_id: str | None, html: Path | None, *, as_json: bool) -> None:
    if html is not None:
        from fanfold._replay.page import page

        with writing(html, "--html "):
            html.write_text(page(document), encoding="utf-8")
    if as_json:
        print(json.dumps(document))
    elif explain_id is not None:
        print(explain(document, explain_id))
    else:
        _show(document, Console(), html)


def _expected(texts: Sequence[str]) -> dict[str, int]:
    counts = {}
    for text in texts:
        end, _, count = text.partition("=")
        if end not in _ENDS or not count.isdecimal():
            raise ConfigurationError(
                f"--expect {text!r} is not of the form END=COUNT with END one of {', '.join(_ENDS)}"
            )
        counts[end] = int(count)
    return counts


def _check(summary: Mapping[str, int], expected: Mapping[str, int]) -> None:
    """Raise if a message was lost or dead-lettered, or a count differs from what ``--expect`` specifies."""
    actual = Counter({end: summary[end.replace("-", "_")] for end in _ENDS})
    all_expected = {"dead-lettered": 0, "lost": 0, **expected}
    wrong = [f"{actual[end]} {end}, {count} expected" for end, count in all_expected.items() if actual[end] != count]
    if wrong:
        raise FanfoldError("; ".join(wrong))


def _show(document: Mapping[str, Any], console: Console, html: Path | None) -> None:
    """Print the deliveries with their verdicts, a timeline of handlers, the messages, and the totals."""
    console.print(_deliveries(document))
    first = next((delivery for delivery in document["deliveries"] if delivery["measured"]["spans"]), None)
    if first is not None:
        console.print(f"\nmeasured timeline of delivery {first['number']}", style="bold")
        console.print(text_timeline(first, document["messages"], width=min(100, console.width)), markup=False)
    console.print()
    console.print(_messages(document["messages"], durations(document)))
    _show_totals(document, console, html)


def _deliveries(document: Mapping[str, Any]) -> Table:
    deliveries = document["deliveries"]
    table = Table(title=_counted("deliveries", len(deliveries), _MAX_DELIVERIES), title_justify="left")
    for name, justify in (("#", "right"), ("at s", "right"), ("records", "right"), ("verdict", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type] # a literal of rich
    for name in ("took s", "in flight", "left s", "peak MB"):
        table.add_column(name, justify="right")
    for delivery in deliveries[:_MAX_DELIVERIES]:
        measured, verdict = delivery["measured"], delivery["verdict"]
        left = measured["remaining_ms"]
        table.add_row(
            str(delivery["number"]),
            f"{delivery['began_at']:g}",
            f"{len(delivery['messages']):,}",
            f"{verdict['kind']}: {escape(verdict['reason'])}",
            f"{measured['seconds']:.3f}",
            _cell(measured["most_in_flight"]),
            "-" if left is None else f"{left / 1000:.1f}",
            _cell(measured["peak_memory_mb"]),
        )
    return table


def _messages(messages: Sequence[Mapping[str, Any]], took_ms: Mapping[int, float]) -> Table:
    """Return a table of the messages. Those that did not succeed on the first receive come first."""
    order = sorted(
        messages, key=lambda message: (message["end"] == "deleted" and message["receives"] <= 1, message["number"])
    )
    table = Table(title=_counted("messages", len(messages), _MAX_ROWS), title_justify="left")
    for name in ("message", "end", "last outcome", "error"):
        table.add_column(name, overflow="fold", no_wrap=name == "end")
    for name in ("receives", "took ms"):
        table.add_column(name, justify="right")
    for message in order[:_MAX_ROWS]:
        style, number = _STYLES.get(message["end"], ""), message["number"]
        table.add_row(
            escape(message["id"]),
            f"[{style}]{message['end']}[/]",
            message["outcome"] or "-",
            escape(message["error"] or "-"),
            str(message["receives"]),
            f"{took_ms[number]:.1f}" if number in took_ms else "-",
        )
    return table


def _show_totals(document: Mapping[str, Any], console: Console, html: Path | None) -> None:
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
            "  this handler is not a fanfold consumer: for single records, only the batch response is known",
            style="dim",
        )
    if html is not None:
        console.print(f"  HTML page: {html}", markup=False)


def _counted(noun: str, number: int, most: int) -> str:
    return f"{number:,} {noun}" + (f", {most} shown" if number > most else "")


def _cell(value: object) -> str:
    return "-" if value is None else f"{value}"
