"""Calls that are made again: how often, how long between, and which."""

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
async def test_a_call_is_made_until_it_succeeds(times):
    """A fault that may pass is followed by another attempt, seven times over."""
    assert await retry(Failing(times), sleep=no_sleep) == times + 1


@pytest.mark.parametrize(("call", "attempts"), [(Failing(8), 8), (Failing(1, transient=False), 1)])
async def test_the_eighth_fault_counts_and_one_that_stays_at_once(call: Failing, attempts: int):
    """After eight attempts the last fault is raised. What will not pass is raised by the first attempt."""
    with pytest.raises(ServiceError):
        await retry(call, sleep=no_sleep)
    assert call.calls == attempts


async def test_there_is_no_attempt_past_the_deadline():
    """When the pause would reach into the margin, the fault is raised instead."""
    clock = ManualClock()
    deadline = Deadline.after(10, margin=10 / 2, clock=clock)
    clock.advance(5)
    call = Failing(1)
    with pytest.raises(ServiceError):
        await retry(call, deadline=deadline, sleep=no_sleep)
    assert call.calls == 1
    assert not await Retries(deadline=deadline, sleep=no_sleep).wait()


@pytest.mark.parametrize(("failures", "most"), [(1, 0.2), (2, 0.4), (3, 0.8), (6, 5.0), (7, 5.0)])
def test_a_delay_is_drawn_from_nothing_to_a_bound_that_doubles_up_to_five_seconds(failures, most):
    """With full jitter."""
    drawn = [SCHEDULE.delay(failures) for _ in range(200)]
    assert all(0 <= seconds <= most for seconds in drawn)
    assert max(drawn) > most / 2 > min(drawn)


@pytest.mark.parametrize(("failures", "most"), [(1, 1.0), (2, 2.0), (5, 16.0), (6, 20.0), (10_000, 20.0)])
def test_what_must_go_on_is_tried_ever_more_slowly(failures, most):
    """From half a second to twenty, with jitter, also past what a float holds."""
    drawn = [ENDLESS.delay(failures) for _ in range(200)]
    assert all(max(0.5, most / 2) <= seconds <= most for seconds in drawn)
    assert max(drawn) > 0.5 + (most - 0.5) / 2


def test_there_is_no_delay_after_the_last_attempt():
    """Nor for a call that is not to be made again at all."""
    assert [SCHEDULE.delay(failures) is None for failures in (1, 7, 8, 9)] == [False, False, True, True]
    assert RetrySchedule(1, Backoff()).delay(1) is None


def test_there_is_no_delay_that_ends_when_the_time_is_over():
    """The next call would begin too late."""
    schedule = RetrySchedule(None, Backoff(base=3, jitter=0))
    assert [schedule.delay(1, left) for left in (3.1, 3.0, 0.0, -1.0)] == [3.0, None, None, None]


async def test_failures_count_from_the_beginning_after_progress():
    """The eighth in a row ends it; here no eight are in a row."""
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
    """Numbers, as a stream that breaks off after each three; and, once, a number of times before the first."""

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


async def drawn(stream: Breaking) -> list[int]:
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
async def test_a_stream_goes_on_where_it_broke_off():
    """However often, as long as something came between."""
    assert await drawn(Breaking(40, faults=7)) == list(range(40))


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("faults", "left"), [(8, 0), (200, 199)])
async def test_a_stream_that_only_breaks_off_ends_with_its_fault(faults, left):
    """After eight attempts, or at once where the fault stays."""
    stream = Breaking(1, faults)
    with pytest.raises(ServiceError):
        await drawn(stream)
    assert stream.faults == left


async def test_workers_share_the_items_and_raise_the_first_error():
    """Each item is worked on once, by at most so many at once; an error ends what has not begun, and is itself."""
    begun: list[int] = []

    async def work(item: int) -> None:
        begun.append(item)
        if item == 5:
            raise KeyError(item)

    await for_each(work, range(5), concurrency=3)
    assert begun == list(range(5))
    with pytest.raises(KeyError):
        await for_each(work, range(5, 100), concurrency=1)
    assert begun == list(range(6))


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True])
async def test_there_is_at_least_one_worker(concurrency):
    """No workers would leave everything undone without a word."""
    with pytest.raises(ConfigurationError, match="concurrency must be a whole number from 1"):
        await for_each(no_sleep, [1.0], concurrency=concurrency)
