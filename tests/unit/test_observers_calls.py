"""What observers are told of calls and of how they ended."""

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


def test_what_a_batch_took_is_told_with_its_end():
    """How long, how much time was left, how many ran at once at most, how much memory."""
    seen = Seen()
    met = asyncio.Barrier(3)

    @fanfold.consumer(concurrency=3, observers=[seen])
    async def together(number: int) -> None:
        await met.wait()

    together(make_event(*range(6)), make_context(seconds=60))
    asyncio.run(handler.with_settings(observers=[seen]).process(make_event(1)))
    with_deadline, without = seen.results
    assert with_deadline.peak_in_flight == 3
    assert 0 < with_deadline.seconds < 60
    assert 0 < with_deadline.seconds_left < 60
    assert with_deadline.peak_memory_bytes > 1_000_000
    assert (without.peak_in_flight, without.seconds_left) == (1, math.inf)


def test_each_kind_of_ending_is_told_as_it_is():
    """What a handler raises to choose is no failure to an observer either."""
    seen = Seen()

    @fanfold.consumer(observers=[seen], concurrency=1, reject_on=KeyError, dead_letter_queue_url="")
    async def choosing(word: str) -> None:
        raise {"retry": fanfold.Retry(after=1), "reject": fanfold.Reject("no"), "key": KeyError("x")}[word]

    deliver(choosing, "retry", "reject", "key")
    assert [kinds for _, kinds in seen.ended] == [[Retrying], [Rejected], [Rejected]]
    seen.ended.clear()
    deliver(watched(seen), "no number")
    assert seen.ended == [(["message-0"], [Rejected])]


def test_of_a_call_that_was_cancelled_no_other_ending_is_told():
    """Not even of a record that would have been rejected."""
    seen = Seen()

    @fanfold.consumer(chunk_size=2, timeout=0.05, observers=[seen])
    async def swallowing(numbers: list[int]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    assert [type(outcome) for outcome in deliver(swallowing, "no number {", 1).outcomes] == [Failed, Failed]
    assert [kinds for _, kinds in seen.ended] == [[Failed, Failed]]


def test_a_handler_of_lists_is_one_call_of_several_records():
    """With an outcome for each of them; what it raises holds for all."""
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
    """And not one value for each of several."""
    told = []

    class Values(Seen):
        def call_started(self, records):
            return told.extend

    handler_of_one = fanfold.consumer(observers=[Values()])(lambda number: [None, 2])
    result = deliver(handler_of_one, 1)
    assert told == list(result.outcomes)
    assert isinstance(told[0], Done)


def test_in_a_fifo_group_the_calls_that_were_made_are_told():
    """What is left behind a failure was never called; the result says so."""
    seen = Seen()
    event = make_event(records=[make_fifo_record(n, group="group", message_id=f"m-{n}") for n in (1, 2, 3)])
    watched(seen)(event, make_context())
    assert seen.ended == [(["m-1"], [Done]), (["m-2"], [Failed])]
    assert [type(outcome) for outcome in seen.results[0].outcomes] == [Done, Failed, NotStarted]


def test_a_call_that_outlives_the_answer_is_told_as_abandoned_once():
    """When the answer is given, and not again when the handler ends after all."""
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


def test_the_observers_are_told_before_a_total_failure_is_raised():
    """The batch that matters most is in the metrics, too."""
    seen = Seen()
    with pytest.raises(TotalFailureError):
        deliver(watched(seen, raise_on_total_failure=True), 2)
    assert len(seen.results) == 1


def test_a_handler_that_swallows_its_cancellation_is_told_as_a_failure():
    """What it returns does not count, to an observer either."""
    seen = Seen()

    @fanfold.consumer(observers=[seen], timeout=0.01)
    async def swallowing(number: int) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return

    deliver(swallowing, 1)
    assert seen.ended == [(["message-0"], [Failed])]


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_context_variables_an_observer_sets_are_those_of_its_record(kind):
    """With eight records at once, each handler sees its own; nothing is left for the next batch."""
    which: contextvars.ContextVar[str] = contextvars.ContextVar("which", default="nobody's")
    met_async, met = asyncio.Barrier(8), threading.Barrier(8, timeout=10)
    saw: dict[str, str] = {}

    class Naming:
        def batch_started(self, records, batch):
            saw["at the start"] = which.get()
            return BatchCallbacks(self.call_started)

        def call_started(self, records):
            token = which.set(records[0].message_id)
            return lambda _: which.reset(token)

    async def work(record: fanfold.Record) -> None:
        await met_async.wait()
        saw[record.message_id] = which.get()
        await asyncio.sleep(0)
        assert which.get() == record.message_id

    def work_plainly(record: fanfold.Record) -> None:
        met.wait()
        saw[record.message_id] = which.get()

    consumer = fanfold.consumer(concurrency=8, observers=[Naming()])(work if kind == "async" else work_plainly)
    for _ in range(2):
        saw.clear()
        assert consumer(make_event(*range(8)), make_context()) == {"batchItemFailures": []}
        assert saw.pop("at the start") == "nobody's"
        assert len(saw) == 8
        assert all(message_id == seen for message_id, seen in saw.items())
