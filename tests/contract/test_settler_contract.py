"""What a settler promises, asked of the one in this process and of the one on AWS."""

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
from fanfold.aws.sqs import SqsQueue, open_settler
from fanfold.errors import ConfigurationError, FanfoldError, ServiceError
from fanfold.inmemory import InMemoryQueue, InMemorySettler
from fanfold.testing import make_record
from on_aws import AWS, NOBODY, drain, unanswered


@dataclass(frozen=True)
class Bench:
    """A queue that hides messages for long, its dead-letter queue, and the settlers with and without that."""

    queue: Queue
    dead_letters: Queue
    settler: Settler
    without_dead_letters: Settler
    arn: str

    async def receive(self, *bodies: str) -> list[Record]:
        """Send messages and receive them, as the records of a batch."""
        await self.queue.send([Message(body) for body in bodies])
        received = await drain(self.queue, len(bodies))
        return [self.record(each) for each in sorted(received, key=lambda each: each.body)]

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
    """Return where what was refused stood in its call."""
    return [refusal.position for refusal in refused]


async def on_sqs(client: Any, ending: str = "", **attributes: str) -> Bench:
    name = f"queue-{uuid.uuid4().hex}"
    url = (await client.create_queue(QueueName=name + ending, Attributes=attributes))["QueueUrl"]
    dead_url = (await client.create_queue(QueueName=f"{name}-dead{ending}", Attributes=attributes))["QueueUrl"]
    answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return Bench(
        SqsQueue(client, url),
        SqsQueue(client, dead_url),
        SqsQueue(client, dead_letter_queue_url=dead_url),
        SqsQueue(client, dead_letter_queue_url=dead_url + "-missing"),
        answer["Attributes"]["QueueArn"],
    )


def in_process() -> Bench:
    queue, dead = InMemoryQueue(), InMemoryQueue()
    arn = "arn:aws:sqs:eu-west-1:123456789012:orders"
    return Bench(queue, dead, InMemorySettler(queue, dead), InMemorySettler(queue), arn)


@pytest.fixture
async def client(aws: LocalStack, session: AioSession) -> AsyncIterator[Any]:
    """A client of the emulated SQS."""
    async with session.create_client("sqs", verify=False) as made:
        yield made


@pytest.fixture(params=["in-process", AWS])
async def bench(request, session) -> AsyncIterator[Bench]:
    if request.param == "in-process":
        yield in_process()
        return
    request.getfixturevalue("aws")
    async with session.create_client("sqs", verify=False) as made:
        yield await on_sqs(made)


def why(received: Received) -> dict[str, Any]:
    """Return what the attribute of a dead letter says."""
    return json.loads(received.attributes[ATTRIBUTE])


async def test_a_message_hidden_for_no_time_is_visible_at_once(bench: Bench):
    """It would be hidden for half a minute otherwise; the receive counts."""
    [record] = await bench.receive("body")
    assert not await bench.settler.change_visibility([(record, 0)])
    [again] = await bench.queue.receive(wait_seconds=2)
    assert (again.message_id, again.receive_count) == (record.message_id, 2)


async def test_a_message_hidden_for_a_second_is_visible_after_it(bench: Bench):
    """Not at once, and long before its own visibility timeout is over."""
    [record] = await bench.receive("body")
    assert not await bench.settler.change_visibility([(record, 1)])
    assert not await bench.queue.receive()
    [again] = await drain(bench.queue, 1)
    assert again.message_id == record.message_id


async def test_each_message_of_a_call_is_hidden_for_its_own_time(bench: Bench):
    """Those of no time are there, the other one is not."""
    records = await bench.receive("a", "b", "c")
    assert not await bench.settler.change_visibility(list(zip(records, [0, 600, 0], strict=True)))
    assert sorted(each.body for each in await drain(bench.queue, 2)) == ["a", "c"]
    assert not await bench.queue.receive()


