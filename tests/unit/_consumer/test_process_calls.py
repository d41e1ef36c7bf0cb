"""How a worker process judges what a handler returns or raises."""

import pickle
from typing import Any

import pytest

import process_app
from fanfold import Done, Failed, Reject, Rejected
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._consumer.handler_names import HandlerName, name_in_module
from fanfold._consumer.process_calls import Calls, calls_of
from fanfold._consumer.process_wire import ARGUMENTS, BODY, RECORD
from fanfold.testing import make_context, make_record

BATCH: BatchContext[Any] = BatchContext(make_context(30), Deadline.never(), None)
COROUTINE = process_app.sleep()
COROUTINE.close()


def handle(record: Any, lambda_context: Any = None) -> Any:
    """Return the arguments."""
    return record, None if lambda_context is None else lambda_context.function_name


def of_record() -> Calls:
    return calls_of(name_in_module(handle), ARGUMENTS, {})


@pytest.mark.parametrize(("takes_context", "value"), [(True, ("a", "fanfold-test")), (False, ("a", None))])
def test_a_record_handler_is_called_with_its_arguments(takes_context, value):
    """The context of the batch is one if the processor passes it."""
    call = of_record().bind(BatchContext(make_context(30, function_name="fanfold-test"), Deadline.never(), None))
    assert call("id", pickle.dumps(({"record": "a"}, takes_context))) == Done(value)


@pytest.mark.parametrize("value", [0, [], Rejected("returned"), ValueError("returned")])
def test_every_value_of_a_record_handler_is_a_success(value):
    """As in Powertools."""
    assert of_record().outcome_of(Done(value)) == Done(value)


def test_a_record_handler_succeeds_without_a_value():
    """This costs no message."""
    assert of_record().outcome_of(Done(None)) is None


@pytest.mark.parametrize("error", [ValueError("raised"), Reject("raised")])
def test_every_error_of_a_record_handler_is_a_failure(error):
    """As in Powertools."""
    assert of_record().outcome_of(error) == Failed(error)


def test_work_of_a_record_handler_that_has_not_run_is_a_failure():
    """It has returned a coroutine."""
    outcome = of_record().outcome_of(Done(COROUTINE))
    assert isinstance(outcome, Failed)
    assert "un-awaited coroutine" in str(outcome.error)


@pytest.mark.parametrize(("takes", "content"), [(BODY, '{"do": "return", "value": 5}'), (RECORD, None)])
def test_the_handler_of_a_consumer_is_called_with_its_body(takes, content):
    """Its decisions are outcomes."""
    calls = calls_of(
        name_in_module(process_app.act), takes, {"reject_on": ValueError, "lifespan": process_app.lifespan}
    )
    record = make_record({"do": "return", "value": 5})
    assert calls.bind(BATCH)("id", content or record) == 5
    assert calls.outcome_of(ValueError("bad")) == Rejected("ValueError: bad")
    assert calls.lifespan is process_app.lifespan


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (0, "process_app does not create a consumer of missing.part when it is imported"),
        (None, "process_app does not have missing.part when it is imported"),
    ],
)
def test_a_module_that_does_not_have_the_handler_is_an_error(number, message):
    """It differs from the module of the consumer."""
    with pytest.raises(LookupError, match=message):
        calls_of(HandlerName("process_app", "missing.part", number), BODY, {})
