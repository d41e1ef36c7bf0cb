"""Observers: when they are notified, and that they cannot change an outcome."""

import asyncio
import contextlib
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from batches import ids
from fanfold import Done, Failed
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._base.outcome import BatchResult
from fanfold._base.record import records_from_event
from fanfold._consumer.classify import rejects
from fanfold._consumer.notify_observers import Observation
from fanfold.errors import AbandonedError, ConfigurationError
from fanfold.observers import BatchCallbacks
from fanfold.testing import ManualClock, deliver, make_context, make_event
from simple_handlers import raises
from watching import Seen, handler, watched


class Broken:
    """An observer that raises an error in every callback, or in one of them."""

    def __init__(self, error: BaseException, *, at: str = "everywhere") -> None:
        self.error = error
        self.at = at

    def fail(self, place: str) -> None:
        if self.at in {place, "everywhere"}:
            raise self.error

    def batch_started(self, records, batch):
        if self.at == "batch started":
            raise self.error
        return BatchCallbacks(self.call_started, lambda _: self.fail("batch ended"))

    def call_started(self, records):
        if self.at == "call started":
            raise self.error
        return lambda _: self.fail("call ended")


def test_an_observer_is_notified_of_every_batch_call_and_result():
    """It is notified before and after each call of the handler, and once per batch with all outcomes."""
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
def test_an_observer_that_fails_is_logged_once_and_changes_no_outcome(error, at, caplog):
    """The batch response is the same as without it, and the other observers are still notified."""
    seen = Seen()
    consumer = handler.with_settings(observers=[Broken(error, at=at), seen])
    assert deliver(consumer, 1, 2).response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert caplog.text.count("an observer failed; the batch is not affected") == 1
    assert repr(error).partition("(")[0] in caplog.text
    assert sorted(seen.ended) == [(["message-0"], [Done]), (["message-1"], [Failed])]


def test_failures_of_observers_are_counted(caplog):
    """A batch with many records logs one traceback and a count."""
    deliver(watched(Broken(ValueError())), 1, 1, 1)
    assert "observers failed 4 times in this batch" in caplog.text
    assert caplog.text.count("Traceback") == 1


def test_a_keyboard_interrupt_in_an_observer_is_not_suppressed():
    """Ctrl-C ends the process even while an observer runs."""
    with pytest.raises(KeyboardInterrupt):
        deliver(watched(Broken(KeyboardInterrupt(), at="batch ended")), 1)


def test_a_wrong_return_value_of_an_observer_is_logged(caplog):
    """The log line states the expected types."""

    class Mistaken:
        def batch_started(self, records, batch):
            return self

    assert deliver(watched(Mistaken()), 1).outcomes == [Done(1)]
    assert "not BatchCallbacks or None" in caplog.text


@pytest.mark.parametrize("wrong", [Seen, object(), "metrics"])
def test_an_invalid_observer_is_refused_immediately(wrong):
    """A class instead of an object, or an object without the method, is refused at decoration."""
    with pytest.raises(ConfigurationError, match="an observer must be an object with a batch_started method"):
        fanfold.consumer(observers=[wrong])
    with pytest.raises(ConfigurationError, match="an observer must be an object with a batch_started method"):
        handler.with_settings().add_observer(wrong)


def test_observers_are_a_list():
    """A single observer is refused."""
    with pytest.raises(ConfigurationError, match="observers must be a list"):
        fanfold.consumer(observers=Seen())


def test_a_consumer_with_other_settings_keeps_its_added_observers():
    """They are added once, for all consumers derived from it, in addition to the observers in the settings."""
    added, configured = Seen(), Seen()
    first = handler.with_settings()
    first.add_observer(added)
    deliver(first.with_settings(concurrency=2, observers=(configured,)), 1)
    assert len(added.results) == len(configured.results) == 1


