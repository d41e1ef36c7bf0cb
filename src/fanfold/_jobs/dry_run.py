"""Plan a run without writing or sending anything: its segments, messages, requests, and cost."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

import anyio

from fanfold import sources
from fanfold._base import aws_limits
from fanfold._base.aws_prices import read_prices
from fanfold._jobs.overlay import overlay
from fanfold._jobs.scatter import segments_left
from fanfold._jobs.segment import bodies
from fanfold._jobs.tally import UNEVEN
from fanfold._ports.backend import Backend
from fanfold._ports.ledger_encoding import MARKER_WRITE_UNITS
from fanfold._ports.run import Run, source_prefix
from fanfold.errors import EnqueueError
from fanfold.inmemory import InMemoryStore
from fanfold.sources.bad_rows import BadRow

MANY_SEGMENTS: Final = 1_000_000
_SHOWN_SEGMENTS: Final = 3
_RUN: Final = "dry-run"
_BUCKET: Final = "_dry-run"
"""Placeholder for the results bucket; not a valid bucket name."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated requests to the queue and the ledger, and their cost. Lambda's cost is unknown before the run."""

    sqs_requests: int
    """Billed requests: messages are sent, received, and deleted in tens; each 64 KiB counts as a request."""
    ledger_write_units: int
    """DynamoDB write units of the ledger, with batches of the specified size."""
    dollars: float
    """Cost of both in US dollars."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """The plan of a run that was not started."""

    segments: int
    """Number of segments."""
    messages: int
    """Number of messages that carry them."""
    message_bytes: int
    """Total size of all messages."""
    largest_message_bytes: int
    """Size of the largest message."""
    data_bytes: int | None
    """Size of the data to read; None if the source does not know it."""
    estimate: Estimate
    """Requests and cost."""
    warnings: Sequence[str]
    """Possible problems to check before you start the run."""
    first: Sequence[Mapping[str, Any]]
    """The first few segments, as message documents."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The measured time to read the first segment."""

    items: int
    """Number of items read."""
    seconds: float
    """Seconds, on this machine."""
    ended: bool
    """True if the segment was read completely."""
    bad_rows: int = 0
    """Number of rows that could not be read and would be collected."""


async def plan_dry_run(
    job: str, source: sources.Source, backend: Backend, *, batch_size: int = 10, per_message: int = 1
) -> DryRun:
    """Plan a run as the scatter function would, and cut all segments, without writing or sending anything.

    Args:
        job: Name of the job.
        source: What to cut.
        backend: Holds the source; see ``dry_backend``.
        batch_size: Messages per batch of the segment function.
        per_message: Segments per message.

    Raises:
        SourceError: If the source has nothing to cut, or cannot be read.
        EnqueueError: If a message would exceed the size limit of SQS.
    """
    plan = await source.pin(backend, source_prefix(_RUN))
    run = Run(_RUN, job, {}, plan, created_at=0.0, expires_at=0)
    count = messages = total = largest = 0
    for body, taken in bodies(segments_left(run), per_message):
        size = len(body.encode())
        if size > aws_limits.SQS_MESSAGE_BYTES:
            reason = f"{size} bytes, but SQS accepts at most {aws_limits.SQS_MESSAGE_BYTES}"
            raise EnqueueError(f"segment {count} is too large for a message: {reason}", rejected=[(count, reason)])
        count, messages, total, largest = taken, messages + 1, total + size, max(largest, size)
    first = [json.loads(segment.to_body()) for segment in islice(segments_left(run), _SHOWN_SEGMENTS)]
    return DryRun(
        segments=count,
        messages=messages,
        message_bytes=total,
        largest_message_bytes=largest,
        data_bytes=_data_bytes(plan),
        estimate=_estimate(messages, total, batch_size),
        warnings=list(_warnings(plan, count, largest)),
        first=first,
    )


async def read_first(plan: DryRun, backend: Backend, *, within_seconds: float) -> Sample:
    """Read the items of the first segment, without a handler, for at most ``within_seconds``."""
    count = bad_rows = 0
    ended = False
    began = time.perf_counter()
    with anyio.move_on_after(within_seconds):
        async with aclosing(sources.read_items(plan.first[0]["source"], backend)) as items:
            async for item in items:
                if isinstance(item, BadRow):
                    bad_rows += 1
                else:
                    count += 1
                await anyio.lowlevel.checkpoint()
        ended = True
    return Sample(count, time.perf_counter() - began, ended, bad_rows)


def _data_bytes(plan: Mapping[str, Any]) -> int | None:
    size = plan.get("bytes", plan.get("size") if plan["type"] == "s3-lines" else None)
    return None if size is None else int(size)


def _estimate(messages: int, message_bytes: int, batch_size: int) -> Estimate:
    tens = math.ceil(messages / aws_limits.SQS_BATCH_ENTRIES)
    payload = max(tens, math.ceil(message_bytes / aws_limits.SQS_BILLED_BYTES))
    requests = 2 * payload + tens  # sending and receiving are billed by payload, deletions in tens
    units = MARKER_WRITE_UNITS * math.ceil(messages / batch_size)
    prices = read_prices()
    dollars = requests * prices["sqs"]["standard_million"] + units * prices["dynamodb"]["write_units_million"]
    return Estimate(requests, units, dollars / 1_000_000)


def _warnings(plan: Mapping[str, Any], segments: int, largest_message: int) -> Iterator[str]:
    if not segments:
        yield "the source has no segments: the run would end immediately, and the fold would receive no results"
    elif segments == 1:
        yield "the run has only one segment: nothing runs concurrently"
    if segments > MANY_SEGMENTS:
        yield (
            f"the run has {segments:,} segments: larger segments cost less, because each batch takes "
            f"{MARKER_WRITE_UNITS} write units"
        )
    if largest_message > aws_limits.SQS_BILLED_BYTES:
        yield (
            f"the largest message has {largest_message:,} bytes: SQS bills each {aws_limits.SQS_BILLED_BYTES:,} bytes "
            "as a request"
        )
    if compressed := plan.get("compressed", int("compression" in plan)):
        yield f"compressed objects: {compressed:,}; each becomes a single segment, regardless of its size"
    largest, size = plan.get("largest_bytes"), plan.get("bytes")
    if largest and size and segments and largest > UNEVEN * size / segments:
        ratio = largest * segments / size
        yield (
            f"the largest segment has {largest:,} bytes, {ratio:.0f} times the mean: it determines how long the run "
            "takes"
        )


def dry_backend(backend: Backend) -> Backend:
    """Return a backend that reads from another backend and never writes to it."""
    store = overlay(backend.store, _BUCKET, InMemoryStore(_BUCKET), read_only=True)
    return replace(backend, store=store, results_bucket=_BUCKET)
