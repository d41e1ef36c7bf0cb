"""The virtual world of outages: it is as strict as Lambda and SQS."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fanfold
from fanfold._base.deadline import Deadline
from fanfold._replay.mapping import Errored, Invocation, Returned
from fanfold.testing import make_context, make_event
from outage_environments import OpenRun, Run, VirtualEnvironment
from outage_report import Scenario
from outage_schedules import KINDS, schedule
from outage_world import OutageWorld, run_world
from virtual_threads import VirtualThread, wait_for
from virtual_time import VirtualLoop, run_virtually, wait_forever

DONE = Returned("")


def opens(run: Callable[[VirtualEnvironment], Awaitable[Invocation]]) -> OpenRun:
    """Return what starts a function that ignores its event."""

    @asynccontextmanager
    async def open_run(environment: VirtualEnvironment) -> AsyncIterator[Run]:
        yield lambda _: run(environment)

    return open_run


def test_time_advances_to_the_next_timer():
    """Ten hours take no time."""

    async def main() -> float:
        await asyncio.sleep(36_000)
        return asyncio.get_running_loop().time()

    assert run_virtually(main()) == 36_000


def test_a_loop_that_would_wait_forever_raises():
    """A test with a deadlock fails, and does not hang."""
    with pytest.raises(RuntimeError, match="no timer is set"):
        run_virtually(wait_forever())


def test_synchronous_code_waits_in_virtual_time():
    """A function on a thread waits for the loop, which runs only then."""
    thread = VirtualThread()

    async def main() -> tuple[str, float]:
        result = await thread.run(lambda: wait_for(lambda: asyncio.sleep(50, "slept")))
        return result, asyncio.get_running_loop().time()

    assert run_virtually(main()) == ("slept", 50)
    thread.close()


def test_background_work_is_frozen_between_invocations():
    """Tasks that an invocation leaves behind continue in the next one, as on Lambda."""
    passed: list[float] = []
    background: list[asyncio.Task[None]] = []

    async def work(environment: VirtualEnvironment) -> None:
        await asyncio.sleep(1)
        await environment.passes()
        passed.append(asyncio.get_running_loop().time())

    async def run(environment: VirtualEnvironment) -> Invocation:
        if not background:
            background.append(asyncio.ensure_future(work(environment)))
            return DONE
        await asyncio.sleep(0.1)
        return DONE

    async def main() -> None:
        environment = VirtualEnvironment(0, opens(run), timeout=30)
        await environment.invoke({})
        await asyncio.sleep(100)
        assert not passed
        await environment.invoke({})

    run_virtually(main())

    assert passed == [pytest.approx(100.5)]


def test_a_killed_environment_has_no_effect_any_more():
    """The invocation fails at that moment, and the code in it never passes its next call."""
    passed: list[str] = []

    async def run(environment: VirtualEnvironment) -> Invocation:
        await environment.passes("before the call")
        passed.append("the call")
        return DONE

    async def main() -> Invocation:
        environment = VirtualEnvironment(0, opens(run), timeout=30, on_step=lambda step: step == "before the call")
        return await environment.invoke({})

    assert run_virtually(main()) == Errored("killed", "the process ended")
    assert not passed


def test_an_invocation_that_takes_too_long_times_out():
    """Its environment is killed, as on Lambda."""

    async def run(_: VirtualEnvironment) -> Invocation:
        await asyncio.sleep(31)
        return DONE

    async def main() -> tuple[Invocation, bool]:
        environment = VirtualEnvironment(0, opens(run), timeout=30)
        return await environment.invoke({}), environment.is_killed

    invocation, is_killed = run_virtually(main())

    assert isinstance(invocation, Errored)
    assert invocation.kind == "timeout"
    assert is_killed


def test_a_session_follows_the_clock_of_its_deadline():
    """A handler that takes an hour of virtual time is cancelled at the deadline of its invocation."""

    @fanfold.consumer(memory_share=None)
    async def handler(_: dict[str, Any]) -> None:
        await asyncio.sleep(3_600)

    async def main() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        async with handler.session() as session:
            deadline = Deadline.after(60, clock=loop.time)
            result = await session(make_event({}), make_context(60, clock=loop.time), deadline=deadline)
        return len(result.response["batchItemFailures"]), loop.time()

    failed, ended_at = run_virtually(main())

    assert failed == 1
    assert 57 < ended_at < 60


@pytest.mark.parametrize("groups", [0, 4])
def test_what_a_function_does_not_report_is_deleted(groups: int):
    """A function that does nothing finishes all messages, each received once."""

    async def run(_: VirtualEnvironment) -> Invocation:
        return DONE

    report = run_world(Scenario(messages=30, down=(), groups=groups), 1, lambda _: opens(run))

    assert not report.left
    assert not report.dead
    assert {sent.receives for sent in report.messages.values()} == {1}


def test_a_disabled_mapping_delivers_nothing():
    """It takes 10 to 60 s until a request has an effect."""
    deliveries: list[float] = []

    def start(world: OutageWorld) -> OpenRun:
        world.mapping.switch(enabled=False)
        world.loop.call_at(1_000, lambda: world.mapping.switch(enabled=True))

        async def run(_: VirtualEnvironment) -> Invocation:
            deliveries.append(world.loop.time())
            return DONE

        return opens(run)

    run_world(Scenario(messages=100, sent_over=900, down=()), 1, start)

    assert not [moment for moment in deliveries if 61 < moment < 1_010]
    assert [moment for moment in deliveries if moment > 1_010]


def test_schedules_take_turns():
    """Every kind of schedule is generated, and a seed always gives the same one."""
    assert [schedule(seed)[0] for seed in range(len(KINDS))] == list(KINDS)
    assert schedule(5) == schedule(5)
