"""``fanfold replay``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import TimeElapsedColumn

from fanfold._base.aws_limits import (
    MAPPING_MAX_BATCH_SIZE,
    MAPPING_MAX_UNWINDOWED_BATCH,
    MAPPING_RECOMMENDED_TIMEOUTS,
    SQS_MAX_VISIBILITY_SECONDS,
)
from fanfold._base.operating_system import MEMORY_NOT_REPORTED, reports_memory
from fanfold._replay.deployed_settings import DeployedSettings, deployed_settings
from fanfold._replay.env_vars import read_env_vars
from fanfold._replay.events import SavedEvent, read_events
from fanfold._replay.explain import explain
from fanfold._replay.function import HandlerError
from fanfold._replay.options import Replayed, ReplayOptions
from fanfold._replay.outage import DEFAULT_ERROR, Outage, check_error
from fanfold._replay.replay import replay
from fanfold._replay.wording import counted
from fanfold.cli import replay_options as option
from fanfold.cli.arguments import check_page, parameters_of, writing
from fanfold.cli.options import Json
from fanfold.cli.replay_screen import show_replay
from fanfold.cli.show import progress_bar
from fanfold.errors import ConfigurationError, FanfoldError

_ENDS = ("deleted", "dead-lettered", "left", "lost", "filtered")
_CONCURRENCY = 5
"""Concurrent invocations, if nothing else determines them."""
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


def replay_events(
    events: option.Events,
    handler: option.Handler,
    until_empty: option.UntilEmpty = True,
    repeat: option.Repeat = 1,
    duplicates: option.Duplicates = 0.0,
    outage: option.Outage = None,
    outage_share: option.OutageShare = 1.0,
    outage_error: option.OutageError = DEFAULT_ERROR,
    seed: option.Seed = 0,
    real_idempotency: option.RealIdempotency = False,
    runtime_client: option.RuntimeClient = False,
    concurrent_invocations: option.ConcurrentInvocations = None,
    template: option.Template = None,
    function: option.Function = None,
    parameter: option.Parameter = None,
    env_vars: option.EnvVars = None,
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
    the replayed messages go to the simulated queue, and its idempotency keys stay in memory; all its other calls are
    real.

    Exit code: 1 if a message was lost or dead-lettered, unless --expect allows it; 2 if the input is invalid.
    """
    saved = read_events(events, stdin=sys.stdin.buffer)
    specified = {
        "batch_size": batch_size, "window_seconds": window, "function_timeout": timeout, "memory_mb": memory,
        "max_receive_count": max_receive_count, "visibility_timeout": visibility_timeout,
        "maximum_concurrency": concurrency, "fifo": fifo,
    }  # fmt: skip
    flags = {
        "duplicates": duplicates, "seed": seed, "until_empty": until_empty, "runtime_client": runtime_client,
        "concurrent_invocations": concurrent_invocations or 1, "real_idempotency": real_idempotency,
        "outage": _outage(outage, outage_share, outage_error),
    }  # fmt: skip
    expected = _expected(expect or [])
    check_page(html)
    deployed = _from_template(template, function, parameter or [])
    variables = {} if env_vars is None else read_env_vars(env_vars, function)
    options = _options(specified, deployed.values, saved, flags)
    notes = [event.note for event in saved if event.note]
    for line in (*notes, *_undetermined(deployed, specified, options, variables), *_unmeasured()):
        print("fanfold:", line, file=sys.stderr)
    everything = Replayed(
        handler, _repeated(saved, repeat), options, deployed.patterns, {**deployed.variables, **variables}
    )
    document = _replayed(everything)
    _report(document, explain_id, html, as_json=as_json)
    _check(document["summary"], expected)


