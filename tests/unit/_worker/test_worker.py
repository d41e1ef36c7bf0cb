"""A worker on an in-memory queue: what it receives, starts, acknowledges and returns."""

import asyncio
import contextlib
import logging
import threading
from typing import Any

import pytest

import fanfold
from fanfold._consumer.consumer import Session
from fanfold._worker.worker import Worker
from fanfold.errors import ConfigurationError, FanfoldError, ServiceError
from fanfold.testing import make_fifo_record, make_record
from worker_queue import InMemoryWorkerQueue, running, until

DELAY = fanfold.Backoff(base=120, factor=1, jitter=0)


def fifo_queue(*messages: str, **settings: Any) -> InMemoryWorkerQueue:
    """Return a FIFO queue; a message such as ``a1`` is in group ``a`` and has itself as ID and body."""
    queue = InMemoryWorkerQueue(fifo=True, **settings)
    queue.put(*(make_fifo_record(name, group=name[0], message_id=name) for name in messages))
    return queue


class Handler:
    """Records the calls; a body in ``blocked`` waits until it is released."""

    def __init__(self, *blocked: str, fails: tuple[str, ...] = (), rejects: tuple[str, ...] = ()) -> None:
        self.released = {body: asyncio.Event() for body in blocked}
        self.started: list[str] = []
        self.fails = fails
        self.rejects = rejects

    async def one(self, body: str) -> None:
        self.started.append(body)
        if body in self.released:
            await self.released[body].wait()
        if body in self.fails:
            raise ValueError(body)
        if body in self.rejects:
            raise fanfold.Reject(body)

    async def several(self, bodies: list[str]) -> None:
        for body in bodies:
            await self.one(body)


async def test_a_slow_record_of_one_group_delays_no_other_group():
    """The groups of one receive are acknowledged independently; the slow group keeps its order."""
    queue, handler = fifo_queue("a1", "b1", "a2", "b2", "c1"), Handler("a1")
    async with running(fanfold.consumer(concurrency=10)(handler.one), queue):
        await until(lambda: len(queue.deleted) == 3)
        assert set(queue.deleted) == {"b1", "b2", "c1"}
        assert handler.started.index("b1") < handler.started.index("b2")
        assert "a2" not in handler.started
        handler.released["a1"].set()
        await until(lambda: len(queue.deleted) == 5)
    assert handler.started[-1] == "a2"


async def test_a_record_is_acknowledged_before_the_next_one_of_its_group_ends():
    """A worker that is killed meanwhile does not repeat it."""
    queue, handler = fifo_queue("a1", "a2"), Handler("a2")
    async with running(fanfold.consumer(concurrency=2)(handler.one), queue):
        await until(lambda: queue.deleted == ["a1"])
        assert handler.started == ["a1", "a2"]
        handler.released["a2"].set()
        await until(lambda: queue.deleted == ["a1", "a2"])


async def test_after_a_failure_the_rest_of_the_group_gets_the_same_delay():
    """The rest does not start, its heartbeats stop so that the delay stays in force, and no other group is affected."""
    queue, handler = fifo_queue("a1", "a2", "a3", "b1", "b2"), Handler(fails=("a2",))
    async with running(fanfold.consumer(concurrency=5, backoff=DELAY)(handler.one), queue) as worker:
        await until(lambda: len(queue.deleted) == 3 and len(queue.delays) == 2)
        await until(lambda: not worker.summary.in_flight)
    assert set(queue.deleted) == {"a1", "b1", "b2"}
    assert queue.delays == {"a2": 120, "a3": 120}
    assert "a3" not in handler.started
    assert (worker.summary.done, worker.summary.failed) == (3, 2)


async def test_a_random_delay_is_drawn_once_for_the_group():
    """The rest gets the delay of the failed record, not another random one."""
    queue = fifo_queue("a1", *(f"a{number}" for number in range(2, 9)))
    backoff = fanfold.Backoff(base=10_000, factor=1, jitter=1)
    async with running(fanfold.consumer(concurrency=8, backoff=backoff)(Handler(fails=("a1",)).one), queue) as worker:
        await until(lambda: len(queue.delays) == 8 and not worker.summary.in_flight)
    assert len(set(queue.delays.values())) == 1


