"""Log lines: bounded in number, length and steps, and without an effect on what they describe."""

import json
import logging
from typing import Any

import pytest

import fanfold
from fanfold import Backoff, Reject
from fanfold._base.log import MAX_LINES_PER_BATCH, BatchLogger, SafeLogger, logger
from fanfold.errors import ConfigurationError, ServiceError
from fanfold.inmemory import InMemoryEntries
from fanfold.testing import deliver
from idempotent import by_id
from odd_errors import (
    LONGEST,
    MB,
    STEPS,
    FrozenError,
    Steps,
    Unprintable,
    chain,
    lines,
    link,
)
from settlers import Accepting, RecordingSettler


@pytest.fixture(autouse=True)
def steps() -> Steps:
    STEPS.count = 0
    return STEPS


@pytest.mark.parametrize("fill", ["x", "ä", "\U0001f600", "\0", "\n"])
def test_a_line_fits_in_one_event_of_cloudwatch(caplog: pytest.LogCaptureFixture, fill: str):
    """An event holds 256 KB; a longer line is split or refused. This also holds if a formatter escapes the line."""
    logger.warning("text: %s", fill * 20 * MB)
    (line,) = lines(caplog)
    assert len(line) <= LONGEST
    assert len(json.dumps(line)) < 256 * 1024
    assert "more characters" in line


@pytest.mark.parametrize("size", [100, 20 * MB])
def test_the_traceback_of_a_line_is_bounded_too(caplog: pytest.LogCaptureFixture, size: int):
    """A short one stays an attribute of the line, for JSON formatters; a long one becomes part of the message."""
    try:
        raise ValueError("x" * size)
    except ValueError:
        logger.exception("it failed")
    (line,) = lines(caplog)
    assert line.startswith("it failed\nTraceback (most recent call last):\n")
    assert len(line) <= LONGEST
    assert (caplog.records[0].exc_info is not None) is (size == 100)


def test_a_long_chain_in_a_line_is_bounded(caplog: pytest.LogCaptureFixture, steps: Steps):
    """Python's formatter would follow all 50,000 causes."""
    error = chain(50_000)
    steps.count = 0
    logger.error("it failed", exc_info=error)
    (line,) = lines(caplog)
    assert "the first 20 of the errors" in line
    assert steps.count < 2_000


def deep(frames: int) -> None:
    if frames == 0:
        raise ValueError("deep")
    even(frames - 1) if frames % 2 else odd(frames - 1)


def even(frames: int) -> None:
    deep(frames)


def odd(frames: int) -> None:
    deep(frames)


def test_a_deep_traceback_in_a_line_is_bounded(caplog: pytest.LogCaptureFixture):
    """Of 800 frames, the innermost 20 are logged."""
    try:
        deep(400)
    except ValueError as error:
        logger.warning("it failed", exc_info=error)
    (line,) = lines(caplog)
    assert line.count("  File ") == 20
    assert line.rstrip().endswith("ValueError: deep")


def test_the_fallback_line_on_stderr_is_bounded(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]):
    """A filter that fails with a long text must not write that text either."""

    class Failing(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise ValueError("y" * MB)

    own = logging.getLogger("fanfold.test")
    own.addFilter(Failing())
    SafeLogger(own, {}).warning("text: %s", "x" * MB)
    assert 0 < len(capsys.readouterr().err) <= LONGEST + 200


def test_a_line_names_the_function_that_logs_it(caplog: pytest.LogCaptureFixture):
    """Not a function of the logger."""
    logger.warning("one")
    BatchLogger().warning("two")
    assert {line.funcName for line in caplog.records} == {"test_a_line_names_the_function_that_logs_it"}


def test_a_batch_logs_only_the_first_lines_of_a_kind(caplog: pytest.LogCaptureFixture):
    """One more line states it. Another kind, and another batch, are counted separately."""
    log = BatchLogger()
    for number in range(1_000):
        log.warning("record %d failed", number)
    log.warning("another kind")
    BatchLogger().warning("record %d failed", 0)
    assert lines(caplog) == [
        "record 0 failed",
        "record 1 failed",
        "record 2 failed",
        "more lines of this kind are not logged for this batch: record %d failed",
        "another kind",
        "record 0 failed",
    ]


# A batch


def test_a_thousand_generator_exits_are_one_line(caplog: pytest.LogCaptureFixture):
    """A handler that raises GeneratorExit fails like any other."""

    @fanfold.consumer
    async def handler(number) -> None:
        raise GeneratorExit

    deliver(handler, *range(1_000))
    (line,) = lines(caplog)
    assert line.startswith("1000 x GeneratorExit, first in message message-0, message-1, message-2\nTraceback")


@pytest.mark.parametrize(
    "error",
    [
        lambda: ValueError("x" * 20 * MB),
        lambda: ValueError("x\n" * 10 * MB),
        lambda: ExceptionGroup("x" * MB, [ValueError("y" * MB) for _ in range(10)]),
        lambda: chain(50_000, ValueError),
        lambda: FrozenError("x" * 20 * MB),
        Unprintable,
        lambda: type("E" * MB, (Exception,), {})("x"),
    ],
    ids=["text", "lines", "group", "chain", "frozen", "unprintable", "name"],
)
def test_an_error_of_any_size_is_one_bounded_line(caplog: pytest.LogCaptureFixture, error: Any):
    """A 20 MB text was one line of 20 MB."""

    @fanfold.consumer
    async def handler(number) -> None:
        raise error()

    deliver(handler, 1, 2)
    (line,) = lines(caplog)
    assert line.startswith("2 x ")
    assert len(line) <= LONGEST


def test_stored_errors_keep_their_links(caplog: pytest.LogCaptureFixture):
    """Logging restores, or never changes, causes, contexts and whether a context is suppressed."""
    errors: list[BaseException] = []

    @fanfold.consumer
    async def handler(number) -> None:
        cause = chain(30, ValueError)
        errors.append(link(RuntimeError(number), cause=cause))
        raise errors[-1] from cause

    deliver(handler, *range(3))
    assert [len(related_chain(error)) for error in errors] == [31] * 3
    assert all(error.__suppress_context__ for error in errors)


def related_chain(error: BaseException | None) -> list[BaseException]:
    errors = []
    while error is not None:
        errors.append(error)
        error = error.__cause__
    return errors


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        (
            {"dead_letter_queue_url": "https://sqs.eu-west-1.amazonaws.com/123456789012/dead", "accepts": True},
            "and sent to the dead-letter queue",
        ),
        (
            {"dead_letter_queue_url": "https://sqs.eu-west-1.amazonaws.com/123456789012/dead", "accepts": False},
            "but the dead-letter queue did not accept them, so they will be redelivered",
        ),
        (
            {"dead_letter_queue_url": "", "accepts": False},
            "but no dead-letter queue is configured, so they will be redelivered",
        ),
    ],
    ids=["sent", "refused", "no queue"],
)
def test_a_reject_is_one_warning_that_says_where_the_message_went(
    caplog: pytest.LogCaptureFixture, settings: dict[str, Any], where: str
):
    """It is a decision of the handler's: no error, and no traceback."""
    accepts = settings.pop("accepts")

    @fanfold.consumer(settler=Accepting("message-0") if accepts else RecordingSettler("message-0"), **settings)
    async def handler(number) -> None:
        raise Reject("the order was\ncancelled")

    deliver(handler, 1)
    rejected = [line for line in caplog.records if "rejected" in line.getMessage()]
    assert [(line.levelname, line.getMessage(), line.exc_info) for line in rejected] == [
        ("WARNING", f"1 messages were rejected {where}; first: message-0 (the order was cancelled)", None)
    ]
    assert not lines(caplog, logging.ERROR)


