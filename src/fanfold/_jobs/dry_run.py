"""What a run would be: its segments, messages, requests and cost, before anything is written or sent."""

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
from fanfold._ports.run import Run, source_prefix
from fanfold.errors import EnqueueError
from fanfold.inmemory import InMemoryStore

MARKER_WRITE_UNITS: Final = 3
"""Of a batch: a marker of up to 2 KiB and the counter."""
MANY_SEGMENTS: Final = 1_000_000
_SHOWN: Final = 3
_RUN: Final = "dry-run"
_BUCKET: Final = "_dry-run"
"""Stands for the results bucket: no bucket can be named so."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the queue and the ledger will be asked for, and what that costs; without Lambda, which nobody can know."""

    sqs_requests: int
    """Billed requests: messages sent, received and deleted in tens, each 64 KiB counted."""
    ledger_write_units: int
    """DynamoDB write units of the ledger, with batches as large as said."""
    dollars: float
    """What both cost, US dollars."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would be."""

    segments: int
    """Its segments."""
    messages: int
    """The messages they travel in."""
    message_bytes: int
    """Of all messages together."""
    largest_message_bytes: int
    """Of the largest message."""
    data_bytes: int | None
    """Of what is read, as far as the source knows it."""
    estimate: Estimate
    """Requests and cost."""
    warnings: Sequence[str]
    """What to look at before starting it."""
    first: Sequence[Mapping[str, Any]]
    """The first few segments, as they would travel."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What reading the first segment took."""

    items: int
    """Items read."""
    seconds: float
    """Seconds it took on this machine."""
    ended: bool
    """Whether it was read to its end."""


async def plan_dry_run(
    job: str, source: sources.Source, backend: Backend, *, batch_size: int = 10, per_message: int = 1
) -> DryRun:
    """Plan a run as scatter would, cut all of it, and write and send nothing.

    Args:
        job: Name of the job.
        source: What to cut.
        backend: Where the source is; see ``dry_backend``.
        batch_size: Messages in a batch of the segment function.
        per_message: Segments in a message.

    Raises:
        SourceError: If there is nothing to cut, or it cannot be read.
        EnqueueError: If a message would be larger than SQS takes.
    """
    plan = await source.pin(backend, source_prefix(_RUN))
    run = Run(_RUN, job, {}, plan, created_at=0.0, expires_at=0)
    count = messages = total = largest = 0
    for body, taken in bodies(segments_left(run), per_message):
        size = len(body.encode())
        if size > aws_limits.SQS_MESSAGE_BYTES:
            reason = f"{size} bytes, where SQS takes {aws_limits.SQS_MESSAGE_BYTES}"
            raise EnqueueError(f"segment {count} is too large for a message: {reason}", rejected=[(count, reason)])
        count, messages, total, largest = taken, messages + 1, total + size, max(largest, size)
    first = [json.loads(segment.to_body()) for segment in islice(segments_left(run), _SHOWN)]
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


async def read_first(rehearsal: DryRun, backend: Backend, *, within_seconds: float) -> Sample:
    """Read the items of the first segment, without a handler, for so many seconds at most."""
    given = 0
    ended = False
    began = time.perf_counter()
    with anyio.move_on_after(within_seconds):
        async with aclosing(sources.read_items(rehearsal.first[0]["source"], backend)) as items:
            async for _ in items:
                given += 1
                await anyio.lowlevel.checkpoint()
        ended = True
    return Sample(given, time.perf_counter() - began, ended)


def _data_bytes(plan: Mapping[str, Any]) -> int | None:
    size = plan.get("bytes", plan.get("size") if plan["type"] == "s3-lines" else None)
    return None if size is None else int(size)


def _estimate(messages: int, message_bytes: int, batch_size: int) -> Estimate:
    tens = math.ceil(messages / aws_limits.SQS_BATCH_ENTRIES)
    payload = max(tens, math.ceil(message_bytes / aws_limits.SQS_BILLED_BYTES))
    requests = 2 * payload + tens  # sent and received by payload, deleted in tens
    units = MARKER_WRITE_UNITS * math.ceil(messages / batch_size)
    prices = read_prices()
    dollars = requests * prices["sqs"]["standard_million"] + units * prices["dynamodb"]["write_units_million"]
    return Estimate(requests, units, dollars / 1_000_000)


def _warnings(plan: Mapping[str, Any], segments: int, largest_message: int) -> Iterator[str]:
    if not segments:
        yield "there are no segments: the run would end at once, with the fold of nothing"
    elif segments == 1:
        yield "there is one segment: nothing runs at once"
    if segments > MANY_SEGMENTS:
        yield f"{segments:,} segments are many: larger ones cost less, at {MARKER_WRITE_UNITS} write units a batch"
    if largest_message > aws_limits.SQS_BILLED_BYTES:
        yield f"a message has {largest_message:,} bytes: SQS bills each {aws_limits.SQS_BILLED_BYTES:,} as one request"
    if compressed := plan.get("compressed", int("compression" in plan)):
        yield f"compressed objects: {compressed:,}; each is one segment, whatever its size"
    largest, size = plan.get("largest_bytes"), plan.get("bytes")
    if largest and size and segments and largest > UNEVEN * size / segments:
        times = largest * segments / size
        yield f"the largest segment has {largest:,} bytes, {times:.0f} times the mean: the run takes as long as it does"


def dry_backend(backend: Backend) -> Backend:
    """Return a backend that reads what another one reads, and writes nothing to it."""
    store = overlay(backend.store, _BUCKET, InMemoryStore(_BUCKET), read_only=True)
    return replace(backend, store=store, results_bucket=_BUCKET)
