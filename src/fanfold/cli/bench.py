"""``fanfold bench``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import TimeRemainingColumn
from rich.table import Table

from fanfold._base.aws_limits import MANAGED_INSTANCES_MAX_MEMORY_MB
from fanfold._replay.function import HandlerError, LocalFunction
from fanfold.bench.accepting_sqs import accepting_queues
from fanfold.bench.cells import Cell, Sample, Setting
from fanfold.bench.decide import Findings
from fanfold.bench.deployed import LIMITS, UNREPORTED, DeployedMeasurer
from fanfold.bench.downstream import URL_VARIABLE, serving
from fanfold.bench.groups import find_groups
from fanfold.bench.measure import LocalMeasurer
from fanfold.bench.result import Result, document_of
from fanfold.bench.summary import conditions, figures, sentences
from fanfold.bench.sweep import Measure, sweep
from fanfold.bench.synthetic_handler import LATENCY_VARIABLE
from fanfold.cli import bench_options as option
from fanfold.cli.bench_files import Files
from fanfold.cli.bench_plan import DEPLOYED, BenchOptions, Plan, plan_of
from fanfold.cli.show import progress_bar
from fanfold.errors import ConfigurationError, FanfoldError, MissingExtraError

_WIDE = 120
"""Columns of a terminal from which a table shows everything."""
_NARROW = ("concur-\nrency", "MB", "records\n/s", "±", "batch\np95 s", "record\np95 ms", "peak\nMB", "throt-\ntled",
           "$ per\nmillion")  # fmt: skip
_MORE = ("record ms\np50 · p99 · max", "failed", "cold\nms")


def bench(
    events: option.Events = None,
    handler: option.Handler = None,
    batch_size: option.BatchSize = None,
    payload_size: option.PayloadSize = 640,
    downstream_latency: option.DownstreamLatency = None,
    concurrency: option.Concurrency = "1,10,50,100,200",
    auto: option.Auto = False,
    memory: option.Memory = "128,256,512,1024,1769,3008",
    search: option.Search = False,
    within: option.Within = None,
    arch: option.Arch = None,
    prices: option.Prices = None,
    template: option.Template = None,
    function: option.Function = None,
    present: option.Present = None,
    repeats: option.Repeats = 5,
    seconds: option.Seconds = 2.0,
    timeout: option.Timeout = 60.0,
    seed: option.Seed = 0,
    resume: option.Resume = None,
    as_json: option.AsJson = False,
    csv: option.Csv = None,
    png: option.Png = None,
    html: option.Html = None,
    output: option.Output = None,
) -> None:
    """Measure a handler at every concurrency and memory, and recommend a setting.

    Use it to choose FANFOLD_CONCURRENCY and MemorySize before you deploy. It reports which pair is cheapest, which is
    fastest, and which are too small. Differences within the noise count as ties.

    Each sample runs in a separate process with the cell's memory and the CPU that Lambda assigns to it. Control groups
    set these limits where permitted; the report states which limits could not be set. Ctrl-C keeps the samples;
    --resume continues.

    `fanfold bench compare` and `fanfold bench estimate` read the results.

    Exit code: 1 if no cell could be measured or none meets --within.
    """
    files = Files(csv=csv, png=png, html=html, folder=output, resumed=resume)
    requested = BenchOptions(
        events=tuple(events or ()), handler=handler, concurrency=concurrency, memory=memory, repeats=repeats,
        seconds=seconds, timeout_seconds=timeout, within_seconds=within, architecture=arch, prices=prices,
        batch_size=batch_size, downstream_latency_ms=downstream_latency, payload_bytes=payload_size, template=template,
        function=function, present=present, search=search, seed=seed, resume=resume, auto=auto,
    )  # fmt: skip
    _sweep(plan_of(requested, sys.stdin.buffer), files, as_json=as_json)


def _sweep(plan: Plan, files: Files, *, as_json: bool) -> None:
    files.check()
    result, interrupted = _measure(plan, files)
    written = files.write(result)
    if as_json:
        print(json.dumps(document_of(result)))
    else:
        console = Console()
        _show(result, console)
        for file in written:
            console.print(f"written: {file}", markup=False, highlight=False)
    if interrupted:
        saved, samples = files.save(result), len(result.samples)
        print(f"fanfold: interrupted; {samples} samples are saved. Resume with --resume {saved}", file=sys.stderr)
        raise typer.Exit(130)
    if result.findings.cheapest is None:
        within = plan.grid.within_seconds
        raise FanfoldError(
            "no cell could be measured: see the reasons in the table"
            if within is None
            else f"no cell meets --within {within:g} s: allow more time, or measure more --concurrency or --memory"
        )


def _measure(plan: Plan, files: Files) -> tuple[Result, bool]:
    """Measure a plan and save each sample. Return the result, and whether Ctrl-C interrupted it."""
    if plan.workload.where == DEPLOYED:
        return _deployed(plan, files)
    try:
        return _here(plan, files)
    except HandlerError as error:
        print(error.traceback, end="", file=sys.stderr)
        raise ConfigurationError(str(error)) from error


def _here(plan: Plan, files: Files) -> tuple[Result, bool]:
    groups = find_groups()
    with _environment(plan) as environment:
        work = plan.workload
        plan = _with_decorated_concurrency(plan, environment)
        measurer = LocalMeasurer(work.handler, plan.batches, groups, work.seconds, work.timeout_seconds, environment)

        def result_of(samples: Sequence[Sample]) -> Result:
            return plan.result(samples, groups.description, consumer=measurer.is_consumer)

        result, interrupted = _swept(plan, files, measurer, result_of)
        if plan.auto and not interrupted:
            result = replace(result, adjusting=tuple(map(measurer.adjusting, plan.grid.memories)))
        return result, interrupted


def _with_decorated_concurrency(plan: Plan, environment: dict[str, str]) -> Plan:
    """Return the plan with the present setting, if its concurrency is the one in the handler's decorator."""
    if plan.deployed.memory_mb is None:
        return plan
    with LocalFunction(
        plan.workload.handler,
        timeout_seconds=plan.workload.timeout_seconds,
        memory_mb=MANAGED_INSTANCES_MAX_MEMORY_MB,
        environment=environment,
        quiet=True,
    ) as function:
        concurrency = function.own_concurrency
    return plan if concurrency is None else plan.with_present(Setting(concurrency, plan.deployed.memory_mb))


