"""A job that reads lines of numbers."""

from __future__ import annotations

from fanfold import Job, S3Lines

NUMBERS = b"".join(b"%d\n" % number for number in range(100))
"""290 bytes of JSON Lines."""


def make_job(*, segment=None, fold=None, **settings) -> Job:
    job = Job("sum", **settings)

    @job.source
    def source(params):
        return S3Lines("source", params.get("key", "numbers.jsonl"), chunk_bytes=params.get("chunk_bytes", 10))

    @job.segment
    async def add(rows, ctx):
        return [number async for number in rows]

    job.fold(lambda results: [number for result in results for number in result])
    if segment:
        job.segment(segment)
    if fold:
        job.fold(fold)
    return job
