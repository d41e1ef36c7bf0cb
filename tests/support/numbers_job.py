"""Jobs that read numbers."""

from typing import Any

from fanfold import Job, Ranges, S3Lines

NUMBERS = b"".join(b"%d\n" % number for number in range(100))
"""290 bytes of JSON Lines."""


async def all_of(rows, ctx):
    return [row async for row in rows]


def make_job(*, segment=None, fold=None, **settings) -> Job:
    job = Job("sum", **settings)

    @job.source
    def source(params):
        return S3Lines("source", params.get("key", "numbers.jsonl"), chunk_bytes=params.get("chunk_bytes", 10))

    job.segment(segment or all_of)
    job.fold(fold or (lambda results: [number for result in results for number in result]))
    return job


def ranges_job(count: int, **settings: Any) -> Job:
    """Return a job with one number in each segment; its output is the list of all."""
    job = Job("numbers", watch_seconds=60, **settings)
    job.source(lambda params: Ranges(count, size=1))
    job.segment(all_of)
    job.fold(lambda results: [number for result in results for number in result])
    return job
