"""``fanfold bench``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import TimeRemainingColumn
from rich.table import Table

from fanfold._base.aws_limits import LAMBDA_MAX_MEMORY_MB
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
from fanfold.cli import options
from fanfold.cli.bench_files import Files
from fanfold.cli.bench_plan import DEPLOYED, BenchOptions, Plan, plan_of
from fanfold.cli.show import progress_bar
from fanfold.errors import ConfigurationError, FanfoldError, MissingExtraError

_WIDE = 120
"""Columns of a terminal from which a table shows everything."""
_NARROW = ("at\nonce", "MB", "records\n/s", "±", "batch\np95 s", "record\np95 ms", "peak\nMB", "throt-\ntled",
           "$ per\nmillion")  # fmt: skip
_MORE = ("record ms\np50 · p99 · max", "came\nback", "cold\nms")

_measured = options.panel("What is measured")
_settings = options.panel("At which settings")
_written = options.panel("What is written")


def bench(
    events: list[str] | None = typer.Argument(
        None,
        metavar="EVENT",
        help="Saved events, as 'fanfold replay' takes them; each is a batch. None for records that are made up.",
    ),
    handler: str | None = _measured(
        None,
        "Any Lambda handler; found in the current folder. None for one that waits --downstream-latency.",
        metavar="MODULE:NAME",
    ),
    concurrency: str = _settings("1,10,50,100,200", "Handlers at once, by FANFOLD_CONCURRENCY.", metavar="N,N,…"),
    memory: str = _settings(
        "128,256,512,1024,1769,3008",
        "Memory; CPU follows, 1,769 MB are one vCPU.",
        metavar="MB,MB,…",
        show_default="128, 256, 512, 1024, 1769, 3008",
    ),
    repeats: int = _settings(5, "Samples of each cell; 9 for handlers that compute.", min=1, max=100),
    seconds: float = _settings(2.0, "Least time measured for a sample.", min=0.1, max=600),
    timeout: float = _settings(60.0, "What a batch may take, seconds.", min=1, max=900),
    within: float | None = _settings(None, "Recommend only what takes so many seconds a batch.", min=0.001),
    arch: str = _settings("x86", "x86 or arm: whose prices; what runs here is this machine."),
    prices: Path | None = _settings(None, "Your own prices, in the form of prices.json in fanfold/_base."),
    batch_size: int | None = _measured(
        None, "Records in a batch. (default: the events as they are; 1,000 made up)", min=1, max=10_000
    ),
    downstream_latency: float | None = _measured(
        None,
        "Start a service that answers after so many ms, at FANFOLD_BENCH_URL; what a made-up handler waits.",
        min=0,
        metavar="MS",
    ),
    payload_size: int = _measured(640, "Bytes of a made-up record's body.", min=32, max=1_000_000, metavar="BYTES"),
    template: Path | None = _measured(None, "Take the present setting from this SAM or CloudFormation template …"),
    function: str | None = _measured(
        None, "… and this function in it. Without --template: sweep this deployed function, by the Lambda API."
    ),
    present: str | None = _measured(None, "How the function is set now.", metavar="CONCURRENCY:MEMORY"),
    search: bool = _settings(False, "Look for the cheapest cell in a fraction of the cells.", "--search"),
    seed: int = _settings(0, "Of the order in which cells are measured."),
    resume: Path | None = _settings(None, "Go on with this result, JSON, of the same sweep.", metavar="FILE"),
    as_json: options.Json = False,
    csv: Path | None = _written(None, "Write the cells there."),
    png: Path | None = _written(None, "Draw throughput, cost and memory there."),
    html: Path | None = _written(None, "Write one self-contained page there."),
    output: Path | None = _written(
        None, "Write all of these there; the JSON grows while it measures.", metavar="FOLDER"
    ),
) -> None:
    """Measure a handler at every concurrency and memory, and say which pair is cheapest, fastest, or too small.

    Each sample runs in a process of its own under the cell's memory and the CPU that Lambda gives with it, by control
    groups where those are permitted; what could not be limited is said. Differences within the noise are ties. Ctrl-C
    keeps what is done; --resume goes on with it.

    Its results are read by  fanfold bench compare  and  fanfold bench estimate.

    Exit code 1 when no cell could be measured, or none meets --within.
    """
    files = Files(csv=csv, png=png, html=html, folder=output, resumed=resume)
    asked = BenchOptions(
        events=tuple(events or ()), handler=handler, concurrency=concurrency, memory=memory, repeats=repeats,
        seconds=seconds, timeout_seconds=timeout, within_seconds=within, architecture=arch, prices=prices,
        batch_size=batch_size, downstream_latency_ms=downstream_latency, payload_bytes=payload_size, template=template,
        function=function, present=present, search=search, seed=seed, resume=resume,
    )  # fmt: skip
    _sweep(plan_of(asked, sys.stdin.buffer), files, as_json=as_json)


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
        kept, samples = files.kept(result), len(result.samples)
        print(f"fanfold: interrupted; {samples} samples are kept, go on with --resume {kept}", file=sys.stderr)
        raise typer.Exit(130)
    if result.findings.cheapest is None:
        within = plan.grid.within_seconds
        raise FanfoldError("no cell could be measured" if within is None else f"no cell meets --within {within:g} s")


def _measure(plan: Plan, files: Files) -> tuple[Result, bool]:
    """Measure what the plan asks for, keep it as it comes, and return it, and whether Ctrl-C has ended it."""
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
        plan = _with_own_concurrency(plan, environment)
        measurer = LocalMeasurer(work.handler, plan.batches, groups, work.seconds, work.timeout_seconds, environment)

        def so_far(samples: Sequence[Sample]) -> Result:
            return plan.result(samples, groups.words, consumer=measurer.is_consumer)

        return _swept(plan, files, measurer, so_far)


def _with_own_concurrency(plan: Plan, environment: dict[str, str]) -> Plan:
    """Return the plan with the present setting, where its concurrency is what the handler was decorated with."""
    if plan.present_memory_mb is None:
        return plan
    with LocalFunction(
        plan.workload.handler,
        timeout_seconds=plan.workload.timeout_seconds,
        memory_mb=LAMBDA_MAX_MEMORY_MB,
        environment=environment,
        quiet=True,
    ) as function:
        own = function.own_concurrency
    return plan if own is None else plan.with_present(Setting(own, plan.present_memory_mb))


def _deployed(plan: Plan, files: Files) -> tuple[Result, bool]:
    """Sweep a deployed function; its memory and concurrency are put back in the end, whatever happens."""
    try:
        from fanfold.aws.functions import DeployedFunction, FunctionSetting
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "--function") from error
    function = DeployedFunction.connect(plan.workload.handler, "FANFOLD_CONCURRENCY", plan.workload.timeout_seconds)
    with function.restored_on_exit() as before:
        if before.value is not None and before.value.isdecimal():
            plan = plan.with_present(Setting(int(before.value), before.memory_mb))
        words = "not set" if before.value is None else before.value
        print(
            f"function {function.name}: {before.memory_mb} MB, FANFOLD_CONCURRENCY {words}; put back in the end",
            file=sys.stderr,
        )
        measurer = DeployedMeasurer(
            lambda setting: function.set(FunctionSetting(setting.memory_mb, str(setting.concurrency))),
            function.invoke,
            plan.batches,
            plan.workload.seconds,
        )

        def so_far(samples: Sequence[Sample]) -> Result:
            return plan.result(samples, LIMITS, consumer=None, more=(UNREPORTED,) if measurer.unreported else ())

        return _swept(plan, files, measurer, so_far)


def _swept(
    plan: Plan, files: Files, measure: Measure, so_far: Callable[[Sequence[Sample]], Result]
) -> tuple[Result, bool]:
    samples = list(plan.samples)
    with progress_bar("measuring", None, TimeRemainingColumn()) as update:

        def keep(done: int, planned: int, setting: Setting) -> None:
            if done:
                files.keep(so_far(samples))
            update(completed=done, total=planned, description=f"measuring {setting}")

        try:
            sweep(plan.grid, measure, plan.prices, samples, keep)
        except KeyboardInterrupt:
            if not samples:
                raise
            return so_far(samples), True
        except FanfoldError:
            if samples:
                kept = files.kept(so_far(samples))
                print(f"{len(samples)} samples are kept, go on with --resume {kept}", file=sys.stderr)
            raise
    return so_far(samples), False


@contextmanager
def _environment(plan: Plan) -> Iterator[dict[str, str]]:
    """Yield the handler's variables, with the queues it may call, and the service, if there is to be one."""
    latency = plan.workload.downstream_latency_ms
    with ExitStack() as running:
        found = running.enter_context(accepting_queues())
        if latency is not None and plan.is_synthetic:
            found[LATENCY_VARIABLE] = str(latency / 1000)
        elif latency is not None:
            found[URL_VARIABLE] = running.enter_context(serving(latency))
        yield found


