"""What a handler's value or error means."""

import asyncio
import concurrent.futures

import pytest

from fanfold import Done, Failed, NotStarted, Reject, Rejected, Retry, Retrying
from fanfold._consumer.classify import outcome_of, rejects, split_list_result
from fanfold.errors import CommitError, DecodeError, SegmentError


def nothing(error: BaseException) -> bool:
    return False


class WordlessError(Exception):
    """Cannot be put into words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("value", [None, 0, "", False, [], ["ValueError"], (1, None), {"a": 1}, int, object()])
def test_whatever_is_returned_is_done(value):
    """What it is, is the handler's."""
    assert outcome_of(value, nothing) == Done(value)


async def ship() -> None:
    raise AssertionError("nobody awaits it")


async def pages():
    yield 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (ship, "an un-awaited coroutine; is an await missing?"),
        (pages, "an un-awaited async_generator"),
        (lambda: (each for each in "ab"), "an un-awaited generator"),
        (concurrent.futures.Future, "an un-awaited Future"),
        (lambda: ValueError, "the exception class ValueError: raise it instead"),
        (lambda: Reject, "the exception class Reject: raise it instead"),
        (lambda: [1, OSError("down"), ValueError()], "2 errors among 3 values"),
        (lambda: (None, asyncio.CancelledError()), "1 errors among 2 values"),
    ],
)
def test_what_leaves_open_whether_anything_was_done_is_a_failure(make, words: str):
    """An await that was forgotten, errors that ``gather`` gave back and nobody looked at, a class to be raised."""
    outcome = outcome_of(make(), nothing)
    assert isinstance(outcome, Failed)
    assert words in str(outcome.error)


async def test_a_task_that_is_returned_is_a_failure():
    """It may end in any way."""
    task = asyncio.ensure_future(asyncio.sleep(0))
    assert isinstance(outcome_of(task, nothing), Failed)
    await task


def test_what_a_handler_of_lists_has_not_awaited_fails_all_its_records():
    """With the words that say so."""
    first, second = split_list_result(ship(), 2)
    assert "is an await missing?" in str(first)
    assert first is second


@pytest.mark.parametrize(
    "outcome", [Done(1), Failed(OSError()), Retrying(5, "later"), Rejected("never"), NotStarted("no stock")]
)
def test_an_outcome_is_itself(outcome):
    """A handler may say it in so many words."""
    assert outcome_of(outcome, nothing) is outcome


@pytest.mark.parametrize(
    "error", [ValueError("x"), asyncio.CancelledError(), SystemExit(1), TimeoutError(), CommitError("x")]
)
def test_an_error_is_a_failure(error: BaseException):
    """Raised or returned."""
    assert outcome_of(error, nothing) == Failed(error)


def test_retry_is_another_delivery():
    """After the time it names, or the queue's."""
    busy = outcome_of(Retry("busy", after=30), nothing)
    assert busy == Retrying(30, "busy")
    assert isinstance(busy, Retrying)
    assert busy.reason == "busy"
    assert Retrying(30).reason == ""
    assert outcome_of(Retry("busy: try later"), nothing) == Retrying(None, "busy: try later")
    assert outcome_of(Retry(), nothing) == Retrying(None, "the handler asked for another delivery")


@pytest.mark.parametrize("make", [lambda: Retry(30), lambda: Retry(0.5), lambda: Retry(after="30")])  # type: ignore[arg-type]
def test_a_time_that_would_be_taken_for_a_reason_or_is_a_text_is_refused(make):
    """A delay that is silently none would have the message come back at once."""
    with pytest.raises(ValueError, match="after"):
        make()


def test_reject_is_a_rejection_with_its_reason():
    """In the handler's words."""
    assert outcome_of(Reject("no such customer"), nothing) == Rejected("no such customer")


def test_retry_and_reject_are_not_asked_of_the_predicate():
    """They say themselves what is to be done."""
    assert outcome_of(Retry(after=1), rejects(Exception)).after == 1
    assert outcome_of(Reject("why"), rejects(Exception)) == Rejected("why")


@pytest.mark.parametrize("error", [DecodeError("the body is not JSON"), SegmentError("no such segment")])
def test_an_error_that_is_permanent_is_a_rejection(error: Exception):
    """Its words are ours and need no name before them."""
    assert outcome_of(error, nothing) == Rejected(str(error))


def test_an_error_that_the_predicate_names_is_a_rejection_with_its_kind():
    """A person who looks at the dead letter sees what it was."""
    assert outcome_of(KeyError("id"), rejects(KeyError)) == Rejected("KeyError: 'id'")


def test_an_error_without_words_is_a_rejection_all_the_same():
    """Its kind is enough."""
    assert outcome_of(WordlessError(), rejects(WordlessError)).reason.startswith("WordlessError")


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
def test_reject_on_is_a_type_several_or_a_predicate(reject_on, expected: list[bool]):
    """Types mean their subclasses, too."""
    errors = [KeyError("k"), TypeError("x"), asyncio.CancelledError()]
    assert [rejects(reject_on)(error) for error in errors] == expected


@pytest.mark.parametrize("answer", [None, 0, "", []])
def test_a_predicate_that_answers_with_nothing_says_no(answer):
    """Truth is what counts."""
    assert isinstance(outcome_of(ValueError(), lambda error: answer), Failed)


def test_a_predicate_that_raises_decides_nothing():
    """In doubt a record is a failure and comes back."""
    error = ValueError("x")
    assert outcome_of(error, lambda error: error.code == 404) == Failed(error)


def test_no_word_for_each_record_means_that_all_are_done():
    """A handler of lists that returns nothing has nothing to complain of."""
    assert split_list_result(None, 3) == [None, None, None]


@pytest.mark.parametrize("value", [[1, None, OSError], (1, 2, 3), [Reject("x"), None, 5]])
def test_a_value_for_each_record_is_taken_in_order(value):
    """A list or a tuple."""
    assert split_list_result(value, 3) is value


@pytest.mark.parametrize(
    ("value", "given"),
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
def test_anything_else_leaves_open_which_record_ended_how(value, given: str):
    """So all have failed, and the error tells what was returned."""
    ended = split_list_result(value, 3)
    assert len(ended) == 3
    assert all(isinstance(each, TypeError) for each in ended)
    assert f"the handler of 3 records returned {given}; return None or a list of one value for each" in str(ended[0])
