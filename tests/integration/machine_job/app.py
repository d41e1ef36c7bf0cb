"""A job for the tests of state machines: large plans, segments that fail once or always, and a tree of results."""

from fanfold import Job, Ranges, S3Lines

job = Job("machine", tolerated_failures=1, fan_in=3)


@job.source
def values(params):
    """Cut ``count`` numbers, one per segment, or the rows of an object, whose header is in every segment."""
    if "key" in params:
        return S3Lines(params["bucket"], params["key"], chunk_bytes=1_000)
    return Ranges(params["count"], size=1)


@job.segment
async def work(rows, ctx):
    """Return the numbers."""
    number = ctx.segment.number
    if number in ctx.run.params.get("bad", []) and not (ctx.segment.gen and ctx.run.params.get("fixed")):
        raise ValueError("this one never ends")
    if number in ctx.run.params.get("flaky", []) and ctx.receive_count == 1:
        raise ConnectionError("this one ends in its second attempt")
    return [row if isinstance(row, int) else int(row["n"]) async for row in rows]


@job.combine
def added(results):
    """Combine up to three results into one."""
    return [sum(sum(result) for result in results)]


@job.fold
def total(results):
    """Add up the numbers of all results."""
    return sum(sum(result) for result in results)


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
plan_handler, task_handler, collect_handler = job.plan_handler, job.task_handler, job.collect_handler