async def test_after_a_failure_without_a_delay_the_rest_of_the_group_is_left():
    """It is redelivered after the visibility timeout, as the failed record is."""
    queue, handler = fifo_queue("a1", "a2", "b1"), Handler(fails=("a1",))
    async with running(fanfold.consumer(concurrency=3)(handler.one), queue) as worker:
        await until(lambda: queue.deleted == ["b1"] and not worker.summary.in_flight)
    assert queue.delays == {}
    assert sorted(handler.started) == ["a1", "b1"]


async def test_a_group_continues_after_a_rejected_record_that_is_in_the_dead_letter_queue():
    """The rejected record is acknowledged, and counted apart from those that are done."""
    queue, handler = fifo_queue("a1", "a2"), Handler(rejects=("a1",))
    consumer = fanfold.consumer(concurrency=1, dead_letter_queue_url="dead")(handler.one)
    async with running(consumer, queue) as worker:
        await until(lambda: len(queue.deleted) == 2)
    assert (worker.summary.done, worker.summary.rejected, worker.summary.failed) == (1, 1, 0)
    assert [message.body for message in queue.dead_letters.messages()] == ["a1"]


async def test_a_rejected_record_without_a_dead_letter_queue_ends_its_group():
    """It is redelivered, so nothing behind it may be acknowledged."""
    queue, handler = fifo_queue("a1", "a2"), Handler(rejects=("a1",))
    async with running(fanfold.consumer(concurrency=2, dead_letter_queue_url="")(handler.one), queue) as worker:
        await until(lambda: worker.summary.failed == 2)
    assert handler.started == ["a1"]
    assert (worker.summary.done, worker.summary.rejected) == (0, 0)


async def test_a_worker_receives_no_more_messages_than_it_has_free_slots():
    """A slot is a running record; the records that wait behind it in their group need none."""
    queue, handler = fifo_queue(*(f"a{number}" for number in range(4)), "b1"), Handler("a0")
    async with running(fanfold.consumer(concurrency=2)(handler.one), queue):
        await until(lambda: queue.deleted == ["b1"])
        assert queue.longest_receive == 2
        handler.released["a0"].set()
        await until(lambda: len(queue.deleted) == 5)
    assert [body for body in handler.started if body[0] == "a"] == ["a0", "a1", "a2", "a3"]


async def test_a_chunk_holds_records_of_one_group():
    """A handler that takes lists gets no two groups in one call, and a failed chunk ends its group."""
    calls: list[list[str]] = []
    queue = fifo_queue("a1", "a2", "a3", "b1", "b2")

    @fanfold.consumer(concurrency=3, chunk_size=2, backoff=DELAY)
    async def handler(bodies: list[str]) -> None:
        calls.append(bodies)
        if "a1" in bodies:
            raise ValueError("a1")

    async with running(handler, queue) as worker:
        await until(lambda: worker.summary.failed == 3 and worker.summary.done == 2)
    assert sorted(calls) == [["a1", "a2"], ["b1", "b2"]]
    assert queue.delays == {"a1": 120, "a2": 120, "a3": 120}


async def test_a_slow_chunk_of_a_standard_queue_delays_no_other_chunk():
    """Each chunk of a receive is acknowledged when it has ended."""
    queue, handler = InMemoryWorkerQueue(), Handler("0")
    queue.put(*(make_record(str(number), message_id=str(number)) for number in range(4)))
    async with running(fanfold.consumer(concurrency=2, chunk_size=2)(handler.several), queue):
        await until(lambda: sorted(queue.deleted) == ["2", "3"])
        handler.released["0"].set()
        await until(lambda: len(queue.deleted) == 4)


async def test_no_more_chunks_run_concurrently_than_the_concurrency():
    """Even if one receive brings more groups."""
    active, most = 0, 0
    queue = fifo_queue(*(f"{group}1" for group in "abcdefgh"))

    @fanfold.consumer(concurrency=2, chunk_size=5)
    async def handler(bodies: list[str]) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.005)
        active -= 1

    async with running(handler, queue):
        await until(lambda: len(queue.deleted) == 8)
    assert most == 2


async def test_after_stop_the_rest_of_a_group_is_returned_to_the_queue():
    """The running record may end; what has not started becomes visible immediately."""
    queue, handler = fifo_queue("a1", "a2", "a3"), Handler("a1")
    async with running(fanfold.consumer(concurrency=3)(handler.one), queue) as worker:
        await until(lambda: handler.started == ["a1"])
        worker.stop()
        handler.released["a1"].set()
        await until(lambda: queue.deleted == ["a1"])
        await until(lambda: queue.delays == {"a2": 0, "a3": 0})
    assert handler.started == ["a1"]


