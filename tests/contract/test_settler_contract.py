"""Contract of a settler, for the in-memory one and for SQS."""

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from aiobotocore.session import AioSession

from fanfold import Record
from fanfold._base.dead_letter import ATTRIBUTE
from fanfold._ports.queue import Message, Queue, Received, Refusal, Settler
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import config_of
from fanfold.aws.sqs import SqsQueue, open_settler
from fanfold.errors import ConfigurationError, FanfoldError, ServiceError
from fanfold.inmemory import InMemoryQueue, InMemorySettler
from fanfold.testing import make_record
from on_aws import AWS, NO_SERVER, drain, taught, without_server


@dataclass(frozen=True)
class Bench:
    """A queue with a long visibility timeout, its dead-letter queue, and settlers with and without the latter."""

    queue: Queue
    dead_letters: Queue
    settler: Settler
    without_dead_letters: Settler
    arn: str

    async def receive(self, *bodies: str) -> list[Record]:
        """Send messages and receive them, as the records of a batch."""
        await self.queue.send([Message(body) for body in bodies])
        received = await drain(self.queue, len(bodies))
        return [self.record(message) for message in sorted(received, key=lambda message: message.body)]

    def record(self, received: Received, attributes: dict[str, Any] | None = None) -> Record:
        raw = make_record(
            received.body,
            message_id=received.message_id,
            receive_count=received.receive_count,
            queue_arn=self.arn,
            message_attributes=attributes,
        )
        return Record(raw | {"receiptHandle": received.receipt_handle})


def positions(refused: Sequence[Refusal]) -> list[int]:
    """Return the positions of refusals."""
    return [refusal.position for refusal in refused]


async def on_sqs(client: Any, ending: str = "", **attributes: str) -> Bench:
    name = f"queue-{uuid.uuid4().hex}"
    url = (await client.create_queue(QueueName=name + ending, Attributes=attributes))["QueueUrl"]
    dead_url = (await client.create_queue(QueueName=f"{name}-dead{ending}", Attributes=attributes))["QueueUrl"]
    response = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return Bench(
        await taught(client, url),
        await taught(client, dead_url),
        SqsQueue(client, dead_letter_queue_url=dead_url),
        SqsQueue(client, dead_letter_queue_url=dead_url + "-missing"),
        response["Attributes"]["QueueArn"],
    )


def in_process() -> Bench:
    queue, dead = InMemoryQueue(), InMemoryQueue()
    arn = "arn:aws:sqs:eu-west-1:123456789012:orders"
    return Bench(queue, dead, InMemorySettler(queue, dead), InMemorySettler(queue), arn)


@pytest.fixture
async def client(aws: LocalStack, session: AioSession) -> AsyncIterator[Any]:
    """A client of the emulated SQS."""
    async with session.create_client("sqs", verify=False) as sqs:
        yield sqs


@pytest.fixture(params=["in-process", AWS])
async def bench(request, session) -> AsyncIterator[Bench]:
    if request.param == "in-process":
        yield in_process()
        return
    request.getfixturevalue("aws")
    async with session.create_client("sqs", verify=False, config=config_of("sqs")) as sqs:
        yield await on_sqs(sqs)


def reason_of(received: Received) -> dict[str, Any]:
    """Return the reason document in the attribute of a dead letter."""
    return json.loads(received.attributes[ATTRIBUTE])


async def test_a_visibility_timeout_of_zero_makes_a_message_visible_immediately(bench: Bench):
    """The queue's visibility timeout is 30 s; the receive still counts."""
    [record] = await bench.receive("body")
    assert not await bench.settler.change_visibility([(record, 0)])
    [redelivered] = await bench.queue.receive(wait_seconds=2)
    assert (redelivered.message_id, redelivered.receive_count) == (record.message_id, 2)


async def test_a_message_becomes_visible_after_its_changed_visibility_timeout(bench: Bench):
    """It is not visible immediately, but long before the queue's visibility timeout ends."""
    [record] = await bench.receive("body")
    assert not await bench.settler.change_visibility([(record, 1)])
    assert not await bench.queue.receive()
    [redelivered] = await drain(bench.queue, 1)
    assert redelivered.message_id == record.message_id


async def test_each_message_of_a_call_has_a_separate_visibility_timeout(bench: Bench):
    """Messages with a timeout of 0 are visible, and the other one is not."""
    records = await bench.receive("a", "b", "c")
    assert not await bench.settler.change_visibility(list(zip(records, [0, 600, 0], strict=True)))
    assert sorted(message.body for message in await drain(bench.queue, 2)) == ["a", "c"]
    assert not await bench.queue.receive()


