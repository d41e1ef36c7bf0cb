"""The table of breakers while DynamoDB is throttled, refuses, or does not respond."""

import json
import time
from collections.abc import AsyncIterator

import pytest

from fanfold._ports.breakers import OPEN, Circuit, Held
from fanfold.aws.breakers import DynamoDBBreakers, open_breakers
from fanfold.errors import ConfigurationError, ServiceError
from on_aws import NO_SERVER
from scripted_aws import Reply, ScriptedAws, scripted_aws

KEYS = {"aws_access_key_id": "first", "aws_secret_access_key": "secret", "region_name": "eu-west-1"}
DYNAMODB = "com.amazonaws.dynamodb.v20120810#"
DENIED = Reply(
    {"__type": f"{DYNAMODB}AccessDeniedException", "Message": "not authorized to perform: dynamodb:BatchGetItem"},
    status=400,
)
CONFLICT = Reply({"__type": f"{DYNAMODB}TransactionConflictException", "message": "Transaction is ongoing"}, status=400)
OPENED = Circuit(OPEN, version=1, opened_at=7.5)
ITEM = {"id": {"S": "orders#fanfold"}, "state": {"S": "OPEN"}, "version": {"N": "1"}, "opened_at": {"N": "7.5"}}
REST = {"UnprocessedKeys": {"breakers": {"Keys": [{"id": {"S": "orders#fanfold"}}]}}}


def canceled(*codes: str) -> Reply:
    """Return the response to a transaction that was cancelled for these reasons."""
    return Reply(
        {
            "__type": f"{DYNAMODB}TransactionCanceledException",
            "message": f"Transaction cancelled [{', '.join(codes)}]",
            "CancellationReasons": [{"Code": code} for code in codes],
        },
        status=400,
    )


@pytest.fixture
async def aws() -> AsyncIterator[ScriptedAws]:
    """A server that plays DynamoDB; without a script, each request succeeds."""
    async with scripted_aws({}) as server:
        yield server


@pytest.fixture
async def table(aws) -> AsyncIterator[DynamoDBBreakers]:
    async with open_breakers("breakers", endpoint_url=aws.url, **KEYS) as opened:
        yield opened


async def test_keys_that_were_not_processed_are_read_with_the_next_request(table, aws):
    """And no other ones."""
    aws.script = [Reply({"Responses": {"breakers": []}, **REST}), Reply({"Responses": {"breakers": [ITEM]}})]
    assert await table.read(["orders"]) == [OPENED]
    keys = [json.loads(request.body)["RequestItems"]["breakers"]["Keys"] for request in aws.requests]
    assert keys == [[{"id": {"S": "orders"}}, {"id": {"S": "orders#fanfold"}}], [{"id": {"S": "orders#fanfold"}}]]


async def test_a_table_that_stays_throttled_is_an_error(table, aws):
    """A circuit without its item would seem to be closed."""
    aws.default = Reply({"Responses": {}, **REST})
    with pytest.raises(ServiceError, match="did not return 1 items: the table is throttled") as error:
        await table.read(["orders"])
    assert (error.value.transient, len(aws.requests)) == (True, 4)


async def test_reads_are_consistent(table, aws):
    """An environment that starts after the circuit was opened sees that."""
    await table.read(["orders"])
    assert json.loads(aws.requests[0].body)["RequestItems"]["breakers"]["ConsistentRead"] is True


async def test_a_write_is_repeated_after_a_conflict_with_a_transaction(table, aws):
    """DynamoDB refuses a count while the state changes."""
    aws.script = [CONFLICT, CONFLICT, Reply({"Attributes": {"failures": {"N": "3"}}})]
    assert await table.count_failures("orders", 3, 0.0) == Circuit(failures=3)
    aws.script = [canceled("TransactionConflict", "None"), Reply({})]
    assert await table.change("orders", Circuit(), OPENED)


async def test_a_change_that_also_conflicts_with_another_one_is_refused(table, aws):
    """If a condition is not met, a repetition cannot succeed."""
    aws.script = [canceled("TransactionConflict", "ConditionalCheckFailed")]
    assert not await table.change("orders", Circuit(), OPENED)
    assert len(aws.requests) == 1


