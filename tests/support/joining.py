"""A job whose results are lists, joined in order."""

from typing import Any

from fanfold import Job, Ranges


def joining(segments: int, fan_in: int, *, combine: Any = None, fold: Any = None, **settings: Any) -> Job:
    """Return a job whose segments return lists; they are joined in order."""
    job = Job("join", fan_in=fan_in, **settings)
    job.source(lambda params: Ranges(segments, size=1))

    @job.segment
    async def one(rows, ctx) -> list[int]:
        if ctx.segment.number in ctx.run.params.get("fail", []):
            raise ValueError("no")
        return [number async for number in rows]

    def joined(results) -> list[int]:
        job.calls.append(len(results))
        return [number for result in results for number in result]

    job.calls = []
    job.combine(combine or joined)
    job.fold(fold or joined)
    return job
