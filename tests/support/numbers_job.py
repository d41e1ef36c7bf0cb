"""A job that reads lines of numbers."""

from fanfold import Job, S3Lines

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