async def test_ten_messages_are_hidden_in_one_call(bench: Bench):
    """As many as SQS takes."""
    records = await bench.receive(*"abcdefghij")
    assert not await bench.settler.change_visibility([(record, 0) for record in records])
    assert len(await drain(bench.queue, 10)) == 10


async def test_a_receipt_that_is_none_is_refused_alone(bench: Bench):
    """By its position; the others of the call are hidden."""
    records = await bench.receive("a", "b")
    unknown = Record(dict(records[0].raw) | {"receiptHandle": "none#0"})
    assert positions(await bench.settler.change_visibility([(records[0], 0), (unknown, 0), (records[1], 0)])) == [1]
    assert len(await drain(bench.queue, 2)) == 2


async def test_the_receipt_of_a_message_that_is_gone_is_refused(bench: Bench):
    """There is nothing left to hide."""
    [record] = await bench.receive("body")
    await bench.queue.delete([record.receipt_handle])
    [refusal] = await bench.settler.change_visibility([(record, 0)])
    assert (refusal.position, refusal.final) == (0, True)


async def test_a_buried_message_is_a_dead_letter_with_its_body_and_reason(bench: Bench):
    """And with where it came from."""
    [record] = await bench.receive('{"name": "naïve 日本語 🜁"}')
    assert await bench.settler.send_dead_letters([(record, 'no such "customer"\n日本')]) == []
    [dead] = await bench.dead_letters.receive(wait_seconds=2)
    assert dead.body == '{"name": "naïve 日本語 🜁"}'
    assert why(dead) == {
        "reason": 'no such "customer"\n日本',
        "message_id": record.message_id,
        "queue": bench.arn,
        "receive_count": 1,
    }


async def test_ten_messages_are_buried_in_one_call_each_with_its_own_reason(bench: Bench):
    """As many as SQS takes."""
    records = await bench.receive(*"abcdefghij")
    assert await bench.settler.send_dead_letters([(record, f"because of {record.body}") for record in records]) == []
    dead = await drain(bench.dead_letters, 10)
    assert {each.body: why(each)["reason"] for each in dead} == {each: f"because of {each}" for each in "abcdefghij"}


async def test_burying_leaves_the_message_itself_where_it_is(bench: Bench):
    """It is deleted when the batch is answered, and not before."""
    [record] = await bench.receive("body")
    await bench.settler.send_dead_letters([(record, "reason")])
    assert not await bench.settler.change_visibility([(record, 0)])
    assert len(await drain(bench.queue, 1)) == 1


async def test_a_missing_dead_letter_queue_takes_nothing(bench: Bench):
    """Either the call fails or every message of it is refused: none counts as buried."""
    [record] = await bench.receive("body")
    try:
        refused = positions(await bench.without_dead_letters.send_dead_letters([(record, "reason")]))
    except FanfoldError:
        refused = [0]
    assert refused == [0]


@pytest.mark.stack
async def test_a_missing_dead_letter_queue_is_an_error_of_configuration(client):
    """The user has to mend the name."""
    bench = await on_sqs(client)
    [record] = await bench.receive("body")
    with pytest.raises(ConfigurationError, match=r"dead-letter queue .*-missing: does not exist"):
        await bench.without_dead_letters.send_dead_letters([(record, "reason")])


@pytest.mark.stack
async def test_a_missing_queue_is_an_error_of_configuration(client):
    """The record names a queue that is not there."""
    bench = await on_sqs(client)
    record = Record(make_record("body", queue_arn=bench.arn + "-missing"))
    with pytest.raises(ConfigurationError, match="-missing: does not exist"):
        await bench.settler.change_visibility([(record, 0)])


@pytest.mark.stack
@pytest.mark.parametrize("arn", ["", "orders", "arn:aws:sqs:eu-west-1::orders", "arn:aws:sqs:eu-west-1:1:a:b"])
async def test_a_record_that_names_no_queue_cannot_be_hidden(client, arn: str):
    """The error says what it names instead."""
    settler = SqsQueue(client)
    with pytest.raises(ConfigurationError, match=r"record m: eventSourceARN .* is not the ARN of a queue"):
        await settler.change_visibility([(Record(make_record("body", message_id="m", queue_arn=arn)), 0)])


