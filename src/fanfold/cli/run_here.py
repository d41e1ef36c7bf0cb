"""``fanfold run --inline`` and ``--dry-run``: a run in this process, and the plan of a run."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanfold._jobs.dry_run import DryRun, Sample, dry_backend, plan_dry_run, read_first
from fanfold._jobs.inline import InlineRun, run_inline
from fanfold._jobs.job import Job
from fanfold.cli.show import two_columns, watching
from fanfold.errors import FanfoldError

_MAX_NAMED = 5


def run_here(
    job: Job,
    params: dict[str, Any] | None,
    run_id: str | None,
    folder: Path,
    *,
    only: Collection[int] | None,
    concurrency: int | None,
    as_json: bool,
) -> None:
    """Run a job in this process, and print its output and its segments.

    Raises:
        ConfigurationError: If an option is wrong.
        FanfoldError: If a segment failed, or is still to be processed.
    """
    options: dict[str, Any] = {"run": run_id, "only": only, "concurrency": concurrency, "folder": folder}
    with watching() as display:
        ended = anyio.run(partial(run_inline, job, params, **options, progress=display.inline))
    if as_json:
        document = asdict(replace(ended, failed=dict(ended.failed), details=None))
        del document["details"]
        print(json.dumps({"run": document.pop("id"), **document, "succeeded": ended.succeeded}))
    else:
        _show(ended)
    if not ended.succeeded:
        raise FanfoldError(_unfinished(ended, folder))


def _show(ended: InlineRun) -> None:
    console = Console()
    if ended.succeeded:
        console.print_json(json.dumps(ended.output))
    table = two_columns(f"run {ended.id}")
    counts = {
        "segments": ended.segments,
        "done": ended.done,
        "processed now": ended.worked_on,
        "missing": ended.missing,
    }
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    if (spread := ended.evenness) is not None:
        table.add_row("items", f"{spread.items:,}")
        table.add_row("  per segment", f"{spread.least:,} to {spread.most:,}, mean {spread.mean:,.0f}")
    if ended.bad_rows:
        table.add_row("[yellow]bad rows[/yellow]", f"{ended.bad_rows:,}")
    table.add_row("seconds of this call", f"{ended.seconds:,.1f}")
    table.add_row("failed", f"{len(ended.failed):,}")
    for segment, reason in ended.failed.items():
        table.add_row(f"  segment {segment}", escape(reason))
    console.print(table)


def _unfinished(ended: InlineRun, folder: Path) -> str:
    resume = f"--inline --run {ended.id} --output {folder}"
    if not ended.failed:
        return f"run {ended.id}: {ended.missing} of {ended.segments} segments are missing. Continue with {resume}"
    named = [f"segment {segment} ({reason})" for segment, reason in list(ended.failed.items())[:_MAX_NAMED]]
    more = len(ended.failed) - len(named)
    numbers = ",".join(map(str, list(ended.failed)[:_MAX_NAMED])) if not more else ""
    return (
        f"run {ended.id}: {len(ended.failed)} of {ended.segments} segments failed: {'; '.join(named)}"
        f"{f' and {more} more' if more else ''}. Finished segments are saved; retry the others with {resume}"
        f"{f', or only the failed ones by adding --only {numbers}' if numbers else ''}"
    )


def plan(job: Job, params: dict[str, Any], batch_size: int, read_within: float | None, *, as_json: bool) -> None:
    """Print the plan of a run. With ``read_within``, in seconds, also read the first segment."""
    dry_run, sample = anyio.run(_plan, job, params, batch_size, read_within)
    warnings = [*dry_run.warnings, *_of_sample(sample, read_within)]
    if as_json:
        document = {**asdict(dry_run), "warnings": warnings, "sample": None if sample is None else asdict(sample)}
        print(json.dumps(document))
        return
    console = Console()
    console.print(_table(job, dry_run, sample))
    for warning in warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}")
    for segment in dry_run.first:
        console.print(
            f"[dim]segment {segment['segment']}[/dim] {escape(json.dumps(segment['source']))}", soft_wrap=True
        )


async def _plan(
    job: Job, params: dict[str, Any], batch_size: int, read_within: float | None
) -> tuple[DryRun, Sample | None]:
    async with job.open_backend(sources_only=True) as opened:
        backend = dry_backend(opened)
        source, options = job.source_of(params), {"batch_size": batch_size, "per_message": job.segments_per_message}
        dry_run = await plan_dry_run(job.name, source, backend, **options)
        if read_within is None or not dry_run.first:
            return dry_run, None
        return dry_run, await read_first(dry_run, backend, within_seconds=read_within)


def _of_sample(sample: Sample | None, timeout: float | None) -> list[str]:
    if sample is None or timeout is None:
        return []
    if not sample.ended:
        return [
            f"the first segment could not be read within {timeout:,.0f} s: use smaller segments, or continuation=True"
        ]
    if sample.seconds > timeout / 2:
        return [f"reading the first segment took {sample.seconds:,.0f} s of {timeout:,.0f} s: use smaller segments"]
    return []


def _table(job: Job, dry_run: DryRun, sample: Sample | None) -> Table:
    table = two_columns(f"plan of a run of {job.name}; nothing was written or sent")
    rows = {
        "segments": f"{dry_run.segments:,}",
        "messages": f"{dry_run.messages:,}",
        "bytes of all messages": f"{dry_run.message_bytes:,}",
        "bytes of the largest message": f"{dry_run.largest_message_bytes:,}",
        "bytes of data": "not known" if dry_run.data_bytes is None else f"{dry_run.data_bytes:,}",
        "SQS requests (estimate)": f"{dry_run.estimate.sqs_requests:,}",
        "DynamoDB write units (estimate)": f"{dry_run.estimate.ledger_write_units:,}",
        "cost of both (estimate)": f"${dry_run.estimate.dollars:,.4f}",
        "cost of Lambda": "depends on the handler",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    if sample is not None:
        partly = "" if sample.ended else ", not complete"
        bad = f" and {sample.bad_rows:,} bad rows" if sample.bad_rows else ""
        table.add_row("first segment read", f"{sample.items:,} items{bad} in {sample.seconds:,.2f} s{partly}")
    return table
