"""The start of a run: its request, its scatter, and how a scatter that stopped is resumed."""

from dataclasses import replace

import pytest

from failing import RefusingQueue, throttled
from fanfold import Deadline, Job, Ranges, S3Lines
from fanfold._jobs.report import read_report
from fanfold._jobs.scatter import scatter
from fanfold.errors import ConfigurationError, EnqueueError, FanfoldError, ServiceError, SourceError
from fanfold.testing import ManualClock, make_context
from harness import Bench, started
from numbers_job import NUMBERS, make_job

COMPLETE = {"complete": True}


@pytest.mark.uncounted
async def test_a_scatter_that_died_is_resumed_where_it_stopped_and_not_cut_again():
    """The second attempt resumes from the checkpoint, with the pinned plan."""
    refused = []

    def gate(operation: str) -> None:
        if operation == "before checkpoint" and not refused:
            refused.append(1)
            raise throttled()

    bench = Bench(make_job(), gate=gate, numbers_jsonl=NUMBERS * 20)
    with pytest.raises(ServiceError):
        await bench.job.start(bench.backend, {}, "run")
    bench.store.fill("source", {"numbers.jsonl": NUMBERS * 20 + b"7\n"})
    second = await bench.job.start(bench.backend, {}, "run")
    assert second.segments == 580
    await bench.settle()
    assert (await bench.run()).state == "FAILED"  # the object is not the one that was pinned


async def test_starting_the_same_run_twice_is_one_run():
    """A retry by Lambda continues the same run."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    await started(bench)
    await bench.settle()
    await started(bench)
    assert await bench.output() == list(range(100))
    assert len(bench.plain.work_queue) == 0


async def test_a_run_that_was_started_with_other_parameters_is_refused():
    """Otherwise, the new parameters would be ignored, and the other run's end would be reported."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS), chunk_bytes=50, days=(1, 2))
    await started(bench, chunk_bytes=50, days=(1, 2))
    with pytest.raises(FanfoldError, match="other params; these differ: 'chunk_bytes', 'days'"):
        await bench.job.start(bench.backend, {"chunk_bytes": 60}, "run")
    await bench.settle()
    assert await bench.output() == list(range(100))


async def test_a_run_of_another_job_is_refused():
    """Two jobs never share a run."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    other = make_job()
    other.name = "other"
    with pytest.raises(FanfoldError, match="belongs to job 'sum'"):
        await other.start(bench.backend, {}, "run")


async def test_a_queue_that_accepts_nothing_fails_the_scatter():
    """The error has the reason of the first message."""
    bench = Bench(make_job(), numbers_jsonl=NUMBERS)
    with pytest.raises(EnqueueError, match=r"the queue did not accept 10 messages; the first is message 0: refused"):
        await bench.job.start(replace(bench.plain, work_queue=RefusingQueue()), {}, "run")


@pytest.mark.parametrize(
    ("objects", "key", "complaint"),
    [
        ({}, "none.csv", "s3://source/none.csv does not exist"),
        ({"twice_csv": b"a,a\n1,2\n"}, "twice.csv", "the column 'a' twice"),
        ({"blank_csv": b"\n1,2\n"}, "blank.csv", "line 1 is empty: a CSV object must begin with a header"),
        ({"bad_csv": b'"a,b\n1,2\n'}, "bad.csv", "unexpected end of data; where the next row begins is unclear"),
    ],
)
async def test_a_source_that_cannot_be_read_is_one_clear_error(objects, key: str, complaint: str):
    """No run is created and no message is sent."""
    bench = Bench(make_job(), **objects)
    with pytest.raises(SourceError, match=complaint):
        await started(bench, key=key)
    assert await bench.ledger.run("run") is None
    assert len(bench.plain.work_queue) + len(bench.plain.fold_queue) == 0


def test_the_scatter_handler_starts_a_run_named_by_the_request():
    """Lambda may call it with parameters or without any payload."""
    bench = Bench(make_job(), numbers_jsonl=NUMBERS)
    context = make_context(30, aws_request_id="request-1")
    assert (
        bench.job.scatter_handler({"params": {"chunk_bytes": 50}}, context)
        == {"run": "request-1", "segments": 6} | COMPLETE
    )
    assert bench.job.scatter_handler({"run": "run-1"}, context) == {"run": "run-1", "segments": 29} | COMPLETE
    other = make_context(30, aws_request_id="request-2")
    assert bench.job.scatter_handler(None, other) == {"run": "request-2", "segments": 29} | COMPLETE


async def test_the_fold_function_resumes_a_scatter_that_reached_its_deadline():
    """As often as needed; no segment is sent twice, and the output is complete."""
    clock, calls = ManualClock(), 0

    def gate(operation: str) -> None:
        nonlocal calls
        if operation == "after send":
            calls += 1
            clock.advance(10 if calls <= 3 else 0)

    bench = Bench(make_job(), gate=gate, numbers_jsonl=NUMBERS * 20)
    deadline = Deadline.after(30, clock=clock)
    scattered = await scatter(
        "sum",
        S3Lines("source", "numbers.jsonl", chunk_bytes=10),
        run_id="run",
        params={},
        backend=bench.backend,
        watch_seconds=900,
        deadline=deadline,
    )
    assert not scattered.complete
    assert len(bench.plain.work_queue) == scattered.segments < 580
    assert (await bench.ledger.counter("run")).total is None
    await bench.settle()
    assert (await bench.ledger.counter("run")).total == 580
    assert await bench.output() == list(range(100)) * 20
    assert (await read_report(bench.plain, await bench.run())).duplicates == 0


async def test_a_long_scatter_writes_a_checkpoint_every_thousand_segments():
    """Checkpoints are rare enough to be cheap, and frequent enough that a scatter that died resends little."""
    positions: list[int] = []

    def gate(operation: str) -> None:
        if operation == "after checkpoint":
            positions.append(bench.ledger._runs["run"].position)

    job = Job("numbers")
    job.source(lambda params: Ranges(2_500, size=1))
    bench = Bench(job, gate=gate)
    await started(bench)
    assert positions == [1_000, 2_000, 2_500]


async def test_the_second_check_without_progress_resumes_a_scatter_that_died():
    """The first check cannot know whether the scatter is alive; nobody has to start the run again."""
    sends = 0

    def gate(operation: str) -> None:
        nonlocal sends
        sends += operation == "before send"
        if operation == "before send" and sends == 3:
            raise RuntimeError("killed")

    bench = Bench(make_job(), gate=gate, numbers_jsonl=NUMBERS)
    with pytest.raises(BaseExceptionGroup):
        await bench.job.start(bench.backend, {"chunk_bytes": 10}, "run")
    assert (await bench.ledger.counter("run")).total is None
    began = bench.clock()
    await bench.settle()
    assert await bench.output() == list(range(100))
    assert bench.clock() - began >= 2 * 900


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        ([], "the event must be"),
        ({"params": 5}, "the event must be"),
        ({"parms": {}}, "may contain only .*, not 'parms'"),
        ({"run": "../../etc"}, "run '../../etc': use 1 to 128"),
        ({"run": 5}, "run 5: use 1 to 128"),
    ],
)
def test_a_malformed_request_for_a_run_is_refused(event, complaint: str):
    """Before anything is read or written."""
    bench = Bench(make_job())
    with pytest.raises(ConfigurationError, match=complaint):
        bench.job.scatter_handler(event, make_context())
