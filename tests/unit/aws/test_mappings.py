"""Enabling and disabling event source mappings: which are chosen, and what Lambda can respond."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from fanfold.aws.mappings import LambdaMappings
from fanfold.errors import ConfigurationError, ServiceError
from scripted_aws import Reply, ScriptedAws, scripted_aws

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:orders"
FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:ship-function"


@pytest.fixture
async def aws() -> AsyncIterator[ScriptedAws]:
    async with scripted_aws({}) as server:
        yield server


@pytest.fixture
async def mappings(aws: ScriptedAws) -> AsyncIterator[LambdaMappings]:
    settings: dict[str, Any] = {
        "endpoint_url": aws.url,
        "region_name": "eu-west-1",
        "aws_access_key_id": "AK",
        "aws_secret_access_key": "SK",
        "config": AioConfig(retries={"max_attempts": 0}, parameter_validation=False),
    }
    async with get_session().create_client("lambda", **settings) as client:
        yield LambdaMappings(client)


def page(*mappings: tuple[str, str, str], marker: str = "") -> Reply:
    """Return a page of mappings: id, function, state."""
    entries = [{"UUID": uuid, "FunctionArn": function, "State": state} for uuid, function, state in mappings]
    return Reply({"EventSourceMappings": entries} | ({"NextMarker": marker} if marker else {}))


def failure(code: str, status: int = 400, message: str = "no") -> Reply:
    return Reply({"Type": "User", "Message": message}, status, {"x-amzn-errortype": code})


def updates(aws: ScriptedAws) -> list[tuple[str, bool]]:
    """Return the mappings that were updated, and to which state."""
    requests = [request for request in aws.requests if request.body]
    return [(request.path.rpartition("/")[2], json.loads(request.body)["Enabled"]) for request in requests]


async def test_only_mappings_of_the_function_are_changed(aws: ScriptedAws, mappings: LambdaMappings):
    """Those of its aliases too; other functions that read the queue continue."""
    aws.script = [
        page(("one", FUNCTION, "Enabled"), ("other", FUNCTION + "-2", "Enabled"), marker="next"),
        Reply({}),
        page(("alias", FUNCTION + ":live", "Enabled"), ("gone", FUNCTION, "Deleting")),
    ]
    assert await mappings.set_enabled(FUNCTION, [QUEUE], False)
    assert updates(aws) == [("one", False), ("alias", False)]


@pytest.mark.parametrize(
    "name", ["ship-function", "ship-function:3", "123456789012:function:ship-function", FUNCTION + ":live"]
)
async def test_a_function_has_several_forms_of_its_name(aws: ScriptedAws, mappings: LambdaMappings, name: str):
    """Such as the ARN in the context of an invocation, which can end with an alias."""
    aws.script = [page(("one", FUNCTION, "Disabled"))]
    assert await mappings.set_enabled(name, [QUEUE], True)
    assert updates(aws) == [("one", True)]


@pytest.mark.parametrize(
    ("state", "enabled"), [("Enabled", True), ("Enabling", True), ("Disabled", False), ("Disabling", False)]
)
async def test_a_mapping_in_the_requested_state_is_not_changed(
    aws: ScriptedAws, mappings: LambdaMappings, state: str, enabled: bool
):
    """Many execution environments can make the same request."""
    aws.script = [page(("one", FUNCTION, state))]
    assert await mappings.set_enabled(FUNCTION, [QUEUE], enabled)
    assert updates(aws) == []


@pytest.mark.parametrize("code", ["ResourceInUseException", "ResourceConflictException"])
async def test_a_mapping_that_is_being_changed_has_to_be_changed_later(
    aws: ScriptedAws, mappings: LambdaMappings, code: str
):
    """The mappings of the other queues are changed nevertheless."""
    aws.script = [page(("one", FUNCTION, "Disabling")), failure(code), page(("two", FUNCTION, "Disabled")), Reply({})]
    assert not await mappings.set_enabled(FUNCTION, [QUEUE, QUEUE + "-2"], True)
    assert updates(aws) == [("one", True), ("two", True)]


@pytest.mark.parametrize("listed", [True, False])
async def test_a_missing_permission_is_one_line_with_the_fix(aws: ScriptedAws, mappings: LambdaMappings, listed: bool):
    """Both for the list of mappings and for the update."""
    refused = failure("AccessDeniedException", 403, "not authorized to perform: lambda:…")
    aws.script = [page(("one", FUNCTION, "Enabled")), refused] if listed else [refused]
    with pytest.raises(ConfigurationError) as raised:
        await mappings.set_enabled(FUNCTION, [QUEUE], False)
    assert str(raised.value) == (
        f"event source mapping of {QUEUE}: AWS refuses the credentials or the permission: not authorized to perform: "
        "lambda:…; allow the role of the function lambda:ListEventSourceMappings on *, and "
        "lambda:UpdateEventSourceMapping on the mapping (see docs/outages.md), or unset FANFOLD_BREAKER_PAUSES_MAPPING"
    )


async def test_a_queue_without_a_mapping_to_the_function_is_an_error_that_names_both(
    aws: ScriptedAws, mappings: LambdaMappings
):
    """A pause would have no effect."""
    aws.script = [page(("other", "arn:aws:lambda:eu-west-1:123456789012:function:pack", "Enabled"))]
    with pytest.raises(ConfigurationError, match=r"orders: no event source mapping from it to function ship-function"):
        await mappings.set_enabled(FUNCTION, [QUEUE], False)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (failure("TooManyRequestsException", 429), ServiceError),
        (failure("ServiceException", 500), ServiceError),
        (failure("ResourceNotFoundException", 404), ConfigurationError),
    ],
)
async def test_other_errors_are_raised(aws: ScriptedAws, mappings: LambdaMappings, reply: Reply, error: type):
    """The caller decides what to do without a pause."""
    aws.script = [page(("one", FUNCTION, "Enabled")), reply]
    with pytest.raises(error, match="event source mapping of arn:aws:sqs:eu-west-1:123456789012:orders: "):
        await mappings.set_enabled(FUNCTION, [QUEUE], False)
