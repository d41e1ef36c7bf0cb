"""``fanfold redrive``."""

from __future__ import annotations

import json
from typing import Any

import anyio
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanfold._base.readable import printable
from fanfold._dead_letters.letters import Choice
from fanfold._dead_letters.send_back import LEAST_RATE
from fanfold._jobs.redrive import Failures, chosen_of, failures_of, redrive
from fanfold._jobs.report import watch
from fanfold._ports.run import RunState
from fanfold.cli import options
from fanfold.cli.arguments import segments_of
from fanfold.cli.backend import deployed_backend
from fanfold.cli.confirm import confirm
from fanfold.cli.redrive_dead_letters import Request, redrive_dead_letters
from fanfold.cli.show import RunDisplay, about, counted, watching
from fanfold.errors import ConfigurationError, FanfoldError

_MAX_SHOWN = 20


_run_option = options.panel("A run")
_queue_option = options.panel("A dead-letter queue of a consumer")


def redrive_command(
    ctx: typer.Context,
    run: str | None = typer.Argument(None, metavar="RUN", help="Name of the run; leave it out with --from."),
    dead_letters: str | None = _queue_option(
        None, "The dead-letter queue: its name, ARN or URL.", "--from", metavar="QUEUE"
    ),
    target: str | None = _queue_option(
        None, "Send to this queue.", "--to", metavar="QUEUE", show_default="the queue that each message came from"
    ),
    where: str | None = _queue_option(None, "Only messages with this text in their reason.", metavar="REASON"),
    rate: float = _queue_option(100.0, "Maximum number of messages per second.", min=LEAST_RATE, metavar="RATE"),
    region: options.QueueRegion = None,
    follow: bool = _run_option(True, "Wait until the run ends, with a progress bar.", "--watch/--no-watch"),
    within: float = _run_option(3600.0, "Maximum time to wait with --watch.", min=1, metavar="SECONDS"),
    only: list[str] = typer.Option(
        [], metavar="IDS", help="Only these failed segments, such as 3,17,20-25, or messages, by id. Repeatable."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the reasons of the failures; send nothing."),
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Retry the failed segments of a run, or send the messages of a dead-letter queue back.

    Use it after you have fixed the cause. The command first shows the reasons of the failures, and asks. If it is
    interrupted, run it again to resume it.

    With RUN, it retries the failed segments of a run that has ended, or the rest of a cancelled run. Successful
    segments keep their results, and the run commits one more output. If only the fold failed, only the fold is retried.

    With --from, it sends messages of a consumer's dead-letter queue, standard or FIFO, back to the queue that they came
    from. A message is deleted only after that queue has accepted it; the messages that are not chosen stay.

    Exit code 0 only if the run then succeeds or all chosen messages are sent back, or with --dry-run.
    """
    written = {param.opts[0] for param in ctx.command.params if _is_written(ctx, param)}
    if (run is None) == (dead_letters is None):
        raise ConfigurationError("specify either RUN, or --from QUEUE for the messages of a dead-letter queue")
    if dead_letters is None:
        _refuse(written & {"--to", "--where", "--rate", "--region"}, "needs --from QUEUE")
        _redrive_run(str(run), ",".join(only) or None, dry_run, yes, follow, within, as_json)
        return
    _refuse(written & {"--watch", "--within"}, "needs a RUN")
    ids = frozenset(part.strip() for text in only for part in text.split(",")) - {""}
    request = Request(dead_letters, target, Choice(where, ids), rate, region, dry_run, yes, as_json)
    redrive_dead_letters(request)


def _is_written(ctx: typer.Context, param: Any) -> bool:
    source = ctx.get_parameter_source(str(param.name))
    return source is not None and source.name == "COMMANDLINE"


def _refuse(written: set[str], why: str) -> None:
    if written:
        raise ConfigurationError(f"{min(written)} {why}")


def _redrive_run(
    run: str, only: str | None, dry_run: bool, yes: bool, follow: bool, within: float, as_json: bool
) -> None:
    chosen = None if only is None else segments_of(only)
    failures = anyio.run(_failures, run)
    if not as_json and failures.segments:
        _show_failures(failures)
    if dry_run:
        _show_dry_run(failures, as_json=as_json)
        return
    if failures.run.ended:
        segments = len(chosen_of(failures, chosen))
        what = f"Retry {counted(segments, 'segment')}" if segments else "Repeat the fold"
        confirm(f"{what} of run {run} ({failures.run.state})?", yes=yes)
    with watching() as display:
        document = anyio.run(_redrive, run, chosen, display if follow else None, within)
    if as_json:
        print(json.dumps(document))
    elif not follow:
        print(f"run {run}: {counted(document['redriven'], 'segment')} enqueued again")
    if follow and document["state"] != RunState.SUCCEEDED:
        raise FanfoldError(f"run {run} ended as {document['state']} again. Run `fanfold status {run}` for the reasons")


async def _failures(run_id: str) -> Failures:
    async with deployed_backend() as backend:
        return await failures_of(run_id, backend)


async def _redrive(run_id: str, only: set[int] | None, display: RunDisplay | None, within: float) -> dict[str, Any]:
    async with deployed_backend() as backend:
        sent = await redrive(run_id, backend, only=only)
        if display is not None:
            display.step(f"run {run_id}: {counted(sent.segments, 'segment')} enqueued again")
            async for progress in watch(backend, run_id, within_seconds=within):
                display.run(progress)
        run = (await failures_of(run_id, backend)).run
        return {**about(run), "redriven": sent.segments}


def _show_dry_run(failures: Failures, *, as_json: bool) -> None:
    if as_json:
        document = {"would_redrive": failures.segments, "not_ended": len(failures.missing)}
        print(json.dumps({**about(failures.run), **document}))
    else:
        rest = f", {len(failures.missing):,} of them have not ended" if failures.missing else ""
        print(f"would retry {counted(len(failures.chosen), 'segment')}{rest}; nothing was sent")


def _show_failures(failures: Failures) -> None:
    table = Table(title=f"failed segments: {len(failures.segments):,}", title_justify="left")
    table.add_column("segment", justify="right")
    table.add_column("reason")
    for segment, reason in list(failures.segments.items())[:_MAX_SHOWN]:
        table.add_row(str(segment), escape(printable(reason)))
    console = Console(stderr=True)
    console.print(table)
    if (more := len(failures.segments) - _MAX_SHOWN) > 0:
        console.print(f"and {more:,} more. Run `fanfold results {failures.run.id} --failures`")
