"""The answer to Lambda."""

import pytest

from fanfold._base.outcome import Done, Failed, NotStarted, Rejected, Retrying, partial_response
from fanfold._base.record import Record
from fanfold.testing import make_record


def records(*ids: str) -> list[Record]:
    return [Record(make_record(message_id=message_id)) for message_id in ids]


def reported(*ids: str) -> dict[str, list[dict[str, str]]]:
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in ids]}


def test_nothing_is_reported_when_all_are_done():
    """A batch that succeeded is answered with an empty list, which deletes it."""
    assert partial_response(records("a", "b"), [Done(), Done("value")]) == reported()


def test_an_empty_batch_has_an_empty_answer():
    """No records, nothing to report."""
    assert partial_response([], []) == reported()


@pytest.mark.parametrize(
    "outcome", [Failed(ValueError("broken")), Retrying(30.0), Rejected("no customer"), NotStarted("out of time")]
)
def test_only_done_removes_a_message(outcome):
    """Every other way for a record to end is reported, and the message comes back."""
    assert partial_response(records("a", "b", "c"), [Done(), outcome, Done()]) == reported("b")


def test_failures_stand_in_batch_order():
    """What is reported stands in the order of the batch."""
    outcomes = [NotStarted("late"), Done(), Failed(ValueError()), Rejected("never")]
    assert partial_response(records("d", "c", "b", "a"), outcomes) == reported("d", "b", "a")


def test_a_message_that_is_there_twice_is_reported_once():
    """A message id stands in the answer at most once."""
    outcomes = [Failed(ValueError()), Failed(ValueError())]
    assert partial_response(records("a", "a"), outcomes) == reported("a")


@pytest.mark.parametrize("outcomes", [[Done(), NotStarted("late")], [NotStarted("late"), Done()]])
def test_a_message_is_deleted_only_if_every_copy_is_done(outcomes):
    """Of two records with one id, one that is not done is enough for the message to come back."""
    assert partial_response(records("a", "a"), outcomes) == reported("a")


@pytest.mark.parametrize("outcomes", [[], [Done()], [Done(), Done(), Done()]])
def test_an_outcome_too_few_or_too_many_is_no_answer(outcomes):
    """Outcomes that do not fit the records raise, so that nothing is deleted by mistake."""
    with pytest.raises(ValueError, match="zip"):
        partial_response(records("a", "b"), outcomes)