async def test_one_call_changes_ten_visibility_timeouts(bench: Bench):
    """Ten is the limit of SQS."""
    records = await bench.receive(*"abcdefghij")
    assert not await bench.settler.change_visibility([(record, 0) for record in records])
    assert len(await drain(bench.queue, 10)) == 10


async def test_only_an_invalid_receipt_handle_is_refused(bench: Bench):
    """The refusal has its position; the other changes take effect."""
    records = await bench.receive("a", "b")
    unknown = Record(dict(records[0].raw) | {"receiptHandle": "none#0"})
    assert positions(await bench.settler.change_visibility([(records[0], 0), (unknown, 0), (records[1], 0)])) == [1]
    assert len(await drain(bench.queue, 2)) == 2


async def test_the_receipt_handle_of_a_deleted_message_is_refused(bench: Bench):
    """The refusal is final."""
    [record] = await bench.receive("body")
    await bench.queue.delete([record.receipt_handle])
    [refusal] = await bench.settler.change_visibility([(record, 0)])
    assert (refusal.position, refusal.final) == (0, True)


async def test_a_dead_letter_has_the_body_and_the_reason(bench: Bench):
    """It also has the original message ID, the queue, and the receive count."""
    [record] = await bench.receive('{"name": "naïve 日本語 🜁"}')
    assert await bench.settler.send_dead_letters([(record, 'no such "customer"\n日本')]) == []
    [dead] = await bench.dead_letters.receive(wait_seconds=2)
    assert dead.body == '{"name": "naïve 日本語 🜁"}'
    assert reason_of(dead) == {
        "reason": 'no such "customer"\n日本',
        "message_id": record.message_id,
        "queue": bench.arn,
        "receive_count": 1,
    }


async def test_one_call_sends_ten_dead_letters_each_with_a_reason(bench: Bench):
    """Ten is the limit of SQS."""
    records = await bench.receive(*"abcdefghij")
    assert await bench.settler.send_dead_letters([(record, f"because of {record.body}") for record in records]) == []
    dead = await drain(bench.dead_letters, 10)
    assert {message.body: reason_of(message)["reason"] for message in dead} == {
        body: f"because of {body}" for body in "abcdefghij"
    }


async def test_sending_a_dead_letter_does_not_delete_the_message(bench: Bench):
    """Lambda deletes it after the batch response."""
    [record] = await bench.receive("body")
    await bench.settler.send_dead_letters([(record, "reason")])
    assert not await bench.settler.change_visibility([(record, 0)])
    assert len(await drain(bench.queue, 1)) == 1


async def test_without_a_dead_letter_queue_every_dead_letter_is_refused(bench: Bench):
    """Either the call fails, or every entry is refused."""
    [record] = await bench.receive("body")
    try:
        refused = positions(await bench.without_dead_letters.send_dead_letters([(record, "reason")]))
    except FanfoldError:
        refused = [0]
    assert refused == [0]


@pytest.mark.stack
async def test_a_missing_dead_letter_queue_is_a_configuration_error(client):
    """The error names the queue."""
    bench = await on_sqs(client)
    [record] = await bench.receive("body")
    with pytest.raises(ConfigurationError, match=r"dead-letter queue .*-missing: does not exist"):
        await bench.without_dead_letters.send_dead_letters([(record, "reason")])


@pytest.mark.stack
async def test_a_missing_queue_is_a_configuration_error(client):
    """The record's ARN names a queue that does not exist."""
    bench = await on_sqs(client)
    record = Record(make_record("body", queue_arn=bench.arn + "-missing"))
    with pytest.raises(ConfigurationError, match="-missing: does not exist"):
        await bench.settler.change_visibility([(record, 0)])


@pytest.mark.stack
@pytest.mark.parametrize("arn", ["", "orders", "arn:aws:sqs:eu-west-1::orders", "arn:aws:sqs:eu-west-1:1:a:b"])
async def test_only_a_record_without_a_queue_arn_is_refused(client, arn: str):
    """The reason quotes the invalid eventSourceARN; the visibility timeouts of other records change."""
    bench = await on_sqs(client)
    [record] = await bench.receive("body")
    invalid = Record(make_record("body", message_id="m", queue_arn=arn))
    [refusal] = await bench.settler.change_visibility([(invalid, 0), (record, 0)])
    assert (refusal.position, refusal.final) == (0, True)
    assert f"record m: eventSourceARN {arn!r} is not the ARN of a queue" in refusal.reason
    assert len(await drain(bench.queue, 1)) == 1


