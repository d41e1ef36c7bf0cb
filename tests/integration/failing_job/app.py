"""A job whose every segment raises an error in its own code."""

from fanfold import Job, Ranges

job = Job("failing")


job.source(lambda params: Ranges(6, size=1))


def carrier_of(row):
    """Return the carrier of a row that has none."""
    return {"number": row}["carrier"]


@job.segment
async def segment(rows, ctx):
    return [carrier_of(row) async for row in rows]


job.fold(list)


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