def _show(result: Result, console: Console) -> None:
    """Print the cells, what follows from them, and how they were measured."""
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
    found, record = figures(cell), cell.record_seconds if cell.measured else None
    names = "concurrency", "memory", "speed", "tolerance", "batch p95", "record p95", "peak", "throttled", "cost"
    row = [found[name] for name in names]
    if more:
        spread = () if record is None else (record.p50, record.p99, record.most)
        row += [" · ".join(f"{value * 1000:.1f}" for value in spread) or "-", found["failed"], found["cold"]]
    return row


def _marks(cell: Cell, found: Findings, present: Setting | None, *, more: bool) -> Iterator[str]:
    if not cell.measured:
        yield f"[bold red]{cell.end}[/]" + (f": {escape(cell.reason)}" if more else "")
    elif cell.failed_share:
        yield f"[red]{cell.failed_share:.1%} came back[/]"
    if found.cheapest is not None and cell.setting in found.cheapest.settings:
        yield "[bold green]cheapest[/]" if cell.setting == found.cheapest.best.setting else "as cheap"
    if found.fastest is not None and cell.setting in found.fastest.settings:
        yield "[bold]fastest[/]" if cell.setting == found.fastest.best.setting else "as fast"
    if found.knee is not None and cell.setting == found.knee.setting:
        yield "knee"
    if cell.setting == present:
        yield "present"
