"""What piles up in an execution environment, what is told of it, and when the execution environment is given up."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fanfold
from command import python
from fanfold import Consumer, Done, Failed
from fanfold._consumer.consumer import ConsumerStats
from fanfold._consumer.loop_thread import MAX_ABANDONED_HANDLERS, MAX_BLOCKED_LOOPS
from fanfold.testing import make_context, make_event
from simple_handlers import hangs

SECONDS = 1.0
FOR_A_HUNDRED_SECONDS = 5.0
"""What an invocation has in which a hundred threads start, also where other processes keep the machine busy."""


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets everything go at the end, whatever became of the test."""
    event = threading.Event()
    yield event
    event.set()


def invoke(handler: Consumer, *bodies, seconds: float = SECONDS) -> list[type]:
    return [type(outcome) for outcome in handler.invoke(make_event(*bodies), make_context(seconds)).outcomes]


def sits_in_a_thread(release: threading.Event, **settings) -> Consumer:
    @fanfold.consumer(concurrency=200, **settings)
    def handler(number) -> None:
        if number:
            release.wait()

    return handler


class ReleasedFromOutside:
    """An event of the handler's loop, set from another thread."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_set, self.clear = self._event.is_set, self._event.clear

    async def wait(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._event.wait()

    def set(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._event.set)


def wait_until_nothing_is_left(handler: Consumer) -> None:
    while handler.stats != ConsumerStats(abandoned_handlers=0, blocked_loops=0):
        time.sleep(0)  # lets the other threads go on


def swallows_its_cancellation(release: ReleasedFromOutside) -> Consumer:
    @fanfold.consumer(concurrency=200)
    async def handler(number) -> None:
        while number and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    return handler


def blocks_the_loop(release: threading.Event) -> Consumer:
    @fanfold.consumer
    async def handler(number) -> None:
        if number:
            release.wait()  # the line that blocks

    return handler


LINE = next(
    at for at, line in enumerate(Path(__file__).read_text().splitlines(), 1) if "# the line that blocks" in line
)


def test_abandoned_threads_pile_up_until_the_execution_environment_is_given_up(release: threading.Event):
    """The batch that goes over the limit is answered; the next one ends the process, and comes back."""
    handler = sits_in_a_thread(release)
    assert invoke(handler, *[1] * MAX_ABANDONED_HANDLERS, seconds=FOR_A_HUNDRED_SECONDS) == [Failed] * 100
    assert handler(make_event(0), make_context()) == {"batchItemFailures": []}
    assert invoke(handler, 1) == [Failed]
    with pytest.raises(SystemExit, match="101 abandoned handlers and 0 blocked event loops still run"):
        handler(make_event(0), make_context())
    release.set()
    handler.close()


def test_abandoned_threads_that_end_are_forgotten(release: threading.Event):
    """The execution environment is as good as new."""
    handler = sits_in_a_thread(release)
    assert invoke(handler, *[1] * 110, seconds=FOR_A_HUNDRED_SECONDS) == [Failed] * 110
    with pytest.raises(SystemExit):
        handler(make_event(0), make_context())
    release.set()
    wait_until_nothing_is_left(handler)
    assert handler(make_event(0), make_context()) == {"batchItemFailures": []}
    handler.close()


def test_abandoned_tasks_pile_up_until_the_execution_environment_is_given_up():
    """Handlers that swallow their cancellation are as little to be had back as threads."""
    release = ReleasedFromOutside()
    handler = swallows_its_cancellation(release)
    assert invoke(handler, *[1] * 60) == [Failed] * 60
    assert invoke(handler, *[1] * 60) == [Failed] * 60
    with pytest.raises(SystemExit, match="120 abandoned handlers"):
        handler(make_event(0), make_context())
    release.set()
    handler.close()


def test_abandoned_tasks_that_end_are_forgotten():
    """Two batches of sixty are no more than one, when the first has ended."""
    release = ReleasedFromOutside()
    handler = swallows_its_cancellation(release)
    for _ in range(2):
        assert invoke(handler, *[1] * 60) == [Failed] * 60
        release.set()
        assert handler(make_event(0), make_context()) == {"batchItemFailures": []}
        release.clear()
    assert handler.stats.abandoned_handlers == 0
    handler.close()


def test_blocked_loops_pile_up_until_the_execution_environment_is_given_up(release: threading.Event):
    """Two may be left behind; the invocation that would leave a third ends the process."""
    handler = blocks_the_loop(release)
    for _ in range(MAX_BLOCKED_LOOPS + 1):
        assert invoke(handler, 1) == [Failed]
    with pytest.raises(SystemExit, match="0 abandoned handlers and 3 blocked event loops still run"):
        handler(make_event(0), make_context())


def test_blocked_loops_that_turn_again_are_forgotten(release: threading.Event):
    """Their threads have ended by then."""
    handler = blocks_the_loop(release)
    for _ in range(MAX_BLOCKED_LOOPS + 1):
        invoke(handler, 1)
    with pytest.raises(SystemExit):
        handler(make_event(0), make_context())
    assert handler.stats.blocked_loops == MAX_BLOCKED_LOOPS + 1
    handler.close()
    release.set()
    wait_until_nothing_is_left(handler)
    assert handler(make_event(0), make_context()) == {"batchItemFailures": []}
    handler.close()


def test_the_line_that_blocks_the_loop_is_named(release: threading.Event, caplog: pytest.LogCaptureFixture):
    """By function, file and line, so that it can be mended."""
    handler = blocks_the_loop(release)
    assert invoke(handler, 1, seconds=1.5) == [Failed]
    release.set()
    handler.close()
    assert f"the event loop is blocked by handler (test_recycling.py, line {LINE}): release.wait()" in caplog.text


def test_a_loop_that_turns_is_not_blamed(caplog: pytest.LogCaptureFixture):
    """A handler that waits for long blocks nothing."""
    handler = fanfold.consumer(hangs)
    assert invoke(handler, 1, seconds=1.5) == [Failed]
    handler.close()
    assert "blocked" not in caplog.text


HOLDS_THE_LOCK = """
    import re
    import fanfold
    from fanfold.testing import make_context, make_event

    @fanfold.consumer
    async def handler(text: str) -> None:
        re.match("(a|a)*b", text)  # exponential

    print(len(handler(make_event("a" * 24), make_context(0.6))["batchItemFailures"]))
