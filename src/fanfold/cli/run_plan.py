"""``fanfold run --dry-run``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import anyio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanfold._base.import_string import load
from fanfold._jobs.dry_run import Rehearsal, Sample, dry_backend, read_first, rehearse
from fanfold._jobs.job import Job
from fanfold.cli.run_modes import RunOptions


def start(name: str, options: RunOptions) -> None:
    """Print what a run of the job of this name would be."""
    job = load(name, Job)
    read_within = options.timeout if options.read_first else None
    rehearsal, sample = anyio.run(_plan, job, options.params or {}, options.batch_size, read_within)
    warnings = [*rehearsal.warnings, *_of_sample(sample, read_within)]
    if options.as_json:
        document = {**asdict(rehearsal), "warnings": warnings, "sample": None if sample is None else asdict(sample)}
        print(json.dumps(document))
        return
    console = Console()
    console.print(_table(job, rehearsal, sample))
    for warning in warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}")
    for segment in rehearsal.first:
        console.print(
            f"[dim]segment {segment['segment']}[/dim] {escape(json.dumps(segment['source']))}", soft_wrap=True
        )


async def _plan(
    job: Job, params: dict[str, Any], batch_size: int, read_within: float | None
) -> tuple[Rehearsal, Sample | None]:
    async with job.open_backend(sources_only=True) as opened:
        backend = dry_backend(opened)
        source, terms = job.source_of(params), {"batch_size": batch_size, "per_message": job.segments_per_message}
        rehearsal = await rehearse(job.name, source, backend, **terms)
        if read_within is None or not rehearsal.first:
            return rehearsal, None
        return rehearsal, await read_first(rehearsal, backend, within_seconds=read_within)


def _of_sample(sample: Sample | None, timeout: float | None) -> list[str]:
    if sample is None or timeout is None:
        return []
    if not sample.ended:
        return [
            f"the first segment was not read to its end in {timeout:,.0f} s: smaller segments, or continuation=True"
        ]
    if sample.seconds > timeout / 2:
        return [f"reading the first segment alone took {sample.seconds:,.0f} s of {timeout:,.0f}: smaller segments"]
    return []


def _table(job: Job, rehearsal: Rehearsal, sample: Sample | None) -> Table:
    table = Table(title=f"a run of {job.name}, nothing written or sent", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    rows = {
        "segments": f"{rehearsal.segments:,}",
        "messages": f"{rehearsal.messages:,}",
        "bytes of all messages": f"{rehearsal.message_bytes:,}",
        "bytes of the largest": f"{rehearsal.largest_message_bytes:,}",
        "bytes of data": "not known" if rehearsal.data_bytes is None else f"{rehearsal.data_bytes:,}",
        "SQS requests, about": f"{rehearsal.estimate.sqs_requests:,}",
        "DynamoDB write units, about": f"{rehearsal.estimate.ledger_write_units:,}",
        "cost of both, about": f"${rehearsal.estimate.dollars:,.4f}",
        "cost of Lambda": "depends on the handler",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    if sample is not None:
        whole = "" if sample.ended else ", not to its end"
        table.add_row("first segment read", f"{sample.items:,} items in {sample.seconds:,.2f} s{whole}")
    return table
