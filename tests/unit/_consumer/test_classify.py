"""The outcome of a handler's return value or error."""

import asyncio
import concurrent.futures
import math
from datetime import timedelta
from typing import Any

import pytest

from fanfold import Done, Failed, NotStarted, Reject, Rejected, Retry, Retrying
from fanfold._consumer.classify import outcome_of, rejects, split_list_result
from fanfold.errors import CommitError, DecodeError, SegmentError


def nothing(error: BaseException) -> bool:
    return False


class UnprintableError(Exception):
    """An error whose ``str`` raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("value", [None, 0, "", False, [], ["ValueError"], (1, None), {"a": 1}, int, object()])
def test_a_returned_value_is_done(value):
    """The value may be of any type."""
    assert outcome_of(value, nothing) == Done(value)


async def ship() -> None:
    raise AssertionError("it was awaited")


async def pages():
    yield 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (ship, "an un-awaited coroutine; is an await missing?"),
        (pages, "an un-awaited async_generator"),
        (lambda: (letter for letter in "ab"), "an un-awaited generator"),
        (concurrent.futures.Future, "an un-awaited Future"),
        (lambda: ValueError, "the exception class ValueError: raise it instead"),
        (lambda: Reject, "the exception class Reject: raise it instead"),
        (lambda: [1, OSError("down"), ValueError()], "2 errors among 3 values"),
        (lambda: (None, asyncio.CancelledError()), "1 errors among 2 values"),
    ],
)
def test_a_value_that_does_not_mean_success_is_a_failure(make, message: str):
    """A missing await, errors returned by ``gather`` and not checked, an exception class."""
    outcome = outcome_of(make(), nothing)
    assert isinstance(outcome, Failed)
    assert message in str(outcome.error)


def test_a_failure_without_an_exception_gets_one():
    """The log needs an error."""
    error = ValueError("bad order")
    assert outcome_of(Failed(error), nothing) == Failed(error)
    outcome = outcome_of(Failed("bad order"), nothing)  # type: ignore[arg-type] # on purpose
    assert isinstance(outcome, Failed)
    assert str(outcome.error) == "the handler returned Failed with a str: its error must be an exception"


async def test_a_task_that_is_returned_is_a_failure():
    """The task has not ended and can still fail."""
    task = asyncio.ensure_future(asyncio.sleep(0))
    assert isinstance(outcome_of(task, nothing), Failed)
    await task


def test_an_un_awaited_coroutine_of_a_handler_of_lists_fails_all_its_records():
    """Each has the same error, which asks whether an await is missing."""
    first, second = split_list_result(ship(), 2)
    assert "is an await missing?" in str(first)
    assert first is second


@pytest.mark.parametrize(
    "outcome", [Done(1), Failed(OSError()), Retrying(5, "later"), Rejected("never"), NotStarted("no stock")]
)
def test_an_outcome_is_returned_unchanged(outcome):
    """A handler can return its outcome explicitly."""
    assert outcome_of(outcome, nothing) is outcome


@pytest.mark.parametrize(
    "error", [ValueError("x"), asyncio.CancelledError(), SystemExit(1), TimeoutError(), CommitError("x")]
)
def test_an_error_is_a_failure(error: BaseException):
    """This applies to raised and returned errors."""
    assert outcome_of(error, nothing) == Failed(error)


def test_retry_means_retrying():
    """After the given time, or after the queue's visibility timeout."""
    busy = outcome_of(Retry("busy", after=30), nothing)
    assert busy == Retrying(30, "busy")
    assert isinstance(busy, Retrying)
    assert busy.reason == "busy"
    assert Retrying(30).reason == ""
    assert outcome_of(Retry("busy: try later"), nothing) == Retrying(None, "busy: try later")
    assert outcome_of(Retry(), nothing) == Retrying(None, "the handler asked for a retry")


@pytest.mark.parametrize("make", [lambda: Retry(30), lambda: Retry(0.5), lambda: Retry(after="30")])  # type: ignore[arg-type]
def test_a_time_passed_as_the_reason_or_as_text_is_refused(make):
    """A delay that is silently ignored would make SQS redeliver the message immediately."""
    with pytest.raises(ValueError, match="after"):
        make()