def test_the_text_of_a_reject_is_bounded(caplog: pytest.LogCaptureFixture):
    """The whole reason goes to the dead-letter queue, as far as SQS has room for it."""

    @fanfold.consumer(dead_letter_queue_url="")
    async def handler(number) -> None:
        raise Reject("x" * 20 * MB)

    deliver(handler, *range(3))
    (line,) = lines(caplog)
    assert len(line) < 1_000


# What every record may log

TEXT = "x" * MB
"""One text for all records, so that the tests' own lists stay small."""


class Broken(RecordingSettler):
    """A settler that refuses every dead letter, and whose changes of the visibility timeout fail."""

    async def send_dead_letters(self, rejects: Any) -> Any:
        self.refused |= {record.message_id for record, _ in rejects}
        return await super().send_dead_letters(rejects)

    async def change_visibility(self, changes: Any) -> Any:
        raise ConfigurationError(TEXT)


class BrokenEntries(InMemoryEntries):
    """A table that cannot be reached."""

    async def read(self, keys: Any) -> Any:
        raise ServiceError(TEXT, code="AccessDenied", transient=False)

    claim = complete = release = read  # type: ignore[assignment] # all fail in the same way


class BrokenBackoff(Backoff):
    """A backoff of a user's that fails."""

    def next_delay(self, receive_count: int) -> float:
        raise ValueError(TEXT)


class BrokenObserver:
    """An observer that fails in every call."""

    def batch_started(self, records: Any, batch: Any) -> Any:
        def fail(*_: Any) -> Any:
            raise ValueError(TEXT)

        return fanfold.observers.BatchCallbacks(call_started=fail, batch_ended=fail)


async def fails(order: dict) -> None:
    raise ValueError(order)


async def rejects(order: dict) -> None:
    raise Reject(TEXT)


async def done(order: dict) -> None: ...


async def cancels_itself(order: dict) -> None:
    import asyncio

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)


DEAD_LETTERS = {"dead_letter_queue_url": "https://sqs.eu-west-1.amazonaws.com/123456789012/dead"}


@pytest.mark.parametrize(
    ("handler", "settings"),
    [
        (fails, {}),
        (fails, {"backoff": Backoff(), "settler": Broken()}),
        (fails, {"backoff": BrokenBackoff()}),
        (rejects, {"settler": Broken(), **DEAD_LETTERS}),
        (rejects, {"settler": Broken(), "backoff": Backoff(), **DEAD_LETTERS}),
        (done, {"idempotency": by_id(BrokenEntries())}),
        (fails, {"idempotency": by_id(BrokenEntries())}),
        (done, {"observers": [BrokenObserver()]}),
        (cancels_itself, {}),
    ],
    ids=lambda value: getattr(value, "__name__", None) or ", ".join(value) or "bare",
)
@pytest.mark.uncounted
def test_no_kind_of_failure_logs_a_line_per_record(caplog: pytest.LogCaptureFixture, handler: Any, settings: Any):
    """1,000 records cause a few lines, each of bounded length."""
    caplog.set_level(logging.INFO, "fanfold")
    deliver(fanfold.consumer(**settings)(handler), *({"id": number} for number in range(1_000)), seconds=60)
    written = lines(caplog, logging.INFO)
    assert len(written) <= 3 * (MAX_LINES_PER_BATCH + 1) + 4
    assert max(map(len, written)) <= LONGEST
