"""A failed delivery of a segment is in the ledger at the end of its batch, in one write."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from failing import throttled
from fanfold import Context, Deadline, Job, Ranges, Record, Retry, Segment
from fanfold._base.context import BatchContext
from fanfold._base.dead_letter import RECEIVES_VARIABLE
from fanfold._jobs.attempts import MESSAGE_CHARACTERS, _place_of, attempt_outside_lambda, attempts_of
from fanfold._jobs.job_state import JobState
from fanfold._jobs.run_details import RunDetails, read_details
from fanfold._jobs.segment_result import Timing
from fanfold._ports.packed import pack_attempts, unpack_attempts
from fanfold._ports.run import Attempt, FailedBatch
from fanfold.inmemory import InMemoryLedger
from fanfold.testing import make_record
from harness import Bench, ended, started
from numbers_job import all_of

CARRIERS = {"AA": "American"}


def broken(number: int) -> str:
    if number % 2:
        return CARRIERS[f"carrier {number}\n{'x' * 1_000}"]
    return "done"


async def process(rows, ctx) -> list[str]:
    return [broken(number) async for number in rows]


def job_of(segment=process, segments: int = 6, **settings) -> Job:
    job = Job("numbers", **settings)
    job.source(lambda params: Ranges(segments, size=1))
    job.segment(segment)
    job.fold(lambda results: [item for result in results for item in result])
    return job


async def details_of(bench: Bench) -> RunDetails:
    return await read_details(await bench.run(), bench.plain)


async def test_a_batch_with_failures_writes_them_once_with_their_reason_and_place():
    """All fields are known at the first failure; the handler is not started again for it."""
    calls: list[str] = []
    bench = await started(Bench(job_of(), gate=calls.append))
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
    assert calls.count("before put_attempts") == 1
    details = await details_of(bench)
    assert (details.done, details.failing, details.failed, details.failed_attempts) == (3, 3, 0, 3)
    (group,) = details.failing_now
    assert (group.error, list(group.segments), group.highest_attempt) == ("KeyError", [1, 3, 5], 1)
    assert group.place is not None
    assert group.place.endswith(f"test_attempts.py:{broken.__code__.co_firstlineno + 2}")
    assert group.example is not None
    assert len(group.example.message) <= MESSAGE_CHARACTERS
    assert "\n" not in group.example.message
    assert group.example.seconds >= 0
    assert details.deliveries == 6


async def test_a_batch_without_failures_writes_only_its_marker_and_the_counter():
    """The marker has the times of its segments."""
    calls: list[str] = []
    bench = await started(Bench(job_of(all_of), gate=calls.append))
    calls.clear()
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
    assert [call for call in calls if call.startswith("before put") or call == "before count"] == [
        "before put_marker",
        "before count",
    ]
    ends = list((await details_of(bench)).ends())
    assert [end.segment for end in ends] == list(range(6))
    assert all(end.began_at is not None and end.seconds is not None for end in ends)


async def test_a_ledger_that_refuses_the_attempts_changes_no_outcome():
    """The segments that are done are acknowledged, the others are redelivered, and receive counts count them."""

    def gate(operation: str) -> None:
        if operation == "before put_attempts":
            raise throttled()

    bench = await started(Bench(job_of(), gate=gate))
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
    assert len(bench.plain.work_queue) == 3
    bench.backend = bench.plain
    await bench.settle()
    details = await details_of(bench)
    assert (details.done, details.failed, details.deliveries, details.retries) == (3, 3, 3 + 3 * 3, 3 * 2)


async def test_after_the_end_deliveries_and_retries_are_exact():
    """Each failing segment was delivered three times; its dead letter is not a delivery."""
    bench = await ended(Bench(job_of()))
    details = await details_of(bench)
    assert details.is_exact
    assert (details.done, details.failed, details.failing) == (3, 3, 0)
    assert (details.deliveries, details.retries, details.duplicates) == (3 + 3 * 3, 3 * 2, 0)
    assert details.failed_attempts == 9
    (group,) = details.failed_groups
    assert (group.highest_attempt, list(group.segments)) == (3, [1, 3, 5])
    assert [end.attempts for end in details.ends()] == [1, 3, 1, 3, 1, 3]


async def test_a_retry_that_the_handler_asks_for_is_an_attempt():
    """With its reason."""

    async def retrying(rows, ctx) -> None:
        raise Retry("the service is busy", after=3)

    bench = await started(Bench(job_of(retrying, 1)))
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
    (attempt,) = (await details_of(bench)).attempts()
    assert (attempt.error, attempt.message) == ("Retry", "the service is busy")


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ValueError


LONG_NAME = type("Long" * 100, (ValueError,), {})


@pytest.mark.parametrize("wrong", [KeyError("\N{SNOWMAN}"), UnspeakableError(), LONG_NAME()])
async def test_any_error_has_a_text(wrong: Exception):
    """Also one whose text cannot be made, or whose name is long."""

    async def failing(rows, ctx) -> None:
        raise wrong

    bench = await started(Bench(job_of(failing, 1)))
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
    (attempt,) = (await details_of(bench)).attempts()
    assert attempt.error == type(wrong).__qualname__[:MESSAGE_CHARACTERS]


def test_an_error_with_half_of_a_surrogate_pair_can_be_stored():
    """UTF-8 cannot encode it, so the ledger has its escape."""
    attempt = attempt_outside_lambda(3, Timing(1.0, 2.0), ValueError("a \ud83d"))
    assert attempt.message == r"a \ud83d"
    assert unpack_attempts("batch", 0, pack_attempts([attempt])).attempts == [attempt]


async def test_segments_that_share_a_message_count_its_deliveries():
    """A segment that fails continues in a separate message, whose deliveries are added."""
    bench = Bench(job_of(segments_per_message=6))
    await ended(bench)
    details = await details_of(bench)
    assert (details.done, details.failed, details.is_exact) == (3, 3, True)
    assert (details.deliveries, details.failed_attempts) == (3 + 3 * 4, 3 * 4)
    assert [end.attempts for end in details.ends()] == [1, 4, 1, 4, 1, 4]


async def test_an_attempt_is_never_shown_as_one_of_fewer(monkeypatch):
    """A segment that shared a message has as many deliveries again in a separate message."""
    monkeypatch.setenv(RECEIVES_VARIABLE, "3")
    bench = await started(Bench(job_of(segments_per_message=6)))
    for _ in range(2):
        await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
    attempts = (await details_of(bench)).attempts()
    assert {(attempt.number, attempt.max_number) for attempt in attempts} == {(1, 3), (2, 1 + 3)}


async def test_attempts_outside_the_run_are_ignored():
    """A crafted item costs itself."""
    bench = await started(Bench(job_of(all_of)))
    crafted = Attempt(10**18, 0, 0, 1, 0.0, 0.0, "KeyError", "x")
    await bench.ledger.put_attempts("run", FailedBatch("a", 0, [crafted, replace(crafted, segment=6)]))
    await bench.settle()
    details = await details_of(bench)
    assert (details.deliveries, list(details.attempts())) == (6, [])


async def test_a_segment_that_still_runs_when_the_response_is_due_has_failed():
    """Its error states it, and its end has no effect any more; an abandoned generator records nothing."""
    bench = Bench(job_of(all_of))
    batch = BatchContext(None, Deadline.never(), JobState(bench.plain))
    record = Record(make_record("x"))
    segment = Segment("numbers", "run", 0, {"type": "ranges"})
    attempts = attempts_of(batch)
    with attempts.attempt(segment, Context(record, batch)):
        ((run, attempt),) = attempts.take_failed()
    assert (run, attempt.error, attempt.place) == ("run", "TimeoutError", None)
    with suppress(ValueError), attempts.attempt(segment, Context(record, batch)):
        attempts.take_failed()
        raise ValueError
    with suppress(GeneratorExit), attempts.attempt(segment, Context(record, batch)):
        raise GeneratorExit
    ((_, last),) = attempts.take_failed()
    assert last.message == "still running when the batch response was due"


async def test_a_segment_that_is_cancelled_at_the_deadline_has_timed_out():
    """Any other cancellation keeps its name."""
    bench = Bench(job_of(all_of))
    for seconds, expected in ((0, "TimeoutError"), (60, "CancelledError")):
        batch = BatchContext(None, Deadline.after(seconds), JobState(bench.plain))
        segment = Segment("numbers", "run", 0, {"type": "ranges"})
        with (
            suppress(asyncio.CancelledError),
            attempts_of(batch).attempt(segment, Context(Record(make_record("x")), batch)),
        ):
            raise asyncio.CancelledError
        ((_, attempt),) = attempts_of(batch).take_failed()
        assert attempt.error == expected


async def test_a_bug_in_a_ledger_changes_no_outcome():
    """It is logged; what is done is acknowledged."""

    class Broken(InMemoryLedger):
        async def put_attempts(self, run_id: str, batch: FailedBatch) -> None:
            raise RuntimeError(run_id)

    bench = Bench(job_of())
    bench.plain = bench.backend = replace(bench.plain, ledger=Broken())
    await started(bench)
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
    assert len(bench.plain.work_queue) == 3


def test_a_place_is_short_and_in_the_users_code(tmp_path, monkeypatch):
    """Relative to the code of the function or to the current folder; elsewhere, only the name of the file."""
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    places = []
    for file in (tmp_path / "shop" / "app.py", tmp_path.parent / "other.py", tmp_path / "site-packages" / "x.py"):
        try:
            exec(compile("1 / 0", str(file), "exec"), {})  # noqa: S102 - code of a file
        except ZeroDivisionError as error:
            frames = error.__traceback__
            assert frames is not None
            places.append(_place_of(frames.tb_next))
    assert places == ["shop/app.py:1", "other.py:1", None]
