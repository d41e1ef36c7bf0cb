"""A job for the tests of state machines: plans that are large, segments that fail once or always, a tree of results."""

from fanfold import Job, Ranges, S3Lines
from fanfold.errors import ObjectExistsError

job = Job("machine", tolerated_failures=1, fan_in=3)


@job.source
def values(params):
    """As many numbers as asked for, one a segment; or the rows of an object, whose header is in every segment."""
    if "key" in params:
        return S3Lines(params["bucket"], params["key"], chunk_bytes=1_000)
    return Ranges(params["count"], size=1)


@job.segment
async def work(rows, ctx):
    """Return the numbers."""
    number = ctx.segment.number
    if number in ctx.run.params.get("bad", []) and not (ctx.segment.gen and ctx.run.params.get("mended")):
        raise ValueError("this one never ends")
    if number in ctx.run.params.get("flaky", []) and await first_try(ctx):
        raise ConnectionError("this one ends at its second try")
    return [row if isinstance(row, int) else int(row["n"]) async for row in rows]


async def first_try(ctx):
    """Return whether nobody asked before, for this segment."""
    key = f"runs/{ctx.run.id}/tries/{ctx.segment.number}"
    try:
        await ctx.batch.state.backend.put_result(key, b"", if_absent=True)
    except ObjectExistsError:
        return False
    return True


@job.combine
def added(results):
    """Return three results, or fewer, as one."""
    return [sum(sum(result) for result in results)]


@job.fold
def total(results):
    """Add up."""
    return sum(sum(result) for result in results)


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
plan_handler, task_handler, collect_handler = job.plan_handler, job.task_handler, job.collect_handler
