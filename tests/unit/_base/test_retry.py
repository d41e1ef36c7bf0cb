"""Retries: which calls, how many attempts, and which delays."""

from collections.abc import AsyncGenerator

import pytest

from fanfold._base.backoff import Backoff
from fanfold._base.concurrency import for_each
from fanfold._base.deadline import Deadline
from fanfold._base.retry import ENDLESS, SCHEDULE, Retries, RetrySchedule, resume, retry
from fanfold.errors import ConfigurationError, ServiceError
from fanfold.testing import ManualClock


class Failing:
    """A call that fails some number of times."""

    def __init__(self, times: int, *, transient: bool = True) -> None:
        self.times = times
        self.transient = transient
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.times:
            raise ServiceError("slow down", code="SlowDown", transient=self.transient)
        return self.calls


async def no_sleep(seconds: float) -> None:
    assert seconds >= 0


@pytest.mark.parametrize("times", [0, 1, 7])
async def test_a_call_is_retried_until_it_succeeds(times):
    """A transient error is followed by up to seven retries."""
    assert await retry(Failing(times), sleep=no_sleep) == times + 1


@pytest.mark.parametrize(("call", "attempts"), [(Failing(8), 8), (Failing(1, transient=False), 1)])
async def test_the_eighth_error_and_a_permanent_one_are_raised(call: Failing, attempts: int):
    """The last error is raised after eight attempts, a permanent error after the first attempt."""
    with pytest.raises(ServiceError):
        await retry(call, sleep=no_sleep)
    assert call.calls == attempts


async def test_no_attempt_starts_after_the_deadline():
    """If the delay would reach into the margin, the error is raised instead."""
    clock = ManualClock()
    deadline = Deadline.after(10, margin=10 / 2, clock=clock)
    clock.advance(5)
    call = Failing(1)
    with pytest.raises(ServiceError):
        await retry(call, deadline=deadline, sleep=no_sleep)
    assert call.calls == 1
    assert not await Retries(deadline=deadline, sleep=no_sleep).wait()


@pytest.mark.parametrize(("failures", "longest"), [(1, 0.2), (2, 0.4), (3, 0.8), (6, 5.0), (7, 5.0)])
def test_a_delay_is_random_below_a_bound_that_doubles_up_to_five_seconds(failures, longest):
    """The default schedule has full jitter."""
    delays = [SCHEDULE.delay(failures) for _ in range(200)]
    assert all(0 <= seconds <= longest for seconds in delays)
    assert max(delays) > longest / 2 > min(delays)


@pytest.mark.parametrize(("failures", "longest"), [(1, 1.0), (2, 2.0), (5, 16.0), (6, 20.0), (10_000, 20.0)])
def test_an_endless_schedule_has_growing_delays(failures, longest):
    """The delays grow from half a second to 20 seconds, with jitter, even where a float would overflow."""
    delays = [ENDLESS.delay(failures) for _ in range(200)]
    assert all(max(0.5, longest / 2) <= seconds <= longest for seconds in delays)
    assert max(delays) > 0.5 + (longest - 0.5) / 2


def test_there_is_no_delay_after_the_last_attempt():
    """The same holds for a schedule with a single attempt."""
    assert [SCHEDULE.delay(failures) is None for failures in (1, 7, 8, 9)] == [False, False, True, True]
    assert RetrySchedule(1, Backoff()).delay(1) is None


def test_no_delay_is_as_long_as_the_time_left():
    """The next attempt would start too late."""
    schedule = RetrySchedule(None, Backoff(base=3, jitter=0))
    assert [schedule.delay(1, left) for left in (3.1, 3.0, 0.0, -1.0)] == [3.0, None, None, None]


async def test_progress_resets_the_count_of_failures():
    """Only the eighth consecutive failure ends the retries."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    retries = Retries(sleep=sleep)
    assert [await retries.wait() for _ in range(7)] == [True] * 7
    retries.reset()
    assert [await retries.wait() for _ in range(8)] == [True] * 7 + [False]
    assert (retries.failures, len(slept)) == (8, 14)
    assert slept[7] <= 0.2


class Breaking:
    """A stream of numbers that breaks off after every three, and some times before the first."""

    def __init__(self, count: int, faults: int = 0) -> None:
        self.count = count
        self.faults = faults
        self.taken = 0

    async def open_rest(self) -> AsyncGenerator[int, None]:
        if self.faults:
            self.faults -= 1
            raise ServiceError("broke off", code="Broken", transient=self.faults < 100)
        for number in range(self.taken, min(self.taken + 3, self.count)):
            yield number
        if self.taken < self.count:
            raise ServiceError("broke off", code="Broken", transient=True)


async def collect(stream: Breaking) -> list[int]:
    numbers = []
    async for number in resume(stream.open_rest):
        stream.taken += 1
        numbers.append(number)
    return numbers


@pytest.fixture
def patient(monkeypatch):
    """No delay between attempts."""
    monkeypatch.setattr(RetrySchedule, "delay", lambda self, count, _: 0.0 if count < self.attempts else None)


@pytest.mark.usefixtures("patient")
async def test_a_stream_resumes_where_it_broke_off():
    """The number of errors is unlimited as long as each attempt yields an item."""
    assert await collect(Breaking(40, faults=7)) == list(range(40))


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("faults", "left"), [(8, 0), (200, 199)])
async def test_a_stream_that_yields_no_item_raises_the_last_error(faults, left):
    """The error is raised after eight attempts, or immediately if it is permanent."""
    stream = Breaking(1, faults)
    with pytest.raises(ServiceError):
        await collect(stream)
    assert stream.faults == left


async def test_workers_share_the_items_and_raise_the_first_error():
    """Each item is processed once; after an error no more items start, and the error itself is raised."""
    started: list[int] = []

    async def work(item: int) -> None:
        started.append(item)
        if item == 5:
            raise KeyError(item)

    await for_each(work, range(5), concurrency=3)
    assert started == list(range(5))
    with pytest.raises(KeyError):
        await for_each(work, range(5, 100), concurrency=1)
    assert started == list(range(6))


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True])
async def test_there_is_at_least_one_worker(concurrency):
    """Without workers, no item would be processed, and no error would be raised."""
    with pytest.raises(ConfigurationError, match="concurrency must be an integer of at least 1, not"):
        await for_each(no_sleep, [1.0], concurrency=concurrency)