async def test_conflicts_without_end_are_an_error_on_one_line(table, aws):
    """The caller continues without the table."""
    aws.default = canceled("TransactionConflict", "None")
    with pytest.raises(ServiceError, match=r"^table breakers: TransactionCanceledException: .*$"):
        await table.change("orders", Circuit(), OPENED)
    assert len(aws.requests) == 4


async def test_a_refused_permission_is_an_error_on_one_line(table, aws):
    """It names the table and the action."""
    aws.default = DENIED
    with pytest.raises(ConfigurationError, match=r"^table breakers: .*dynamodb:BatchGetItem$"):
        await table.read(["orders"])


async def test_a_count_gives_up_if_the_interval_keeps_changing(table, aws):
    """As if clocks differed by minutes."""
    aws.default = Reply({"__type": f"{DYNAMODB}ConditionalCheckFailedException", "message": "no"}, status=400)
    with pytest.raises(ServiceError, match="the failures of breaker 'orders' cannot be counted"):
        await table.count_failures("orders", 1, 0.0)
    assert len(aws.requests) == 3


async def test_a_page_is_written_again_if_it_was_skipped(table, aws):
    """All pages were released, and the circuit was opened again, between its number and its item."""
    late = {**ITEM, "released": {"N": "1"}, "pages": {"N": "1"}}
    added = {**ITEM, "released": {"N": "1"}, "pages": {"N": "2"}}
    responses = [{"Attributes": late}, {}, {"Responses": {"breakers": [late]}}]
    responses += [{"Attributes": added}, {}, {"Responses": {"breakers": [added]}}]
    aws.script = [Reply(response) for response in responses]
    circuit = await table.add_page("orders", [Held("arn", "handle", 9.0, 1)], 9.0)
    assert (circuit.pages, circuit.has_held) == (2, True)
    puts = [json.loads(request.body).get("Item") for request in aws.requests]
    assert [item["id"]["S"] for item in puts if item] == ["orders#held#1", "orders#held#2"]


async def test_a_page_that_is_skipped_without_end_is_an_error(table, aws):
    """Its messages become visible by themselves."""
    late = {**ITEM, "released": {"N": "1"}, "pages": {"N": "1"}}
    aws.default = Reply({"Attributes": late, "Responses": {"breakers": [late]}})
    with pytest.raises(ServiceError, match="no page of breaker 'orders' can be added"):
        await table.add_page("orders", [Held("arn", "handle", 9.0, 1)], 9.0)


async def test_a_table_that_cannot_be_reached_holds_nobody_for_long():
    """Two attempts, each with a short timeout."""
    async with open_breakers("breakers", endpoint_url=NO_SERVER, **KEYS) as table:
        config = table._client.meta.config
        assert (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"]) == (1, 2, 2)
        with pytest.raises(ServiceError, match=r"^table breakers: ") as error:
            await table.read(["orders"])
    assert error.value.transient


@pytest.mark.parametrize("operation", ["read", "count", "change"])
async def test_a_connection_without_a_response_is_an_error_on_one_line(table, aws, operation):
    """The caller may try it later."""
    aws.default = Reply(status=None)
    calls = {
        "read": lambda: table.read(["orders"]),
        "count": lambda: table.count_failures("orders", 1, 0.0),
        "change": lambda: table.change("orders", Circuit(), OPENED),
    }
    with pytest.raises(ServiceError, match=r"^table breakers: Connection was closed .*$") as error:
        await calls[operation]()
    assert (error.value.transient, len(aws.requests)) == (True, 2)


async def test_circuits_expire_two_weeks_after_their_last_change(table, aws):
    """Both items; a queue keeps no message longer."""
    await table.change("orders", Circuit(), OPENED)
    (own, shared) = json.loads(aws.requests[0].body)["TransactItems"]
    expiries = [own["Update"]["ExpressionAttributeValues"][":expiration"], shared["Put"]["Item"]["expiration"]]
    assert expiries[0] == expiries[1]
    assert abs(int(expiries[0]["N"]) - time.time() - 14 * 86_400) < 600
