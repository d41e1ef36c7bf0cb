"""A job whose segments take a while, so that its workers can be killed in the middle of a batch."""

from __future__ import annotations

import asyncio

from fanfold import Job, S3Lines

job = Job("slow", concurrency=4)


@job.source
def numbers(params):
    return S3Lines(params["bucket"], params["key"], chunk_bytes=params["chunk_bytes"])


@job.segment
async def add(rows, ctx):
    total = 0
    async for number in rows:
        total += number
        await asyncio.sleep(0.004)
    return total


@job.fold
def total(results):
    return sum(results)


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
