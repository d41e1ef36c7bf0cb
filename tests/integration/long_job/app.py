"""A job with one segment that takes longer than the timeout of its function."""

import asyncio

from fanfold import Job, Ranges

job = Job("long", continuation=True)


job.source(lambda params: Ranges(params["count"], parts=1))


@job.segment
async def add(rows, ctx):
    total = 0
    async for number in rows:
        total += number
        await asyncio.sleep(0.01)
    return total


@job.fold
def total(results):
    return {"parts": len(results), "total": sum(results)}


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