def _deployed(plan: Plan, files: Files) -> tuple[Result, bool]:
    """Sweep a deployed function. Its memory and concurrency are always restored at the end."""
    try:
        from fanfold.aws.functions import DeployedFunction, FunctionSetting
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "--function") from error
    function = DeployedFunction.connect(plan.workload.handler, "FANFOLD_CONCURRENCY", plan.workload.timeout_seconds)
    with function.restored_on_exit() as before:
        if before.value is not None and before.value.isdecimal():
            plan = plan.with_present(Setting(int(before.value), before.memory_mb))
        concurrency = "not set" if before.value is None else before.value
        print(
            f"function {function.name}: {before.memory_mb} MB, FANFOLD_CONCURRENCY {concurrency}; "
            "both are restored at the end",
            file=sys.stderr,
        )
        measurer = DeployedMeasurer(
            lambda setting: function.set(FunctionSetting(setting.memory_mb, str(setting.concurrency))),
            function.invoke,
            plan.batches,
            plan.workload.seconds,
        )

        def result_of(samples: Sequence[Sample]) -> Result:
            return plan.result(samples, LIMITS, consumer=None, more=(UNREPORTED,) if measurer.unreported else ())

        return _swept(plan, files, measurer, result_of)


def _swept(
    plan: Plan, files: Files, measure: Measure, result_of: Callable[[Sequence[Sample]], Result]
) -> tuple[Result, bool]:
    samples = list(plan.samples)
    with progress_bar("measuring", None, TimeRemainingColumn()) as update:

        def save(done: int, planned: int, setting: Setting) -> None:
            if done:
                files.save_progress(result_of(samples))
            update(completed=done, total=planned, description=f"measuring {setting}")

        try:
            sweep(plan.grid, measure, plan.prices, samples, save)
        except KeyboardInterrupt:
            if not samples:
                raise
            return result_of(samples), True
        except FanfoldError:
            if samples:
                saved = files.save(result_of(samples))
                print(f"{len(samples)} samples are saved. Resume with --resume {saved}", file=sys.stderr)
            raise
    return result_of(samples), False


@contextmanager
def _environment(plan: Plan) -> Iterator[dict[str, str]]:
    """Yield the handler's environment variables, while the queues and the downstream service run."""
    latency = plan.workload.downstream_latency_ms
    with ExitStack() as running:
        queues = running.enter_context(accepting_queues())
        urls = dict.fromkeys(plan.deployed.queue_variables, queues["FANFOLD_QUEUE_URL"])
        variables = {**plan.deployed.variables, **urls, **queues}
        if latency is not None and plan.is_synthetic:
            variables[LATENCY_VARIABLE] = str(latency / 1000)
        elif latency is not None:
            variables[URL_VARIABLE] = running.enter_context(serving(latency))
        yield variables


def _show(result: Result, console: Console) -> None:
    """Print the cells, the findings, and how they were measured."""
    table = Table(
        title=f"{escape(result.workload.handler)}: concurrency x memory",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    more = console.width >= _WIDE
    for name in (*_NARROW, *(_MORE if more else ())):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", min_width=10)
    for cell in result.cells:
        table.add_row(*_row(cell, more=more), ", ".join(_marks(cell, result.findings, result.present, more=more)))
    console.print(table)
    for number, line in enumerate(sentences(result)):
        console.print(escape(line), style="" if number else "bold", highlight=False)
    for line in conditions(result):
        console.print(escape(line), style="dim", highlight=False)


def _row(cell: Cell, *, more: bool) -> list[str]:
    texts, record = figures(cell), cell.record_seconds if cell.measured else None
    names = "concurrency", "memory", "speed", "tolerance", "batch p95", "record p95", "peak", "throttled", "cost"
    row = [texts[name] for name in names]
    if more:
        spread = () if record is None else (record.p50, record.p99, record.most)
        row += [" · ".join(f"{value * 1000:.1f}" for value in spread) or "-", texts["failed"], texts["cold"]]
    return row


def _marks(cell: Cell, findings: Findings, present: Setting | None, *, more: bool) -> Iterator[str]:
    if not cell.measured:
        yield f"[bold red]{cell.end}[/]" + (f": {escape(cell.reason)}" if more else "")
    elif cell.failed_share:
        yield f"[red]{cell.failed_share:.1%} failed[/]"
    if findings.cheapest is not None and cell.setting in findings.cheapest.settings:
        yield "[bold green]cheapest[/]" if cell.setting == findings.cheapest.best.setting else "as cheap"
    if findings.fastest is not None and cell.setting in findings.fastest.settings:
        yield "[bold]fastest[/]" if cell.setting == findings.fastest.best.setting else "as fast"
    if findings.knee is not None and cell.setting == findings.knee.setting:
        yield "knee"
    if cell.setting == present:
        yield "present"