async def test_a_message_that_arrives_while_the_worker_stops_is_returned():
    """``stop`` lets the running ReceiveMessage call end, and makes visible what it brings."""
    queue, handler = InMemoryWorkerQueue(), Handler()
    async with running(fanfold.consumer(handler.one), queue) as worker:
        await until(lambda: queue.polls)
        worker.stop()
        await asyncio.sleep(0)
        queue.put(make_record("late", message_id="late"))
        await until(lambda: queue.delays == {"late": 0})
    assert handler.started == []
    assert not queue.messages.seconds_until_visible()
    assert worker.summary.failed == 1


async def test_running_handlers_drain_while_the_last_poll_runs():
    """Neither waits for the other."""
    queue, handler = InMemoryWorkerQueue(), Handler("slow")
    queue.put(make_record("slow", message_id="slow"))
    async with running(fanfold.consumer(handler.one), queue) as worker:
        await until(lambda: handler.started and queue.polls)
        worker.stop()
        handler.released["slow"].set()
        await until(lambda: queue.deleted == ["slow"])
        assert queue.polls == 1


async def test_a_second_stop_cancels_the_poll():
    """The worker ends immediately."""
    queue = InMemoryWorkerQueue()
    async with asyncio.timeout(5):
        async with running(fanfold.consumer(Handler().one), queue):
            await until(lambda: queue.polls)
    assert queue.polls == 0


async def test_a_poll_that_fails_after_stop_does_not_matter(caplog: pytest.LogCaptureFixture):
    """There is nothing to return."""
    failed = asyncio.Event()

    class Failing(InMemoryWorkerQueue):
        async def receive_records(self, *, max_messages: int, wait_seconds: float) -> Any:
            self.polls += 1
            await failed.wait()
            raise ServiceError("gone", code="InternalError", transient=True)

    queue = Failing()
    worker = Worker(fanfold.consumer(Handler().one), queue, queue)
    task = asyncio.ensure_future(worker.run())
    await until(lambda: queue.polls)
    worker.stop()
    failed.set()
    async with asyncio.timeout(5):
        await task
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_messages_that_cannot_be_returned_are_logged(caplog: pytest.LogCaptureFixture):
    """SQS redelivers them after their visibility timeout."""

    class Refusing(InMemoryWorkerQueue):
        async def change_visibility(self, changes: Any) -> Any:
            raise ServiceError("refused", code="AccessDenied", transient=False)

    queue, handler = Refusing(fifo=True), Handler("a1")
    queue.put(*(make_fifo_record(name, group="a", message_id=name) for name in ("a1", "a2")))
    async with running(fanfold.consumer(concurrency=2)(handler.one), queue) as worker:
        await until(lambda: handler.started)
        worker.stop()
        handler.released["a1"].set()
        await until(lambda: "could not return 1 messages" in caplog.text)
    assert worker.summary.failed == 1


async def test_a_worker_logs_what_it_polls(caplog: pytest.LogCaptureFixture):
    """The queue, the concurrency, the visibility timeout, and the dead-letter queue, or that there is none."""
    caplog.set_level(logging.INFO, logger="fanfold.worker")
    for dead in ("https://dead", ""):
        queue = InMemoryWorkerQueue(visibility_timeout=30)
        async with running(fanfold.consumer(concurrency=7, dead_letter_queue_url=dead)(Handler().one), queue):
            await until(lambda queue=queue: queue.polls)
    first, second = [line for line in caplog.messages if line.startswith("polling ")]
    assert first == f"polling {queue.url}: concurrency 7, visibility timeout 30 s, dead-letter queue https://dead"
    assert second == (
        f"polling {queue.url}: concurrency 7, visibility timeout 30 s, no dead-letter queue: rejected messages are "
        "redelivered"
    )


async def test_the_start_rate_applies_across_groups():
    """Two groups start one after the other; stopping meanwhile returns what has not started."""
    queue, handler = fifo_queue("a1", "b1"), Handler()
    consumer = fanfold.consumer(concurrency=2, starts_per_second=0.01)(handler.one)
    with contextlib.suppress(TimeoutError):
        async with running(consumer, queue) as worker:
            await until(lambda: len(queue.deleted) == 1)
            worker.stop()
            await until(lambda: len(queue.delays) == 1)
    assert len(handler.started) == 1
    assert list(queue.delays.values()) == [0]


