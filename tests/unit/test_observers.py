"""What an observer of a consumer is told, and that it disturbs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import math
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from fanfold import Done, Failed, NotStarted, Rejected, Retrying
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._base.outcome import BatchResult
from fanfold._base.record import records_from_event
from fanfold._consumer.classify import rejects
from fanfold._consumer.notify_observers import Observation
from fanfold.errors import AbandonedError, ConfigurationError, TotalFailureError
from fanfold.observers import Observer, Watch
from fanfold.testing import ManualClock, deliver, make_context, make_event, make_fifo_record


class Seen:
    """Notes all it is told."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.started: list[str] = []
        self.ended: list[tuple[list[str], list[type]]] = []
        self.results: list[fanfold.BatchResult] = []

    def batch_started(self, records, batch):
        self.batches.append(len(records))
        return Watch(self.call_started, self.results.append)

    def call_started(self, records):
        ids = [record.message_id for record in records]
        self.started += ids
        return lambda outcomes: self.ended.append((ids, [type(outcome) for outcome in outcomes]))


class Broken:
    """Fails wherever it can, as badly as it can."""

    def __init__(self, error: BaseException, *, at: str = "everywhere") -> None:
        self.error = error
        self.at = at

    def fail(self, place: str) -> None:
        if self.at in {place, "everywhere"}:
            raise self.error

    def batch_started(self, records, batch):
        if self.at == "batch started":
            raise self.error
        return Watch(self.call_started, lambda _: self.fail("batch ended"))

    def call_started(self, records):
        if self.at == "call started":
            raise self.error
        return lambda _: self.fail("call ended")


@fanfold.consumer
async def handler(number: int) -> int:
    if number == 2:
        raise ValueError(number)
    return number


def watched(observer: Observer, **settings):
    return handler.with_settings(observers=[observer], **settings)


def test_an_observer_is_told_of_every_batch_call_and_result():
    """Of each call of the handler before and after, and once for each batch how every record ended."""
    seen = Seen()
    consumer = watched(seen, concurrency=1)
    deliver(consumer, 1, 2)
    deliver(consumer, 3)
    assert seen.batches == [2, 1]
    assert seen.started == ["message-0", "message-1", "message-0"]
    assert seen.ended == [(["message-0"], [Done]), (["message-1"], [Failed]), (["message-0"], [Done])]
    assert [[type(outcome) for outcome in result.outcomes] for result in seen.results] == [[Done, Failed], [Done]]


@pytest.mark.parametrize("at", ["batch started", "call started", "call ended", "batch ended", "everywhere"])
@pytest.mark.parametrize("error", [RuntimeError("the meter is broken"), SystemExit(1), asyncio.CancelledError()])
def test_an_observer_that_fails_is_logged_once_and_disturbs_nothing(error, at, caplog):
    """The answer is the same as without it, and the other observers are told all the same."""
    seen = Seen()
    consumer = handler.with_settings(observers=[Broken(error, at=at), seen])
    assert deliver(consumer, 1, 2).response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert caplog.text.count("an observer failed; the batch is not disturbed by it") == 1
    assert repr(error).partition("(")[0] in caplog.text
    assert sorted(seen.ended) == [(["message-0"], [Done]), (["message-1"], [Failed])]


def test_how_often_observers_failed_is_counted(caplog):
    """Ten thousand records do not make ten thousand tracebacks."""
    deliver(watched(Broken(ValueError())), 1, 1, 1)
    assert "observers failed 4 times in this batch" in caplog.text
    assert caplog.text.count("Traceback") == 1


def test_what_ends_the_process_is_not_swallowed():
    """Who presses Ctrl-C in an observer's time means it."""
    with pytest.raises(KeyboardInterrupt):
        deliver(watched(Broken(KeyboardInterrupt(), at="batch ended")), 1)


def test_what_is_no_watch_is_told_by_name(caplog):
    """Returning the wrong thing is a mistake like any other."""

    class Mistaken:
        def batch_started(self, records, batch):
            return self

    assert deliver(watched(Mistaken()), 1).outcomes == [Done(1)]
    assert "not a fanfold.observers.Watch or None" in caplog.text


@pytest.mark.parametrize("wrong", [Seen, object(), "metrics"])
def test_what_is_no_observer_is_refused_at_once(wrong):
    """A class instead of an object, or anything without the method, is seen at decoration."""
    with pytest.raises(ConfigurationError, match="an observer is an object with a batch_started method"):
        fanfold.consumer(observers=[wrong])
    with pytest.raises(ConfigurationError, match="an observer is an object with a batch_started method"):
        handler.with_settings().add_observer(wrong)


def test_observers_are_a_list():
    """One alone is a mistake that is named."""
    with pytest.raises(ConfigurationError, match="observers must be a list"):
        fanfold.consumer(observers=Seen())


