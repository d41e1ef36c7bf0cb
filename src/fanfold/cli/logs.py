"""``fanfold logs``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

import anyio
import typer

from fanfold._base.readable import printable
from fanfold._jobs.run_details import RunDetails, read_details
from fanfold._jobs.run_logs import failed_segments, lines_of
from fanfold._ports.logs import LogLine
from fanfold.cli import options
from fanfold.cli.arguments import segments_of
from fanfold.cli.backend import deployed_backend
from fanfold.errors import ConfigurationError, FanfoldError, MissingExtraError

VARIABLE: Final = "FANFOLD_LOG_GROUPS"


def logs_of(
    run: options.Run,
    segment: str | None = typer.Option(None, metavar="SEGMENTS", help="Only of these segments, such as 3,17,20-25."),
    failed: bool = typer.Option(False, "--failed", help="Only of the segments that have failed or are failing."),
    most: int = typer.Option(1_000, "--limit", min=1, max=100_000, metavar="N", help="Maximum number of lines."),
    groups: list[str] = typer.Option(
        [],
        "--log-group",
        metavar="NAME",
        help="A log group of the functions. Repeatable.",
        show_default="those in FANFOLD_LOG_GROUPS",
    ),
    as_json: options.Json = False,
) -> None:
    """Show the log lines of a run, or of some of its segments, by time.

    The lines come from CloudWatch Logs: those that contain the id of the run, and those of invocations in which
    segments failed. Lines of your handler are assigned to their segment if `RecordLogging` adds the ids to them, or if
    the invocation or the time shows it. `fanfold env STACK` prints FANFOLD_LOG_GROUPS and the other variables.

    Exit code 0 only if there are such lines.
    """
    if segment is not None and failed:
        raise ConfigurationError("specify either --segment or --failed")
    names = groups or [name for name in os.environ.get(VARIABLE, "").split(",") if name]
    if not names:
        raise ConfigurationError(f"{VARIABLE} is not set: `fanfold env STACK` prints it, or specify --log-group NAME")
    chosen = None if segment is None else segments_of(segment, "--segment")
    lines, has_more = anyio.run(_lines, run, chosen, failed, names, most)
    if as_json:
        print(json.dumps({"run": run, "lines": [asdict(line) for line in lines], "has_more": has_more}))
    else:
        for line in lines:
            time = datetime.fromtimestamp(line.at, UTC).astimezone().isoformat(" ", "milliseconds")[:23]
            print(f"{time} {line.stream[-6:]} {printable(line.text)}")
        if has_more:
            print(f"There are more lines: add --limit {2 * most}")
    if not lines:
        raise FanfoldError(
            f"no log lines of run {run} in {', '.join(names)}: they may not have arrived yet, or are no longer retained"
        )


async def _lines(
    run_id: str, segments: set[int] | None, failed: bool, groups: Sequence[str], most: int
) -> tuple[Sequence[LogLine], bool]:
    try:
        from fanfold.aws.log_groups import open_log_groups
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "fanfold logs") from error
    details = await _details(run_id)
    if failed:
        segments = failed_segments(details)
        if not segments:
            raise FanfoldError(f"run {run_id} has no segment that has failed or is failing")
    elif segments is not None and (unknown := [number for number in sorted(segments) if number >= details.total]):
        raise FanfoldError(f"run {run_id} has no segment {unknown[0]}: it has {details.total:,} segments, from 0")
    async with open_log_groups(groups) as logs:
        return await lines_of(details, segments, logs, most=most)


async def _details(run_id: str) -> RunDetails:
    async with deployed_backend() as backend:
        run = await backend.ledger.run(run_id)
        if run is None:
            raise FanfoldError(f"run {run_id!r} is not in the ledger: check its name with `fanfold runs`")
        return await read_details(run, backend)
