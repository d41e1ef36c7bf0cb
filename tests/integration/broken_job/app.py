"""A job with segments that fail until a file exists, which means that they are fixed."""

from pathlib import Path

from fanfold import Job, Ranges, Reject

job = Job("broken")


job.source(lambda params: Ranges(20, size=2))


@job.segment
async def segment(rows, ctx):
    params = ctx.run.params
    if ctx.segment.number in params["broken"] and not Path(params["fixed"]).exists():  # noqa: ASYNC240 - a local file
        raise Reject("it is broken")
    return [number async for number in rows]


job.fold(lambda results: [number for result in results for number in result])


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
