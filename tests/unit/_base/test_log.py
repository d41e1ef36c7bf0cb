"""Log lines: bounded in number, length and steps, and without an effect on what they describe."""

import json
import logging
import traceback
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanfold
from fanfold import Backoff, Reject
from fanfold._base.error_text import MAX_CHARACTERS, MAX_ERRORS, error_text, related_errors
from fanfold._base.log import MAX_LINE_CHARACTERS, MAX_LINES_PER_BATCH, BatchLogger, SafeLogger, logger
from fanfold.errors import ConfigurationError, ServiceError
from fanfold.inmemory import InMemoryEntries
from fanfold.testing import deliver
from idempotent import by_id
from settlers import Accepting, RecordingSettler

LONGEST = MAX_LINE_CHARACTERS + 100
MB = 1_000_000


class Steps:
    """Counts how often a link between two errors is followed."""

    def __init__(self) -> None:
        self.count = 0


STEPS = Steps()


class Linked(Exception):  # noqa: N818 - short
    """An error whose links are counted when they are followed."""

    @property
    def __cause__(self) -> Any:
        STEPS.count += 1
        return BaseException.__cause__.__get__(self)  # type: ignore[attr-defined] # a C-level descriptor

    @property
    def __context__(self) -> Any:
        STEPS.count += 1
        return BaseException.__context__.__get__(self)  # type: ignore[attr-defined] # a C-level descriptor


def link(error: BaseException, *, cause: Any = None, context: Any = None) -> BaseException:
    """Set the links of an error as ``raise … from …`` does, which also works for an immutable one."""
    if cause is not None:
        BaseException.__cause__.__set__(error, cause)  # type: ignore[attr-defined] # a C-level descriptor
    if context is not None:
        BaseException.__context__.__set__(error, context)  # type: ignore[attr-defined] # a C-level descriptor
    return error


def chain(length: int, kind: type[BaseException] = Linked, *, by: str = "cause") -> BaseException:
    error = kind("error 0")
    for number in range(1, length):
        error = link(kind(f"error {number}"), **{by: error})
    return error


@dataclass(frozen=True)
class FrozenError(Exception):
    """An error that refuses every assignment."""

    text: str


class Unprintable(Exception):  # noqa: N818 - short
    def __str__(self) -> str:
        raise SystemExit("no text")


@pytest.fixture(autouse=True)
def steps() -> Steps:
    STEPS.count = 0
    return STEPS


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """Return the texts that a handler writes, with tracebacks."""
    formatter = logging.Formatter()
    return [formatter.format(line) for line in caplog.records if line.levelno >= level]


# An error


def tree(depth: int) -> BaseException:
    """Return an error with a cause and a context, each of which has both, and so on."""
    error = Linked("x")
    return link(error, cause=tree(depth - 1), context=tree(depth - 1)) if depth else error


def two_chains(length: int) -> BaseException:
    return link(Linked("x"), cause=chain(length), context=chain(length, by="context"))


def group(size: int) -> BaseException:
    return ExceptionGroup("group", [Linked(f"member {number}") for number in range(size)])


def nested_groups(depth: int) -> BaseException:
    error: BaseException = Linked("innermost")
    for _ in range(depth):
        error = BaseExceptionGroup("group", [error])
    return error


@pytest.mark.parametrize(
    "make",
    [
        lambda: chain(50_000),
        lambda: chain(50_000, by="context"),
        lambda: two_chains(50_000),
        lambda: tree(12),
        lambda: group(50_000),
        lambda: nested_groups(500),
        lambda: link(group(3), cause=chain(50_000)),
        lambda: ExceptionGroup("group", [chain(50_000), chain(50_000)]),
    ],
    ids=["causes", "contexts", "both", "tree", "group", "groups", "group with causes", "causes in a group"],
)
def test_an_error_with_many_others_is_formatted_in_few_steps(make: Any, steps: Steps):
    """50,000 causes took 2.8 s on the event loop."""
    error = make()
    steps.count = 0
    text = error_text(error)
    assert steps.count <= 20 * MAX_ERRORS
    assert "more characters" in text or "the first 20 of the errors" in text
    assert len(text) <= MAX_CHARACTERS + 100