async def test_records_that_wait_behind_a_slow_one_stay_invisible():
    """Heartbeats extend the visibility timeouts of the whole group, until each record has ended."""
    queue, handler = fifo_queue("a1", "a2", visibility_timeout=1), Handler("a1")
    async with running(fanfold.consumer(concurrency=2)(handler.one), queue):
        await until(lambda: handler.started)
        await until(lambda: len(queue.calls) >= 8)  # longer than the visibility timeout
        assert queue.messages.seconds_until_visible() > 0
        handler.released["a1"].set()
        await until(lambda: queue.deleted == ["a1", "a2"])
    assert handler.started == ["a1", "a2"]
    assert set(queue.delays.values()) == {1}


async def test_a_group_whose_record_is_cancelled_while_stopping_is_redelivered():
    """The handler is cancelled after the drain time; nothing behind it starts."""
    queue, handler = fifo_queue("a1", "a2", "b1"), Handler("a1")
    async with running(fanfold.consumer(concurrency=3)(handler.one), queue, drain_seconds=0.01) as worker:
        await until(lambda: queue.deleted == ["b1"] and queue.polls)
        worker.stop()
        await until(lambda: worker.summary.failed == 2)
    assert sorted(handler.started) == ["a1", "b1"]
    assert queue.deleted == ["b1"]


async def test_a_lane_that_waits_for_a_slot_is_returned_after_stop():
    """One receive of chunks may bring more groups than there are slots."""
    queue, handler = fifo_queue("a1", "b1"), Handler("a1", "b1")
    async with running(fanfold.consumer(concurrency=1, chunk_size=5)(handler.several), queue) as worker:
        await until(lambda: handler.started == ["a1"])
        worker.stop()
        handler.released["a1"].set()
        await until(lambda: queue.deleted == ["a1"] and queue.delays == {"b1": 0})
    assert handler.started == ["a1"]


async def test_a_receive_that_fails_is_retried(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """With exponential backoff, and one warning until a receive succeeds."""
    failures = [ServiceError("busy", code="Throttling", transient=True)] * 2

    class Failing(InMemoryWorkerQueue):
        async def receive_records(self, *, max_messages: int, wait_seconds: float) -> Any:
            if failures:
                raise failures.pop()
            return await super().receive_records(max_messages=max_messages, wait_seconds=wait_seconds)

    async def no_wait(retries: Any) -> bool:
        retries.failures += 1
        return True

    monkeypatch.setattr("fanfold._base.retry.Retries.wait", no_wait)
    queue = Failing()
    queue.put(make_record("a", message_id="a"))
    async with running(fanfold.consumer(Handler().one), queue):
        await until(lambda: queue.deleted == ["a"])
    assert caplog.text.count("could not receive messages") == 1


async def test_a_call_that_fails_as_a_whole_ends_its_group_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """An error of the engine is logged; other groups continue."""
    process = Session.__call__

    async def failing(self: Session, event: Any, context: Any = None) -> Any:
        if event["Records"][0]["messageId"] == "a1":
            raise RuntimeError("a defect")
        return await process(self, event, context)

    monkeypatch.setattr(Session, "__call__", failing)
    queue = fifo_queue("a1", "a2", "b1", "b2")
    async with running(fanfold.consumer(concurrency=4)(Handler().one), queue) as worker:
        await until(lambda: len(queue.deleted) == 2 and worker.summary.failed == 2)
    assert sorted(queue.deleted) == ["b1", "b2"]
    assert "a call failed as a whole; its messages are redelivered" in caplog.text


def test_a_queue_with_a_visibility_timeout_of_zero_is_refused():
    """Heartbeats could not keep its messages invisible."""
    queue = InMemoryWorkerQueue(visibility_timeout=0)
    with pytest.raises(ConfigurationError, match="must be at least 1 s, not 0"):
        Worker(fanfold.consumer(Handler().one), queue, queue)


async def test_threads_that_time_out_for_ever_end_the_worker():
    """They hold every slot, so nothing can start any more."""
    release = threading.Event()

    @fanfold.consumer(concurrency=1, timeout=0.2)
    def handler(body: str) -> None:
        release.wait(30)

    queue = InMemoryWorkerQueue()
    queue.put(make_record("a", message_id="a"))
    worker = Worker(handler, queue, queue)
    try:
        with pytest.raises(FanfoldError, match="1 handlers did not stop after their timeout and hold every slot"):
            await worker.run()
    finally:
        release.set()