def _replayed(replayed: Replayed) -> dict[str, Any]:
    messages = sum(len(event.records) for event in replayed.events)
    try:
        with progress_bar("messages ended", messages, TimeElapsedColumn()) as update:

            def show_progress(deliveries: int, left: int, dead: int) -> None:
                text = (
                    f"messages ended [dim]{counted(deliveries, 'delivery', 'deliveries')}, {dead} dead-lettered[/dim]"
                )
                update(completed=max(0, messages - left), description=text)

            return replay(replayed, progress=show_progress)
    except HandlerError as error:
        print(error.traceback, end="", file=sys.stderr)
        raise ConfigurationError(str(error)) from error


def _outage(seconds: float | None, share: float, error: str) -> Outage | None:
    if seconds is not None:
        check_error(error)
        return Outage(seconds, share, error)
    if share != 1 or error != DEFAULT_ERROR:
        raise ConfigurationError("--outage-share and --outage-error describe an outage: add --outage SECONDS")
    return None


def _options(
    specified: Mapping[str, Any],
    from_template: Mapping[str, Any],
    saved: Sequence[SavedEvent],
    flags: Mapping[str, Any],
) -> ReplayOptions:
    chosen = {**from_template, **{name: value for name, value in specified.items() if value is not None}}
    arns = [str(record.get("eventSourceARN", "")) for event in saved for record in event.records]
    chosen.setdefault("fifo", arns[0].endswith(".fifo"))
    if specified.get("maximum_concurrency") is not None:
        chosen = {name: value for name, value in chosen.items() if name not in {"pollers", "scales"}}
    scaled = chosen.keys() & {"pollers", "scales"}
    chosen.setdefault(
        "maximum_concurrency", None if scaled else max(_CONCURRENCY, flags.get("concurrent_invocations", 1))
    )
    small = MAPPING_MAX_UNWINDOWED_BATCH
    if "batch_size" not in chosen:
        largest = max(len(event.records) for event in saved)
        may_be_large = not chosen["fifo"] and chosen.get("window_seconds", 1) >= 1
        chosen["batch_size"] = min(max(largest, small), MAPPING_MAX_BATCH_SIZE) if may_be_large else small
    if chosen["batch_size"] > small and "window_seconds" not in chosen and not chosen["fifo"]:
        chosen["window_seconds"] = 1
    if "visibility_timeout" not in chosen:
        seconds = chosen.get("window_seconds", 0)
        seconds += MAPPING_RECOMMENDED_TIMEOUTS * chosen.get("function_timeout", ReplayOptions().function_timeout)
        chosen["visibility_timeout"] = min(seconds, SQS_MAX_VISIBILITY_SECONDS)
    return ReplayOptions(**chosen, **flags)


def _from_template(template: Path | None, function: str | None, parameters: Sequence[str]) -> DeployedSettings:
    if template is None and function is None:
        if parameters:
            raise ConfigurationError("--parameter sets a parameter of a template: add --template and --function")
        return DeployedSettings()
    if template is None or function is None:
        missing = "--function with the function's logical id" if function is None else "--template with its template"
        raise ConfigurationError(f"--template and --function go together: add {missing}")
    return deployed_settings(template, function, parameters_of(parameters))


def _undetermined(
    deployed: DeployedSettings,
    specified: Mapping[str, Any],
    options: ReplayOptions,
    variables: Collection[str] = (),
) -> Iterator[str]:
    """Yield a line for each setting that neither the template nor the user specifies, with the value used instead."""
    for name, line in deployed.undetermined.items():
        if specified.get(name) is None:
            flag, unit = _FLAGS[name]
            value = _KINDS.get(name, {}).get(getattr(options, name)) or f"{getattr(options, name):g}{unit}"
            yield f"{line}; {value} is used instead{flag and f', {flag} sets it'}"
    for name, line in deployed.unknown_variables.items():
        if name not in variables:
            yield f"{line}; it is not set, --env-vars sets it"
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
            records = [{**record, "messageId": f"{time}-{record['messageId']}"} for record in event.records]
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
        show_replay(document, Console(), html)


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