async def send_with_attributes(client: Any, attributes: dict[str, Any]) -> dict[str, Any]:
    """Send a message with attributes to the dead-letter queue; return its attributes from SQS."""
    bench = await on_sqs(client)
    record = Record(make_record("body", queue_arn=bench.arn, message_attributes=attributes))
    assert await bench.settler.send_dead_letters([(record, "reason")]) == []
    url = bench.settler.dead_letter_queue_url
    response = await client.receive_message(QueueUrl=url, MessageAttributeNames=["All"], WaitTimeSeconds=2)
    return response["Messages"][0]["MessageAttributes"]


@pytest.mark.stack
async def test_a_dead_letter_keeps_message_attributes(client):
    """Strings, numbers, and binaries keep their types."""
    attributes = await send_with_attributes(
        client,
        {
            "text": {"stringValue": "välue", "dataType": "String", "stringListValues": [], "binaryListValues": []},
            "number": {"stringValue": "1.5", "dataType": "Number.euro"},
            "bytes": {"binaryValue": "AAH/", "dataType": "Binary"},
        },
    )
    assert attributes["text"] == {"StringValue": "välue", "DataType": "String"}
    assert attributes["number"] == {"StringValue": "1.5", "DataType": "Number.euro"}
    assert attributes["bytes"] == {"BinaryValue": b"\x00\x01\xff", "DataType": "Binary"}
    assert set(attributes) == {"text", "number", "bytes", ATTRIBUTE}


@pytest.mark.stack
async def test_the_tenth_attribute_moves_into_the_reason_document(client):
    """SQS allows ten attributes, and the reason takes one."""
    originals = {f"name-{number}": {"stringValue": f"välue {number}", "dataType": "String"} for number in range(10)}
    attributes = await send_with_attributes(client, originals)
    document = json.loads(attributes[ATTRIBUTE]["StringValue"])
    assert set(attributes) == {f"name-{number}" for number in range(9)} | {ATTRIBUTE}
    assert document["attributes"] == {"name-9": {"stringValue": "välue 9", "dataType": "String"}}
    assert document["reason"] == "reason"


@pytest.mark.stack
async def test_a_new_reason_replaces_an_earlier_one(client):
    """A redriven dead letter that is rejected again has only the latest reason."""
    attributes = await send_with_attributes(client, {ATTRIBUTE: {"stringValue": "old", "dataType": "String"}})
    assert set(attributes) == {ATTRIBUTE}
    assert json.loads(attributes[ATTRIBUTE]["StringValue"])["reason"] == "reason"


@pytest.mark.stack
async def test_a_fifo_dead_letter_keeps_its_group_and_is_deduplicated(client):
    """The original message ID is the deduplication ID, so sending twice creates one dead letter."""
    bench = await on_sqs(client, ".fifo", FifoQueue="true")
    attributes = {"MessageGroupId": "customer-7"}
    record = Record(make_record("body", message_id="m", queue_arn=bench.arn, attributes=attributes))
    for _ in range(2):
        assert await bench.settler.send_dead_letters([(record, "reason")]) == []
    url = bench.settler.dead_letter_queue_url
    response = await client.receive_message(QueueUrl=url, AttributeNames=["All"], WaitTimeSeconds=2)
    [message] = response["Messages"]
    assert message["Attributes"]["MessageGroupId"] == "customer-7"
    assert message["Attributes"]["MessageDeduplicationId"] == "m"


@pytest.mark.stack
async def test_open_settler_changes_visibility_timeouts(client):
    """It uses the region, credentials, and endpoint of the environment, and closes its client at the end."""
    bench = await on_sqs(client)
    [record] = await bench.receive("body")
    async with open_settler("", verify=False) as settler:
        assert not await settler.change_visibility([(record, 0)])
    assert len(await drain(bench.queue, 1)) == 1


@pytest.mark.stack
@pytest.mark.parametrize("act", ["change_visibility", "send_dead_letters"])
async def test_no_response_is_a_transient_error(aws: LocalStack, session, act: str):
    """A refused connection raises a transient service error."""
    async with without_server(session, "sqs") as sqs:
        silent = SqsQueue(sqs, dead_letter_queue_url=f"{NO_SERVER}/000000000000/dead")
        record = Record(make_record("body"))
        calls = {
            "change_visibility": lambda: silent.change_visibility([(record, 0)]),
            "send_dead_letters": lambda: silent.send_dead_letters([(record, "reason")]),
        }
        with pytest.raises(ServiceError) as raised:
            await calls[act]()
        assert raised.value.transient is True
