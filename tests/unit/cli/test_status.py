"""``fanfold status`` states why a run failed."""

from fanfold import Job, S3Lines
from fanfold.cli.status import fold_failure
from harness import Bench, ended
from numbers_job import all_of


def job_of(**settings: object) -> Job:
    job = Job("rows")
    job.source(lambda _: S3Lines("source", "a.csv", **settings))
    job.segment(all_of)
    job.fold(lambda results: len(list(results)))
    return job


async def test_the_reason_of_a_run_that_failed_although_its_segments_did_not_is_known():
    """Too many bad rows are an example."""
    bench = await ended(Bench(job_of(on_bad_row="collect", max_bad_rows=0), a_csv=b"a,b\n1,2\n3\n"))
    reason = await fold_failure(await bench.run(), bench.backend)
    assert reason is not None
    assert reason.startswith("1 of 2 rows are bad, more than max_bad_rows=0 allows")


async def test_failed_segments_have_their_own_reasons_and_a_run_that_succeeded_has_none():
    """The report lists those of segments."""
    for settings in ({}, {"on_bad_row": "collect"}):
        bench = await ended(Bench(job_of(**settings), a_csv=b"a,b\n1,2\n3\n"))
        assert await fold_failure(await bench.run(), bench.backend) is None
