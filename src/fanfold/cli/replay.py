"""``fanfold replay``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
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
from fanfold._replay.deployed_settings import DeployedSettings, deployed_settings
from fanfold._replay.events import SavedEvent, read_events
from fanfold._replay.function import HandlerError
from fanfold._replay.replay import ReplayOptions, explain, replay
from fanfold._replay.timeline import durations, text_timeline
from fanfold.cli.arguments import check_page, writing
from fanfold.cli.options import Json, panel
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
"""What sets a setting that a template does not tell, and its unit."""
_KINDS = {
    "fifo": {False: "a standard queue", True: "a FIFO queue"},
    "report_batch_item_failures": {True: "[ReportBatchItemFailures]"},
}

_MOST_ROWS = 40
_MOST_DELIVERIES = 12
_STYLES = {"deleted": "green", "dead-lettered": "yellow", "lost": "bold red", "in the queue": "cyan"}

_in = panel("What is replayed")
_set = panel("As the deployed function and its queue are set")
_out = panel("What comes out")


def replay_events(
    events: list[str] = typer.Argument(
        metavar="EVENT",
        help="Saved events: files, folders, or - for standard input. Lambda events, the output of 'aws sqs "
        "receive-message' or 'sam local generate-event', a JSON array or JSON Lines of bodies.",
    ),
    handler: str = _in(..., "Any Lambda handler; found in the current folder.", metavar="MODULE:NAME"),
    until_empty: bool = _in(
        True, "Deliver again what comes back, until it is deleted or a dead letter.", "--until-empty/--once"
    ),
    batch_size: int | None = _set(
        None, "Most records in a batch. (default: the saved event's, or 10)", min=1, max=10_000
    ),
    window: float | None = _set(
        None, "Batching window, seconds. (default: 0, or 1 for over 10 records)", min=0, max=300
    ),
    timeout: float | None = _set(None, "Function timeout, seconds of real time. (default: 30)", min=0.1, max=900),
    memory: int | None = _set(None, "Function memory, MB. (default: 1769)", min=64, max=10_240),
    max_receive_count: int | None = _set(None, "Receives until the dead-letter queue. (default: 5)", min=1, max=1_000),
    visibility_timeout: float | None = _set(
        None, "Seconds a received message stays hidden, simulated. (default: 6 x timeout + window)", min=0, max=43_200
    ),
    concurrency: int | None = _set(None, "Invocations at once, in simulated time. (default: 5)", min=1, max=1_000),
    fifo: bool | None = _set(None, "Kind of the queue. (default: by the events' ARN)", "--fifo/--standard"),
    duplicates: float = _in(0.0, "Share of receives that the queue forgets, as standard queues may.", min=0, max=1),
    repeat: int = _in(1, "Send every event so many times, with new message ids.", min=1),
    seed: int = _in(0, "Of all chance: the same seed, the same replay."),
    template: Path | None = _set(None, "Take the settings from this SAM or CloudFormation template, YAML or JSON …"),
    function: str | None = _set(
        None, "… and this function in it; or Function.Event, if the function reads several queues."
    ),
    runtime_client: bool = _in(
        False, "Run the handler under awslambdaric, the client Lambda runs it under.", "--runtime-client"
    ),
    expect: list[str] | None = _out(
        None,
        "What must come out, such as dead-lettered=2; ends: deleted, dead-lettered, left, lost.",
        metavar="END=COUNT",
    ),
    explain_id: str | None = _out(None, "Say why this message came back.", "--explain", metavar="ID"),
    html: Path | None = _out(None, "Write one self-contained page there."),
    as_json: Json = False,
) -> None:
    """Run a handler over saved events as Lambda's SQS event source mapping would.

    Queue, mapping and time are simulated: redelivery, receive counts, visibility, batches, dead letters, FIFO order.
    The handler runs for real, in a process of its own that is killed at its timeout or when it is out of memory. What
    it asks of SQS for the replayed messages reaches the simulated queue; whatever else it does, it does.

    Exit code 1 when a message was lost or dead-lettered, unless --expect says so.
    """
    saved = read_events(events, stdin=sys.stdin.buffer)
    given = {
        "batch_size": batch_size, "window_seconds": window, "function_timeout": timeout, "memory_mb": memory,
        "max_receive_count": max_receive_count, "visibility_timeout": visibility_timeout,
        "maximum_concurrency": concurrency, "fifo": fifo,
    }  # fmt: skip
    flags = {"duplicates": duplicates, "seed": seed, "until_empty": until_empty, "runtime_client": runtime_client}
    wanted = _expected(expect or [])
    check_page(html)
    deployed = _from_template(template, function)
    options = _options(given, deployed.values, saved, flags)
    for line in _undetermined(deployed, given, options):
        print("fanfold:", line, file=sys.stderr)
    document = _replayed(handler, _repeated(saved, repeat), options)
    _report(document, explain_id, html, as_json=as_json)
    _check(document["summary"], wanted)


def _replayed(handler: str, sent: Sequence[SavedEvent], options: ReplayOptions) -> dict[str, Any]:
    messages = sum(len(event.records) for event in sent)
    try:
        with progress_bar("messages ended", messages, TimeElapsedColumn()) as update:

            def tell(deliveries: int, left: int, dead: int) -> None:
                words = f"messages ended [dim]{deliveries} deliveries, {dead} dead letters[/dim]"
                update(completed=max(0, messages - left), description=words)

            return replay(handler, sent, options, progress=tell)
    except HandlerError as error:
        print(error.traceback, end="", file=sys.stderr)
        raise ConfigurationError(str(error)) from error


def _options(
    given: Mapping[str, Any],
    from_template: Mapping[str, Any],
    saved: Sequence[SavedEvent],
    flags: Mapping[str, Any],
) -> ReplayOptions:
    chosen = {**from_template, **{name: value for name, value in given.items() if value is not None}}
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
        raise ConfigurationError("--template and --function go together: the template, and the function in it")
    return deployed_settings(template, function)


def _undetermined(deployed: DeployedSettings, given: Mapping[str, Any], options: ReplayOptions) -> Iterator[str]:
    """Yield what a template does not tell and the user does not say, with what is used instead."""
    for name, line in deployed.undetermined.items():
        if given.get(name) is None:
            flag, unit = _FLAGS[name]
            value = _KINDS.get(name, {}).get(getattr(options, name)) or f"{getattr(options, name):g}{unit}"
            yield f"{line}; {value} is used instead{flag and f', {flag} sets it'}"
    yield from deployed.remarks


def _repeated(saved: Sequence[SavedEvent], times: int) -> list[SavedEvent]:
    """Return the events so many times; messages sent again are other messages."""
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
    found = {}
    for text in texts:
        end, _, count = text.partition("=")
        if end not in _ENDS or not count.isdecimal():
            raise ConfigurationError(
                f"--expect {text!r} is not of the form END=COUNT with END one of {', '.join(_ENDS)}"
            )
        found[end] = int(count)
    return found


def _check(summary: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    """Raise if a message was lost or dead-lettered, or what was expected is not what came out."""
    got = Counter({end: summary[end.replace("-", "_")] for end in _ENDS})
    asked = {"dead-lettered": 0, "lost": 0, **wanted}
    wrong = [f"{got[end]} {end}, {count} expected" for end, count in asked.items() if got[end] != count]
    if wrong:
        raise FanfoldError("; ".join(wrong))


def _show(document: Mapping[str, Any], console: Console, html: Path | None) -> None:
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
