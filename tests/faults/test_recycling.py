"""Abandoned handlers and blocked loops accumulate in an execution environment until the process exits."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fanfold
from command import python
from fanfold import Consumer, Done, Failed
from fanfold._consumer.calls import Call
from fanfold._consumer.consumer import ConsumerStats
from fanfold._consumer.loop_thread import MAX_ABANDONED_HANDLERS, MAX_BLOCKED_LOOPS
from fanfold.testing import make_context, make_event
from simple_handlers import hangs

SECONDS = 1.0
LONG_SECONDS = 5.0
"""Duration of an invocation that starts 100 threads, even on a busy machine."""


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """An event that releases blocked handlers when the test ends."""
    event = threading.Event()
    yield event
    event.set()


def invoke(handler: Consumer, *bodies, seconds: float = SECONDS) -> list[type]:
    return [type(outcome) for outcome in handler.invoke(make_event(*bodies), make_context(seconds)).outcomes]


def blocks_a_thread(release: threading.Event, **settings) -> Consumer:
    @fanfold.consumer(concurrency=200, **settings)
    def handler(number) -> None:
        if number:
            release.wait()

    return handler


class ThreadSafeEvent:
    """An event of the handler's loop that another thread can set."""

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


def wait_until_all_have_ended(handler: Consumer) -> None:
    while handler.stats != ConsumerStats(abandoned_handlers=0, blocked_loops=0):
        time.sleep(0)  # lets other threads run


def suppresses_its_cancellation(release: ThreadSafeEvent) -> Consumer:
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


# Slow: several batches that use up their time.
@pytest.mark.slow
def test_too_many_abandoned_threads_make_the_process_exit(release: threading.Event):
    """The batch that exceeds the limit gets a response; the next one makes the process exit and is redelivered."""
    handler = blocks_a_thread(release)
    assert invoke(handler, *[1] * MAX_ABANDONED_HANDLERS, seconds=LONG_SECONDS) == [Failed] * 100
    assert handler(make_event(0), make_context()) == {"batchItemFailures": []}
    assert invoke(handler, 1) == [Failed]
    with pytest.raises(SystemExit, match="101 abandoned handlers and 0 blocked event loops still run"):
        handler(make_event(0), make_context())
    release.set()
    handler.close()


# Slow: several batches that use up their time.
@pytest.mark.slow
def test_abandoned_threads_that_end_are_not_counted(release: threading.Event):
    """The execution environment can be used again."""
    handler = blocks_a_thread(release)
    assert invoke(handler, *[1] * 110, seconds=LONG_SECONDS) == [Failed] * 110
    with pytest.raises(SystemExit):
        handler(make_event(0), make_context())
    release.set()
    wait_until_all_have_ended(handler)
    assert handler(make_event(0), make_context()) == {"batchItemFailures": []}
    handler.close()


def test_too_many_abandoned_tasks_make_the_process_exit():
    """Handlers that suppress their cancellation cannot be stopped, as threads cannot."""
    release = ThreadSafeEvent()
    handler = suppresses_its_cancellation(release)
    assert invoke(handler, *[1] * 60) == [Failed] * 60
    assert invoke(handler, *[1] * 60) == [Failed] * 60
    with pytest.raises(SystemExit, match="120 abandoned handlers"):
        handler(make_event(0), make_context())
    release.set()
    handler.close()


def test_abandoned_tasks_that_end_are_not_counted():
    """The handlers of the first batch have ended, so only those of the second count."""
    release = ThreadSafeEvent()
    handler = suppresses_its_cancellation(release)
    for _ in range(2):
        assert invoke(handler, *[1] * 60) == [Failed] * 60
        release.set()
        assert handler(make_event(0), make_context()) == {"batchItemFailures": []}
        release.clear()
    assert handler.stats.abandoned_handlers == 0
    handler.close()


# Slow: several batches that use up their time.
@pytest.mark.slow
def test_too_many_blocked_loops_make_the_process_exit(release: threading.Event):
    """Two blocked loops are allowed; with a third, the process exits."""
    handler = blocks_the_loop(release)
    for _ in range(MAX_BLOCKED_LOOPS + 1):
        assert invoke(handler, 1) == [Failed]
    with pytest.raises(SystemExit, match="0 abandoned handlers and 3 blocked event loops still run"):
        handler(make_event(0), make_context())


# Slow: several batches that use up their time.
@pytest.mark.slow
def test_blocked_loops_that_run_again_are_not_counted(release: threading.Event):
    """Their threads end."""
    handler = blocks_the_loop(release)
    for _ in range(MAX_BLOCKED_LOOPS + 1):
        invoke(handler, 1)
    with pytest.raises(SystemExit):
        handler(make_event(0), make_context())
    assert handler.stats.blocked_loops == MAX_BLOCKED_LOOPS + 1
    handler.close()
    release.set()
    wait_until_all_have_ended(handler)
    assert handler(make_event(0), make_context()) == {"batchItemFailures": []}
    handler.close()


