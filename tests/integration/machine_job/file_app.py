"""The same job with a fold that returns a file."""

from app import job as value_job

from fanfold import folds

job = value_job.with_changes()
job.fold(folds.to_csv("numbers.csv", columns=["n"]))


@job.segment
async def work(rows, ctx):
    """Return a row for each number."""
    return [{"n": row} async for row in rows]


@job.combine
def joined(results):
    """Combine the rows of several results into one result."""
    return [row for result in results for row in result]


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
