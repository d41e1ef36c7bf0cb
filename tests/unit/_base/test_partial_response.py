"""The batch response to Lambda."""

import pytest

from fanfold._base.outcome import Done, Failed, NotStarted, Rejected, Retrying, partial_response
from fanfold._base.record import Record
from fanfold.testing import make_record


def records(*ids: str) -> list[Record]:
    return [Record(make_record(message_id=message_id)) for message_id in ids]


def reported(*ids: str) -> dict[str, list[dict[str, str]]]:
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in ids]}


def test_no_message_is_reported_when_all_are_done():
    """The response to a successful batch is an empty list, so Lambda deletes all messages."""
    assert partial_response(records("a", "b"), [Done(), Done("value")]) == reported()


def test_an_empty_batch_has_an_empty_response():
    """Without records, no message is reported."""
    assert partial_response([], []) == reported()


@pytest.mark.parametrize(
    "outcome", [Failed(ValueError("broken")), Retrying(30.0), Rejected("no customer"), NotStarted("out of time")]
)
def test_only_done_deletes_a_message(outcome):
    """Every other outcome is reported, and the message is redelivered."""
    assert partial_response(records("a", "b", "c"), [Done(), outcome, Done()]) == reported("b")


def test_failures_are_in_batch_order():
    """The response lists the message ids in the order of the batch."""
    outcomes = [NotStarted("late"), Done(), Failed(ValueError()), Rejected("never")]
    assert partial_response(records("d", "c", "b", "a"), outcomes) == reported("d", "b", "a")


def test_a_message_that_is_in_the_batch_twice_is_reported_once():
    """A message id is in the response at most once."""
    outcomes = [Failed(ValueError()), Failed(ValueError())]
    assert partial_response(records("a", "a"), outcomes) == reported("a")


@pytest.mark.parametrize("outcomes", [[Done(), NotStarted("late")], [NotStarted("late"), Done()]])
def test_a_message_is_deleted_only_if_every_copy_is_done(outcomes):
    """If one of two records with the same id is not done, the message is redelivered."""
    assert partial_response(records("a", "a"), outcomes) == reported("a")


@pytest.mark.parametrize("outcomes", [[], [Done()], [Done(), Done(), Done()]])
def test_too_few_or_too_many_outcomes_are_an_error(outcomes):
    """If the numbers of outcomes and records differ, no message is deleted."""
    with pytest.raises(ValueError, match="zip"):
        partial_response(records("a", "b"), outcomes)
