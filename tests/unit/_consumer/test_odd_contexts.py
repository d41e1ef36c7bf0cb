"""Contexts that state an impossible time, or none."""

import math
from unittest.mock import MagicMock, Mock

import pytest

import fanfold
from batches import ids, kinds
from fanfold import Done, NotStarted
from fanfold.testing import make_context, make_event


class TimeLeft:
    """A Lambda context that states this many milliseconds."""

    memory_limit_in_mb = 128

    def __init__(self, milliseconds: object) -> None:
        self.milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> object:
        if isinstance(self.milliseconds, Exception):
            raise self.milliseconds
        return self.milliseconds


@fanfold.consumer
async def handler(number) -> None: ...


@pytest.fixture(autouse=True)
def close():
    yield
    handler.close()


@pytest.mark.parametrize("milliseconds", [0, -1, -(10**18), 0.0, -math.inf])
def test_an_invocation_without_time_left_starts_nothing(milliseconds):
    """Also the first one, whose event loop has not started yet: every record is reported, and nothing is raised."""
    result = handler.invoke(make_event(0, 1), TimeLeft(milliseconds))
    assert kinds(result) == [NotStarted, NotStarted]
    assert ids(result.response) == ["message-0", "message-1"]


@pytest.mark.parametrize("milliseconds", [10**18, math.inf, 1e300, 10**400])
def test_more_time_than_any_invocation_has_is_no_error(milliseconds):
    """Lambda ends an invocation after 90 minutes at most; a test's context may state anything."""
    assert kinds(handler.invoke(make_event(0), TimeLeft(milliseconds))) == [Done]


@pytest.mark.parametrize(
    "context",
    [
        None,
        {},
        object(),
        Mock(),
        MagicMock(),
        TimeLeft(None),
        TimeLeft("soon"),
        TimeLeft(math.nan),
        TimeLeft(OSError()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_context_that_states_no_time_is_no_deadline(context):
    """As in users' own tests, which pass a mock or nothing."""
    assert kinds(handler.invoke(make_event(0), context)) == [Done]


def test_a_lifespan_that_cannot_start_in_no_time_is_not_blamed_where_there_is_none(caplog):
    """The log names the time, not a lifespan that the consumer does not have."""
    handler.invoke(make_event(0), TimeLeft(0))
    assert "lifespan" not in caplog.text


def test_the_fake_context_has_what_lambdas_own_has():
    """As AWS documents the context object for Python."""
    context = make_context(5)
    assert context.identity.cognito_identity_id is None
    assert context.identity.cognito_identity_pool_id is None
    assert context.client_context is None
    assert context.tenant_id is None
    for name in (
        "function_name",
        "function_version",
        "invoked_function_arn",
        "memory_limit_in_mb",
        "aws_request_id",
        "log_group_name",
        "log_stream_name",
    ):
        assert getattr(context, name)
