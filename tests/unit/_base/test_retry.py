"""Calls that are made again: how often, how long between, and which."""

from __future__ import annotations

import pytest

from fanfold._base.concurrency import each
from fanfold._base.deadline import Deadline
from fanfold._base.retry import again, pause
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
    assert await again(Failing(times), sleep=no_sleep) == times + 1


async def test_the_eighth_fault_counts():
    """After eight attempts the last fault is raised."""
    call = Failing(8)
    with pytest.raises(ServiceError):
        await again(call, sleep=no_sleep)
    assert call.calls == 8


async def test_a_fault_that_stays_counts_at_once():
    """What will not pass is raised by the first attempt."""
    call = Failing(1, transient=False)
    with pytest.raises(ServiceError):
        await again(call, sleep=no_sleep)
    assert call.calls == 1


async def test_there_is_no_attempt_past_the_deadline():
    """When the pause would reach into the margin, the fault is raised instead."""
    clock = ManualClock()
    deadline = Deadline.after(10, margin=10 / 2, clock=clock)
    clock.advance(5)
    call = Failing(1)
    with pytest.raises(ServiceError):
        await again(call, deadline=deadline, sleep=no_sleep)
    assert call.calls == 1
    assert not await pause(1, deadline=deadline, sleep=no_sleep)


async def test_a_pause_is_bounded_however_many_attempts_there_were():
    """Growth ends at five seconds, also past what a float holds."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    for attempt in (1, 6, 5_000):
        assert await pause(attempt, sleep=sleep)
    assert [seconds <= most for seconds, most in zip(slept, [0.2, 5, 5], strict=True)] == [True] * 3


async def test_workers_share_the_items_and_raise_the_first_error():
    """Each item is worked on once, by at most so many at once; an error ends what has not begun, and is itself."""
    begun: list[int] = []

    async def work(item: int) -> None:
        begun.append(item)
        if item == 5:
            raise KeyError(item)

    await each(work, range(5), concurrency=3)
    assert begun == list(range(5))
    with pytest.raises(KeyError):
        await each(work, range(5, 100), concurrency=1)
    assert begun == list(range(6))


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True])
async def test_there_is_at_least_one_worker(concurrency):
    """No workers would leave everything undone without a word."""
    with pytest.raises(ConfigurationError, match="concurrency must be a whole number from 1"):
        await each(no_sleep, [1.0], concurrency=concurrency)