def test_the_line_that_blocks_the_loop_is_logged(release: threading.Event, caplog: pytest.LogCaptureFixture):
    """With function, file, and line, so that the user can fix it."""
    handler = blocks_the_loop(release)
    assert invoke(handler, 1, seconds=1.5) == [Failed]
    release.set()
    handler.close()
    assert f"the event loop is blocked by handler (test_recycling.py, line {LINE}): release.wait()" in caplog.text


def test_a_loop_that_is_not_blocked_is_not_logged(caplog: pytest.LogCaptureFixture):
    """A handler that awaits for a long time does not block the loop."""
    handler = fanfold.consumer(hangs)
    assert invoke(handler, 1, seconds=1.5) == [Failed]
    handler.close()
    assert "blocked" not in caplog.text


HOLDS_THE_LOCK = """
    import math, re, time
    import fanfold
    from fanfold.testing import make_context, make_event

    @fanfold.consumer
    KIND handler(text: str) -> None:
        re.match("(a|a)*b", text)  # one more letter takes twice as long

    def seconds(call) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    shortest = min(seconds(lambda: re.match("(a|a)*b", 14 * "a")) for _ in range(9))
    letters = 14 + math.ceil(math.log2(1.5 / shortest))  # 1.5 seconds on this machine
    handler(make_event("a"), make_context(60))  # a cold start on a busy machine may take longer than the next batch
    while seconds(lambda: handler(make_event("a" * letters), make_context(1))) < 1:
        letters += 1  # this core has become faster
"""


# Slow: a regular expression that takes longer than the batch.
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["async def", "def"])
def test_the_stacks_are_dumped_if_every_thread_is_blocked(kind: str):
    """A regular expression with catastrophic backtracking holds the interpreter lock; the dump does not need it."""
    child = python(HOLDS_THE_LOCK.replace("KIND", kind))
    assert "Thread 0x" in child.stderr  # after a line that names the line that blocks the event loop, if it was seen
    assert 'File "<string>", line 8 in handler' in child.stderr
    assert child.returncode == 0, child.stderr


def test_no_stacks_are_dumped_if_the_response_is_in_time(capfd: pytest.CaptureFixture):
    """On Lambda, stderr is the function's log."""
    handler = fanfold.consumer(lambda body: None)
    for _ in range(3):
        assert handler(make_event(1), make_context(5)) == {"batchItemFailures": []}
    handler.close()
    assert "Thread 0x" not in capfd.readouterr().err


def test_a_loop_that_a_handler_stopped_is_not_used_again():
    """The response is returned immediately, and the next batch runs on a new loop."""

    @fanfold.consumer
    async def handler(number) -> None:
        if number == 0:
            asyncio.get_running_loop().stop()
            await asyncio.Event().wait()

    for _ in range(2):
        assert invoke(handler, 0, seconds=600) == [Failed]
        assert invoke(handler, 1, 2, seconds=600) == [Done, Done]
    handler.close()


def test_work_submitted_to_a_closed_loop_fails():
    """Otherwise the caller would wait forever, without a deadline."""
    handler = fanfold.consumer(lambda number: None)
    invoke(handler, 1)
    loop = handler._runtime._loop
    handler.close()
    ended = []
    loop.start(call := Call(ended.append), lambda: None)
    assert ended == [call]
    assert isinstance(call.error, TimeoutError)


ENDS_THE_LOOP = """
    import asyncio, sys, time
    import fanfold
    from fanfold.testing import make_context, make_event

    action, seconds = sys.argv[1], float(sys.argv[2])

    async def exits(after: float) -> None:
        try:
            await asyncio.sleep(after)
        finally:
            sys.exit(1)

    @fanfold.consumer
    async def handler(number) -> None:
        if number == 0 and action == "cancel":
            for task in asyncio.all_tasks():
                task.cancel()
        elif number == 0:
            for after in (0, 60) if action == "twice" else (0,):
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
    print("passed")
"""


@pytest.mark.parametrize("action", ["cancel", "exit", "twice"])
@pytest.mark.parametrize("seconds", ["600", "0"])
def test_a_handler_that_ends_the_event_loop_affects_only_its_batch(action: str, seconds: str):
    """The response is returned immediately, not at the deadline; the next batch runs on a new loop."""
    child = python(ENDS_THE_LOOP, action, seconds)
    assert child.stdout == "passed\n", child.stderr


FORKS = """
    import os, warnings
    import fanfold
    from fanfold.testing import make_context, make_event

    warnings.simplefilter("ignore")  # Python warns about threads in a process that forks

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


def test_a_forked_process_has_a_separate_loop():
    """The thread of its parent's loop does not run in it."""
    child = python(FORKS)
    assert child.stdout == "0 0\n", child.stderr