"""


def test_the_stacks_are_dumped_when_no_thread_can_answer():
    """A regular expression that runs away keeps the interpreter's lock: the dump needs none."""
    child = python(HOLDS_THE_LOCK)
    assert child.stderr.startswith("Timeout (0:00:00.")
    assert 'File "<string>", line 8 in handler' in child.stderr
    assert child.stdout in {"0\n", "1\n"}


def test_no_stacks_are_dumped_when_the_answer_is_in_time(capfd: pytest.CaptureFixture):
    """Stderr is the function's log."""
    handler = fanfold.consumer(lambda body: None)
    for _ in range(3):
        assert handler(make_event(1), make_context(5)) == {"batchItemFailures": []}
    handler.close()
    assert "Timeout" not in capfd.readouterr().err


def test_a_loop_that_a_handler_has_stopped_is_not_used_again():
    """The batch is answered at once, and the next one has a loop of its own."""

    @fanfold.consumer
    async def handler(number) -> None:
        if number == 0:
            asyncio.get_running_loop().stop()
            await asyncio.Event().wait()

    for _ in range(2):
        assert invoke(handler, 0, seconds=600) == [Failed]
        assert invoke(handler, 1, 2, seconds=600) == [Done, Done]
    handler.close()


def test_work_for_a_loop_that_has_just_ended_is_ended_too():
    """And not waited for: without a deadline that would be for ever."""
    handler = fanfold.consumer(lambda number: None)
    invoke(handler, 1)
    loop = handler._runtime._loop
    handler.close()
    outcome, _ = loop.submit(lambda: asyncio.sleep(0))
    assert isinstance(outcome.exception(timeout=60), TimeoutError)


ENDS_THE_LOOP = """
    import asyncio, sys, time
    import fanfold
    from fanfold.testing import make_context, make_event

    how, seconds = sys.argv[1], float(sys.argv[2])

    async def exits(after: float) -> None:
        try:
            await asyncio.sleep(after)
        finally:
            sys.exit(1)

    @fanfold.consumer
    async def handler(number) -> None:
        if number == 0 and how == "cancel":
            for task in asyncio.all_tasks():
                task.cancel()
        elif number == 0:
            for after in (0, 60) if how == "twice" else (0,):
                asyncio.create_task(exits(after))
        try:
            await asyncio.sleep(0 if number else 60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)  # a rollback

    def reported(*numbers: int) -> list[str]:
        response = handler(make_event(*numbers), make_context(seconds) if seconds else None)
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    for _ in range(2):
        assert "message-0" in reported(0, 1)
        assert reported(1, 2, 3) == []
    print("answered")
"""


@pytest.mark.parametrize("how", ["cancel", "exit", "twice"])
@pytest.mark.parametrize("seconds", ["600", "0"])
def test_a_handler_that_ends_the_event_loop_costs_its_own_batch_and_no_other(how: str, seconds: str):
    """It is answered at once, not when its time is over, if it has any; the next batch finds a fresh loop."""
    child = python(ENDS_THE_LOOP, how, seconds)
    assert child.stdout == "answered\n", child.stderr


FORKS = """
    import os, warnings
    import fanfold
    from fanfold.testing import make_context, make_event

    warnings.simplefilter("ignore")  # of threads beside a fork: they are what this is about

    @fanfold.consumer
    async def handler(number) -> None: ...

    def failures() -> int:
        return len(handler(make_event(1, 2), make_context(20))["batchItemFailures"])

    assert failures() == 0
    child = os.fork()
    if not child:
        os._exit(failures())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), failures())
"""


def test_a_process_that_was_forked_has_a_loop_of_its_own():
    """That of its parent does not turn in it."""
    child = python(FORKS)
    assert child.stdout == "0 0\n", child.stderr
