"""Observers: what they receive for each call of the handler and for its end."""

import asyncio
import contextlib
import contextvars
import math
import threading

import pytest

import fanfold
from fanfold import Done, Failed, NotStarted, Rejected, Retrying
from fanfold.errors import TotalFailureError
from fanfold.observers import BatchCallbacks
from fanfold.testing import deliver, make_context, make_event, make_fifo_record
from watching import Seen, handler, watched


def test_the_end_of_a_batch_includes_its_measurements():
    """They are the duration, the time left, the peak concurrency, and the peak memory."""
    seen = Seen()
    barrier = asyncio.Barrier(3)

    @fanfold.consumer(concurrency=3, observers=[seen])
    async def concurrent(number: int) -> None:
        await barrier.wait()

    concurrent(make_event(*range(6)), make_context(seconds=60))
    asyncio.run(handler.with_settings(observers=[seen]).process(make_event(1)))
    with_deadline, without = seen.results
    assert with_deadline.peak_in_flight == 3
    assert 0 < with_deadline.seconds < 60
    assert 0 < with_deadline.seconds_left < 60
    assert with_deadline.peak_memory_bytes > 1_000_000
    assert (without.peak_in_flight, without.seconds_left) == (1, math.inf)


def test_observers_receive_each_kind_of_outcome():
    """The exceptions that choose an outcome are not failures to an observer."""
    seen = Seen()

    @fanfold.consumer(observers=[seen], concurrency=1, reject_on=KeyError, dead_letter_queue_url="")
    async def choosing(action: str) -> None:
        raise {"retry": fanfold.Retry(after=1), "reject": fanfold.Reject("no"), "key": KeyError("x")}[action]

    deliver(choosing, "retry", "reject", "key")
    assert [kinds for _, kinds in seen.ended] == [[Retrying], [Rejected], [Rejected]]
    seen.ended.clear()
    deliver(watched(seen), "no number")
    assert seen.ended == [(["message-0"], [Rejected])]


def test_a_cancelled_call_is_a_failure_to_observers():
    """This includes a record of the call that would have been rejected."""
    seen = Seen()

    @fanfold.consumer(chunk_size=2, timeout=0.05, observers=[seen])
    async def swallowing(numbers: list[int]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    assert [type(outcome) for outcome in deliver(swallowing, "no number {", 1).outcomes] == [Failed, Failed]
    assert [kinds for _, kinds in seen.ended] == [[Failed, Failed]]


def test_a_handler_of_lists_is_one_call_of_several_records():
    """The observer receives an outcome for each record; an exception counts for all of them."""
    seen = Seen()

    @fanfold.consumer(chunk_size=3, concurrency=1, observers=[seen])
    async def several(numbers: list[int]) -> list:
        if 7 in numbers:
            raise ValueError(numbers)
        return [ValueError(number) if number == 2 else None for number in numbers]

    deliver(several, 1, 2, 3, 7, 8)
    assert [len(ids) for ids, _ in seen.ended] == [3, 2]
    assert [kinds for _, kinds in seen.ended] == [[Done, Failed, Done], [Failed, Failed]]


def test_a_list_that_a_handler_returns_is_the_value_of_its_record():
    """The list is not split into one value per record."""
    outcomes = []

    class Values(Seen):
        def call_started(self, records):
            return outcomes.extend

    handler_of_one = fanfold.consumer(observers=[Values()])(lambda number: [None, 2])
    result = deliver(handler_of_one, 1)
    assert outcomes == list(result.outcomes)
    assert isinstance(outcomes[0], Done)


def test_in_a_fifo_group_observers_receive_only_the_calls_that_were_made():
    """The records after a failure are not started; the batch result includes them."""
    seen = Seen()
    event = make_event(records=[make_fifo_record(n, group="group", message_id=f"m-{n}") for n in (1, 2, 3)])
    watched(seen)(event, make_context())
    assert seen.ended == [(["m-1"], [Done]), (["m-2"], [Failed])]
    assert [type(outcome) for outcome in seen.results[0].outcomes] == [Done, Failed, NotStarted]


def test_an_abandoned_call_is_reported_once():
    """It is reported with the batch response, and not again when the handler ends."""
    seen, release = Seen(), asyncio.Event()

    @fanfold.consumer(observers=[seen])
    async def stubborn(number: int) -> None:
        while number == 1 and not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        release.set()
        await asyncio.sleep(0)

    result = stubborn.invoke(make_event(1), make_context(seconds=0.2))
    assert [type(outcome) for outcome in result.outcomes] == [Failed]
    assert seen.ended == [(["message-0"], [Failed])]
    assert deliver(stubborn, 2).outcomes == [Done(None)]
    stubborn.close()
    assert seen.ended == [(["message-0"], [Failed]), (["message-0"], [Done])]


def test_observers_are_notified_before_a_total_failure_is_raised():
    """Metrics then include the batch that failed completely."""
    seen = Seen()
    with pytest.raises(TotalFailureError):
        deliver(watched(seen, raise_on_total_failure=True), 2)
    assert len(seen.results) == 1


def test_a_handler_that_suppresses_its_cancellation_is_a_failure_to_observers():
    """Its return value does not count."""
    seen = Seen()

    @fanfold.consumer(observers=[seen], timeout=0.01)
    async def swallowing(number: int) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return

    deliver(swallowing, 1)
    assert seen.ended == [(["message-0"], [Failed])]


@pytest.mark.parametrize("kind", ["async", "def"])
def test_the_handler_sees_the_context_variables_that_an_observer_sets(kind):
    """Eight concurrent handlers each see the value of their record; the next batch sees none of them."""
    current_id: contextvars.ContextVar[str] = contextvars.ContextVar("current_id", default="none")
    async_barrier, barrier = asyncio.Barrier(8), threading.Barrier(8, timeout=300)
    saw: dict[str, str] = {}

    class Naming:
        def batch_started(self, records, batch):
            saw["at the start"] = current_id.get()
            return BatchCallbacks(self.call_started)

        def call_started(self, records):
            token = current_id.set(records[0].message_id)
            return lambda _: current_id.reset(token)

    async def work(record: fanfold.Record) -> None:
        await async_barrier.wait()
        saw[record.message_id] = current_id.get()
        await asyncio.sleep(0)
        assert current_id.get() == record.message_id

    def work_in_thread(record: fanfold.Record) -> None:
        barrier.wait()
        saw[record.message_id] = current_id.get()

    consumer = fanfold.consumer(concurrency=8, observers=[Naming()])(work if kind == "async" else work_in_thread)
    for _ in range(2):
        saw.clear()
        assert consumer(make_event(*range(8)), make_context()) == {"batchItemFailures": []}
        assert saw.pop("at the start") == "none"
        assert len(saw) == 8
        assert all(message_id == seen for message_id, seen in saw.items())


def test_the_end_of_a_call_is_observed_even_if_its_value_cannot_be_classified():
    """The class of what was returned or raised cannot be read: the record failed."""

    class Unreadable(Exception):  # noqa: N818 - short
        @property
        def __class__(self):
            raise RuntimeError("no class")

    seen = Seen()

    @fanfold.consumer(observers=[seen], concurrency=1)
    async def unreadable(action: str) -> Unreadable:
        if action == "raise":
            raise Unreadable
        return Unreadable()

    deliver(unreadable, "raise", "return")
    assert [kinds for _, kinds in seen.ended] == [[Failed], [Failed]]