def test_an_observer_may_return_no_callbacks():
    """It may omit all callbacks, or any of them."""

    class Indifferent:
        def __init__(self, callbacks: BatchCallbacks | None) -> None:
            self.callbacks = callbacks

        def batch_started(self, records, batch):
            return self.callbacks

    nothing = [Indifferent(None), Indifferent(BatchCallbacks()), Indifferent(BatchCallbacks(lambda records: None))]
    assert deliver(handler.with_settings(observers=nothing), 1).outcomes == [Done(1)]


def test_observers_are_notified_of_the_end_in_reverse_order():
    """So nested context variables are reset in the correct order."""
    order: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def batch_started(self, records, batch):
            return BatchCallbacks(self.call_started)

        def call_started(self, records):
            order.append(f"{self.name} began")
            return lambda _: order.append(f"{self.name} ended")

    deliver(handler.with_settings(observers=[Named("first"), Named("second")]), 1)
    assert order == ["first began", "second began", "second ended", "first ended"]


@settings(deadline=None)
@given(st.lists(st.sampled_from([1, 2]), max_size=20), st.integers(1, 5))
def test_observers_change_no_outcome(numbers, concurrency):
    """This holds for any batch and any concurrency, with a failing observer next to a working one."""
    logging.disable()
    try:
        expected = deliver(handler.with_settings(concurrency=concurrency), *numbers)
        seen = Seen()
        observers = [Broken(SystemExit()), seen]
        observed = deliver(handler.with_settings(concurrency=concurrency, observers=observers), *numbers)
    finally:
        logging.disable(logging.NOTSET)
    assert observed.response == expected.response
    assert sorted(seen.started) == sorted(record.message_id for record in expected.records)
    assert len(seen.ended) == len(numbers)
    assert seen.results[0].peak_in_flight <= min(concurrency, len(numbers))


async def test_an_observation_works_without_a_task():
    """The seconds follow the clock of the deadline."""
    clock, seen = ManualClock(), Seen()
    records = records_from_event(make_event(1))
    batch = BatchContext(None, Deadline.after(30, clock=clock), None)
    observation = Observation([seen], records, batch, rejects(None))
    clock.advance(2)
    observation.end(BatchResult(records, [Failed(AbandonedError("x"))], {"batchItemFailures": []}), None)
    assert (seen.results[0].seconds, seen.results[0].seconds_left, seen.results[0].peak_in_flight) == (2, 28, 0)


async def test_a_session_keeps_one_lifespan_for_several_batches():
    """The lifespan is entered once and left at the end, even if a batch fails."""
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
def test_an_observer_cannot_change_a_batch_through_its_arguments(chunk_size, caplog):
    """No record is lost, and none is acknowledged."""

    class Taking:
        def batch_started(self, records, batch):
            with contextlib.suppress(AttributeError):
                records.pop()
            return BatchCallbacks(self.call_started, self.batch_ended)

        def call_started(self, records):
            records.pop()

        def batch_ended(self, ended):
            ended.response["batchItemFailures"][0]["itemIdentifier"] = "another"
            ended.response["batchItemFailures"].clear()
            ended.outcomes.clear()

    handler = fanfold.consumer(observers=[Taking()], chunk_size=chunk_size)(raises(ValueError("no")))
    result = deliver(handler, 1, 2, 3)
    assert [type(outcome) for outcome in result.outcomes] == [Failed] * 3
    assert ids(result) == ["message-0", "message-1", "message-2"]


def test_a_call_whose_loop_is_closed_does_not_use_the_loop():
    """The observers were notified of its end with the batch response."""
    (record,) = records_from_event(make_event(1))
    seen = Seen()
    batch = BatchContext(None, Deadline.never(), None)

    async def call(_):
        await asyncio.Event().wait()

    running = Observation([seen], [record], batch, rejects(None)).around(call)([record])
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.call_soon(lambda: (running.send(None), loop.stop()))
        loop.run_forever()
    running.close()
    assert seen.started == ["message-0"]