async def bury_with_attributes(client: Any, attributes: dict[str, Any]) -> dict[str, Any]:
    """Bury a message that has these attributes; return those of the dead letter, as SQS gives them."""
    bench = await on_sqs(client)
    record = Record(make_record("body", queue_arn=bench.arn, message_attributes=attributes))
    assert await bench.settler.send_dead_letters([(record, "reason")]) == []
    url = bench.settler.dead_letter_queue_url
    answer = await client.receive_message(QueueUrl=url, MessageAttributeNames=["All"], WaitTimeSeconds=2)
    return answer["Messages"][0]["MessageAttributes"]


@pytest.mark.stack
async def test_attributes_go_with_the_dead_letter(client):
    """Text, numbers and bytes, with the types they had."""
    attributes = await bury_with_attributes(
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
async def test_the_tenth_attribute_is_kept_with_the_reason(client):
    """A message may have ten, and the reason is one of them."""
    originals = {f"name-{at}": {"stringValue": f"välue {at}", "dataType": "String"} for at in range(10)}
    attributes = await bury_with_attributes(client, originals)
    document = json.loads(attributes[ATTRIBUTE]["StringValue"])
    assert set(attributes) == {f"name-{at}" for at in range(9)} | {ATTRIBUTE}
    assert document["attributes"] == {"name-9": {"stringValue": "välue 9", "dataType": "String"}}
    assert document["reason"] == "reason"


@pytest.mark.stack
async def test_the_reason_of_an_earlier_burial_gives_way(client):
    """A dead letter that was redriven and is rejected again tells why it was rejected last."""
    attributes = await bury_with_attributes(client, {ATTRIBUTE: {"stringValue": "old", "dataType": "String"}})
    assert set(attributes) == {ATTRIBUTE}
    assert json.loads(attributes[ATTRIBUTE]["StringValue"])["reason"] == "reason"


@pytest.mark.stack
async def test_a_dead_letter_of_a_fifo_queue_keeps_its_group_and_is_taken_once(client):
    """Its original id is the deduplication id: burying it twice makes one dead letter."""
    bench = await on_sqs(client, ".fifo", FifoQueue="true")
    attributes = {"MessageGroupId": "customer-7"}
    record = Record(make_record("body", message_id="m", queue_arn=bench.arn, attributes=attributes))
    for _ in range(2):
        assert await bench.settler.send_dead_letters([(record, "reason")]) == []
    url = bench.settler.dead_letter_queue_url
    answer = await client.receive_message(QueueUrl=url, AttributeNames=["All"], WaitTimeSeconds=2)
    [message] = answer["Messages"]
    assert message["Attributes"]["MessageGroupId"] == "customer-7"
    assert message["Attributes"]["MessageDeduplicationId"] == "m"


@pytest.mark.stack
async def test_a_settler_that_is_opened_hands_messages_back(client):
    """With the environment's region, credentials and endpoint; its client is closed at the end."""
    bench = await on_sqs(client)
    [record] = await bench.receive("body")
    async with open_settler("", verify=False) as settler:
        assert not await settler.change_visibility([(record, 0)])
    assert len(await drain(bench.queue, 1)) == 1


@pytest.mark.stack
@pytest.mark.parametrize("act", ["hide", "bury"])
async def test_a_settler_that_does_not_answer_may_answer_later(aws: LocalStack, session, act: str):
    """A call that reaches nobody is a fault of the service that may pass."""
    async with unanswered(session, "sqs") as made:
        silent = SqsQueue(made, dead_letter_queue_url=f"{NOBODY}/000000000000/dead")
        record = Record(make_record("body"))
        calls = {
            "hide": lambda: silent.change_visibility([(record, 0)]),
            "bury": lambda: silent.send_dead_letters([(record, "reason")]),
        }
        with pytest.raises(ServiceError) as raised:
            await calls[act]()
        assert raised.value.transient is True
