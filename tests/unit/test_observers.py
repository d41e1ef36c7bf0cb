"""What an observer of a consumer is told, and that it disturbs nothing."""

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
        return BatchCallbacks(self.call_started, lambda _: self.fail("batch ended"))

    def call_started(self, records):
        if self.at == "call started":
            raise self.error
        return lambda _: self.fail("call ended")


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
    assert caplog.text.count("an observer failed; the batch is not affected") == 1
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
    assert "not BatchCallbacks or None" in caplog.text


@pytest.mark.parametrize("wrong", [Seen, object(), "metrics"])
def test_what_is_no_observer_is_refused_at_once(wrong):
    """A class instead of an object, or anything without the method, is seen at decoration."""
    with pytest.raises(ConfigurationError, match="an observer must be an object with a batch_started method"):
        fanfold.consumer(observers=[wrong])
    with pytest.raises(ConfigurationError, match="an observer must be an object with a batch_started method"):
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
        def __init__(self, watch: BatchCallbacks | None) -> None:
            self.watch = watch

        def batch_started(self, records, batch):
            return self.watch

    nothing = [Indifferent(None), Indifferent(BatchCallbacks()), Indifferent(BatchCallbacks(lambda records: None))]
    assert deliver(handler.with_settings(observers=nothing), 1).outcomes == [Done(1)]


def test_an_observer_of_another_ends_first_what_began_last():
    """So that what one sets around the other is taken back in order."""
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