@pytest.mark.parametrize("by", ["cause", "context"])
@pytest.mark.parametrize("kind", [Linked, FrozenError])
@pytest.mark.parametrize("length", [2, MAX_ERRORS, MAX_ERRORS + 1, 100])
def test_formatting_changes_no_error(kind: type[BaseException], length: int, by: str):
    """A handler may have stored the error: causes, contexts, tracebacks and whether a context is suppressed remain."""
    error = chain(length, kind, by=by)

    def state() -> list[Any]:
        states, current = [], error
        while current is not None:
            states.append((current, current.__suppress_context__, current.__traceback__))
            current = current.__cause__ or current.__context__
        return states

    before = state()
    error_text(error)
    assert len(before) == length
    assert state() == before


def test_the_error_itself_and_the_nearest_causes_are_shown():
    """The cause that started a long chain is not shown, and the text states that there are more."""
    text = error_text(chain(50_000))
    assert text.startswith("the first 20 of the errors that caused this one or belong to it:\n")
    assert "error 49999" in text
    assert "error 49980" in text
    assert "error 49979" not in text


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - any
        return caught


ERRORS = st.recursive(
    st.builds(lambda text: raised(ValueError(text)), st.text(max_size=20)) | st.builds(lambda: raised(KeyError())),
    lambda errors: (
        st.builds(lambda one, two: link(raised(RuntimeError("x")), cause=one, context=two), errors, errors)
        | st.builds(lambda one: link(raised(FrozenError("x")), context=one), errors)
        | st.builds(
            lambda members: raised(BaseExceptionGroup("group", members)), st.lists(errors, min_size=1, max_size=3)
        )
    ),
    max_leaves=8,
)


@given(ERRORS)
def test_an_ordinary_error_reads_as_python_writes_it(error: BaseException):
    """With its causes, contexts, groups and frames."""
    errors, complete = related_errors(error)
    usual = "".join(traceback.format_exception(error, limit=-20))
    if complete and len(usual) <= MAX_CHARACTERS:
        assert error_text(error) == usual
    assert len(error_text(error)) <= MAX_CHARACTERS + 100
    assert len(errors) <= MAX_ERRORS


@pytest.mark.parametrize("error", [Unprintable(), link(Unprintable(), cause=chain(30)), chain(30, Unprintable)])
def test_an_error_without_a_text_is_named(error: BaseException):
    """Its ``__str__`` raises, even SystemExit."""
    assert "Unprintable: <exception str() failed>" in error_text(error)


class Unreadable(Exception):  # noqa: N818 - short
    @property
    def __notes__(self) -> Any:
        raise SystemExit("no notes")


def test_an_error_that_cannot_be_formatted_is_named():
    """Formatting never raises."""
    assert error_text(Unreadable("x")) == "Unreadable: the error cannot be formatted"


# A line


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
    async def handler(number: int) -> None:
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
    async def handler(number: int) -> None:
        raise error()

    deliver(handler, 1, 2)
    (line,) = lines(caplog)
    assert line.startswith("2 x ")
    assert len(line) <= LONGEST


def test_stored_errors_keep_their_links(caplog: pytest.LogCaptureFixture):
    """Logging restores, or never changes, causes, contexts and whether a context is suppressed."""
    errors: list[BaseException] = []

    @fanfold.consumer
    async def handler(number: int) -> None:
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
    async def handler(number: int) -> None:
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
    async def handler(number: int) -> None:
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
def test_no_kind_of_failure_logs_a_line_per_record(caplog: pytest.LogCaptureFixture, handler: Any, settings: Any):
    """1,000 records cause a few lines, each of bounded length."""
    caplog.set_level(logging.INFO, "fanfold")
    deliver(fanfold.consumer(**settings)(handler), *({"id": number} for number in range(1_000)), seconds=60)
    written = lines(caplog, logging.INFO)
    assert len(written) <= 3 * (MAX_LINES_PER_BATCH + 1) + 4
    assert max(map(len, written)) <= LONGEST