def test_a_consumer_with_other_settings_keeps_the_observers_that_were_added():
    """They are added once, to whatever comes of the consumer, and stand beside those in the settings."""
    added, set_ = Seen(), Seen()
    first = handler.with_settings()
    first.add_observer(added)
    deliver(first.with_settings(concurrency=2, observers=(set_,)), 1)
    assert len(added.results) == len(set_.results) == 1


def test_an_observer_may_want_nothing():
    """Neither of a batch, nor of its calls, nor of its end."""

    class Indifferent:
        def __init__(self, watch: Watch | None) -> None:
            self.watch = watch

        def batch_started(self, records, batch):
            return self.watch

    nothing = [Indifferent(None), Indifferent(Watch()), Indifferent(Watch(lambda records: None))]
    assert deliver(handler.with_settings(observers=nothing), 1).outcomes == [Done(1)]


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
            return Watch(self.call_started)

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


def test_an_observer_of_another_ends_first_what_began_last():
    """So that what one sets around the other is taken back in order."""
    order: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def batch_started(self, records, batch):
            return Watch(self.call_started)

        def call_started(self, records):
            order.append(f"{self.name} began")
            return lambda _: order.append(f"{self.name} ended")

    deliver(handler.with_settings(observers=[Named("first"), Named("second")]), 1)
    assert order == ["first began", "second began", "second ended", "first ended"]


@settings(deadline=None)
@given(st.lists(st.sampled_from([1, 2]), max_size=20), st.integers(1, 5))
def test_watching_changes_no_outcome(numbers, concurrency):
    """Of any batch, under any bound, with a failing observer beside a sound one."""
    logging.disable()
    try:
        plain = deliver(handler.with_settings(concurrency=concurrency), *numbers)
        seen = Seen()
        observers = [Broken(SystemExit()), seen]
        observed = deliver(handler.with_settings(concurrency=concurrency, observers=observers), *numbers)
    finally:
        logging.disable(logging.NOTSET)
    assert observed.response == plain.response
    assert sorted(seen.started) == sorted(record.message_id for record in plain.records)
    assert len(seen.ended) == len(numbers)
    assert seen.results[0].peak_in_flight <= min(concurrency, len(numbers))


async def test_what_is_told_without_a_task_is_told_all_the_same():
    """On a deadline of its own clock: the seconds are that clock's."""
    clock, seen = ManualClock(), Seen()
    records = records_from_event(make_event(1))
    batch = BatchContext(None, Deadline.after(30, clock=clock), None)
    observation = Observation([seen], records, batch, rejects(None))
    clock.advance(2)
    observation.end(BatchResult(records, [Failed(AbandonedError("x"))], {"batchItemFailures": []}))
    assert (seen.results[0].seconds, seen.results[0].seconds_left, seen.results[0].peak_in_flight) == (2, 28, 0)


async def test_a_session_keeps_one_lifespan_for_several_batches():
    """Entered once, left at the end, whatever the batches do."""
    entered = []

    class Life:
        async def __aenter__(self):
            entered.append("in")

        async def __aexit__(self, *_):
            entered.append("out")

    async with handler.with_settings(lifespan=Life).session() as process:
        results = [await process(make_event(number), make_context()) for number in (1, 2)]
        assert entered == ["in"]
    assert [type(result.outcomes[0]) for result in results] == [Done, Failed]
    assert entered == ["in", "out"]


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_what_an_observer_does_to_what_it_is_given_changes_nothing(chunk_size, caplog):
    """No record is lost for it, none is acknowledged."""

    class Taking:
        def batch_started(self, records, batch):
            with contextlib.suppress(AttributeError):
                records.pop()
            return Watch(self.call_started, self.batch_ended)

        def call_started(self, records):
            records.pop()

        def batch_ended(self, ended):
            ended.response["batchItemFailures"][0]["itemIdentifier"] = "another"
            ended.response["batchItemFailures"].clear()
            ended.outcomes.clear()

    @fanfold.consumer(observers=[Taking()], chunk_size=chunk_size)
    async def handler(body: list) -> None:
        raise ValueError("no")

    result = deliver(handler, 1, 2, 3)
    assert [type(outcome) for outcome in result.outcomes] == [Failed] * 3
    assert [failure["itemIdentifier"] for failure in result.response["batchItemFailures"]] == [
        "message-0",
        "message-1",
        "message-2",
    ]


def test_a_call_under_which_the_loop_is_closed_asks_no_loop():
    """Its end was told when the answer was given."""
    (record,) = records_from_event(make_event(1))
    seen = Seen()
    batch = BatchContext(None, Deadline.never(), None)

    async def call(given):
        await asyncio.Event().wait()

    running = Observation([seen], [record], batch, rejects(None)).around(call)([record])
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.call_soon(lambda: (running.send(None), loop.stop()))
        loop.run_forever()
    running.close()
    assert seen.started == ["message-0"]