@pytest.mark.parametrize("after", [[30], {"seconds": 30}, timedelta(seconds=30), -1, math.nan])
def test_what_is_no_time_is_refused_by_name(after: Any):
    """The error in the log states what the handler passed."""
    with pytest.raises(ValueError, match="after must be a number of seconds of at least 0, not "):
        Retry(after=after)


def test_reject_means_rejected_with_its_reason():
    """The reason is the handler's text."""
    assert outcome_of(Reject("no such customer"), nothing) == Rejected("no such customer")


def test_retry_and_reject_do_not_depend_on_the_predicate():
    """They state the outcome explicitly."""
    assert outcome_of(Retry(after=1), rejects(Exception)).after == 1
    assert outcome_of(Reject("why"), rejects(Exception)) == Rejected("why")


@pytest.mark.parametrize("error", [DecodeError("the body is not JSON"), SegmentError("no such segment")])
def test_a_permanent_error_is_a_rejection(error: Exception):
    """The text of fanfold's own errors needs no class name in front."""
    assert outcome_of(error, nothing) == Rejected(str(error))


def test_an_error_that_matches_the_predicate_is_a_rejection_with_its_class():
    """Anyone who inspects the dead letter sees the class of the error."""
    assert outcome_of(KeyError("id"), rejects(KeyError)) == Rejected("KeyError: 'id'")


def test_an_unprintable_error_can_be_a_rejection():
    """The reason is its class."""
    assert outcome_of(UnprintableError(), rejects(UnprintableError)).reason.startswith("UnprintableError")


@pytest.mark.parametrize(
    ("reject_on", "expected"),
    [
        (None, [False, False, False]),
        ((), [False, False, False]),
        (LookupError, [True, False, False]),
        ((KeyError, TypeError), [True, True, False]),
        (BaseException, [True, True, True]),
        (lambda error: "x" in str(error), [False, True, False]),
    ],
)
def test_reject_on_is_a_type_a_tuple_or_a_predicate(reject_on, expected: list[bool]):
    """Types include their subclasses."""
    errors = [KeyError("k"), TypeError("x"), asyncio.CancelledError()]
    assert [rejects(reject_on)(error) for error in errors] == expected


@pytest.mark.parametrize("result", [None, 0, "", []])
def test_a_falsy_result_of_a_predicate_means_no(result):
    """A predicate may return any type."""
    assert isinstance(outcome_of(ValueError(), lambda error: result), Failed)


def test_an_error_does_not_match_a_predicate_that_raises():
    """The record is failed and is redelivered."""
    error = ValueError("x")
    assert outcome_of(error, lambda error: error.code == 404) == Failed(error)


def test_none_means_that_all_records_of_a_list_are_done():
    """A handler of lists does not have to return anything."""
    assert split_list_result(None, 3) == [None, None, None]


@pytest.mark.parametrize("value", [[1, None, OSError], (1, 2, 3), [Reject("x"), None, 5]])
def test_a_list_with_a_value_for_each_record_is_used_in_order(value):
    """It may be a list or a tuple."""
    assert split_list_result(value, 3) is value


@pytest.mark.parametrize(
    ("value", "returned"),
    [
        ([], "0 values"),
        ([1, 2], "2 values"),
        ((1, 2, 3, 4), "4 values"),
        ({0: 1, 1: 2, 2: 3}, "dict"),
        ("abc", "str"),
        (iter([1, 2, 3]), "list_iterator"),
        (Done(), "Done"),
    ],
)
def test_any_other_value_of_a_handler_of_lists_fails_all_records(value, returned: str):
    """Which record succeeded is unknown; the error contains what was returned."""
    errors = split_list_result(value, 3)
    assert len(errors) == 3
    assert all(isinstance(error, TypeError) for error in errors)
    assert f"the handler of 3 records returned {returned}; return None or a list of one value for each" in str(
        errors[0]
    )
