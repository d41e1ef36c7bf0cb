"""Logging, observers and the response run inside the time limit, and none of them changes an outcome."""

import logging
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from batches import fifo_event, ids
from fanfold.observers import BatchCallbacks
from fanfold.testing import deliver, make_context, make_event


class RaisingFilter(logging.Filter):
    """Fails on every record, as a filter does that expects a field which a library's record lacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        raise KeyError("request_id")


class HangingHandler(logging.Handler):
    """Hangs on its first record until it is released, as a handler does that sends over a dead connection."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def handle(self, record: logging.LogRecord) -> bool:
        self.released.wait(60)
        return True


class HangingObserver:
    """Hangs when the batch has ended."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def batch_started(self, records, batch) -> BatchCallbacks:
        return BatchCallbacks(batch_ended=lambda ended: self.released.wait(60))


@fanfold.consumer
async def fails_on_odd(number) -> None:
    if number % 2:
        raise ValueError(number)


@pytest.fixture
def fanfold_logger():
    logger = logging.getLogger("fanfold")
    handlers, filters = list(logger.handlers), list(logger.filters)
    yield logger
    logger.handlers[:], logger.filters[:] = handlers, filters


def test_a_logging_filter_that_raises_does_not_change_the_response(fanfold_logger, capsys):
    """The finished records are acknowledged, and stderr states what failed."""
    fanfold_logger.addFilter(RaisingFilter())
    assert ids(deliver(fails_on_odd, 0, 1, 2).response) == ["message-1"]
    assert "could not write a log line" in capsys.readouterr().err


def test_a_closed_stderr_does_not_change_the_response(fanfold_logger, monkeypatch):
    """Neither does a log handler whose stream is closed, even where logging itself raises."""
    monkeypatch.setattr(logging, "raiseExceptions", True)

    class ClosedStream:
        def write(self, text: str) -> None:
            raise ValueError("I/O operation on closed file")

        flush = write

    handler = logging.StreamHandler(ClosedStream())
    handler.handleError = lambda record: (_ for _ in ()).throw(ValueError("I/O operation on closed file"))
    fanfold_logger.addHandler(handler)
    monkeypatch.setattr("sys.stderr", ClosedStream())
    assert ids(deliver(fails_on_odd, 0, 1, 2).response) == ["message-1"]


def test_a_log_handler_that_hangs_does_not_delay_the_response(fanfold_logger):
    """The response has what was known when the handlers had ended."""
    hanging = HangingHandler()
    fanfold_logger.addHandler(hanging)
    try:
        assert ids(deliver(fails_on_odd, 0, 1, 2, seconds=1.0).response) == ["message-1"]
    finally:
        hanging.released.set()


def test_an_observer_that_hangs_does_not_delay_the_response():
    """It is notified after the outcomes are final."""
    observer = HangingObserver()
    consumer = fails_on_odd.with_settings(observers=[observer])
    try:
        assert ids(deliver(consumer, 0, 1, 2, seconds=1.0).response) == ["message-1"]
    finally:
        observer.released.set()


class Misbehaving:
    """An observer and a log handler that raise or not, by a script."""

    def __init__(self, script: list[BaseException | None]) -> None:
        self.script = script

    def __call__(self, *_: object) -> None:
        if self.script and (error := self.script.pop()) is not None:
            raise error

    def batch_started(self, records, batch) -> BatchCallbacks:
        self()
        return BatchCallbacks(call_started=lambda records: self() or self, batch_ended=self)


ERRORS = st.none() | st.sampled_from([ValueError("x"), SystemExit(1), KeyError("y"), MemoryError(), GeneratorExit()])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=8), st.lists(ERRORS, max_size=40), st.lists(ERRORS, max_size=40))
def test_a_response_never_depends_on_logging_or_observers(fails: list[bool], observed, logged):
    """Whichever of their calls raise, exactly the failed records are reported."""

    async def handler(number) -> None:
        if fails[number]:
            raise ValueError(number)

    handler_of_logs = logging.Handler()
    handler_of_logs.handle = Misbehaving(logged)
    logger = logging.getLogger("fanfold")
    logger.addHandler(handler_of_logs)
    try:
        result = deliver(fanfold.consumer(observers=[Misbehaving(observed)])(handler), *range(len(fails)))
    finally:
        logger.removeHandler(handler_of_logs)
    assert ids(result.response) == [f"message-{number}" for number, failed in enumerate(fails) if failed]


def test_a_log_handler_that_hangs_does_not_delay_the_next_batch(fanfold_logger):
    """It hangs on the thread that ended the batch before; the next records run on another one."""
    fanfold_logger.setLevel(logging.INFO)
    hanging = HangingHandler()
    fanfold_logger.addHandler(hanging)
    handler = fanfold.consumer(concurrency=1)(lambda number: None)
    try:
        assert ids(handler(make_event(0), make_context(0.6))) == []
        fanfold_logger.removeHandler(hanging)
        assert ids(handler(fifo_event(("a", 0), ("a", 1)), make_context(2.0))) == []
    finally:
        fanfold_logger.setLevel(logging.NOTSET)
        hanging.released.set()
        handler.close()
