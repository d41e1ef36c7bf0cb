"""What a queue promises, asked of the one in this process and of the one on AWS."""

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import pytest

from fanfold._ports.queue import Message, Queue, Received
from fanfold._stack.emulator import LocalStack
from fanfold.aws.sqs import SqsQueue
from fanfold.errors import ConfigurationError, ServiceError
from fanfold.inmemory import InMemoryQueue
from on_aws import AWS, NOBODY, drain, unanswered

VISIBILITY_SECONDS = 1
MEBIBYTE = 1_048_576


# The client warns of request bodies as large as SQS takes; a warning would be an error here.
large_bodies = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")


@dataclass(frozen=True)
class Queues:
    """A queue, one that hides messages briefly, one that does so and delivers once, and where its messages go then."""

    patient: Queue
    brief: Queue
    once: Queue
    dead_letters: Queue


async def sqs_queues(client) -> Queues:
    name = f"queue-{uuid.uuid4().hex}"
    timeout = {"VisibilityTimeout": str(VISIBILITY_SECONDS)}
    patient_url = (await client.create_queue(QueueName=name))["QueueUrl"]
    brief_url = (await client.create_queue(QueueName=f"{name}-brief", Attributes=timeout))["QueueUrl"]
    dead_url = (await client.create_queue(QueueName=f"{name}-dead"))["QueueUrl"]
    answer = await client.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    redrive = json.dumps({"deadLetterTargetArn": answer["Attributes"]["QueueArn"], "maxReceiveCount": 1})
    attributes = {**timeout, "RedrivePolicy": redrive}
    once_url = (await client.create_queue(QueueName=f"{name}-once", Attributes=attributes))["QueueUrl"]
    return Queues(*(SqsQueue(client, url) for url in (patient_url, brief_url, once_url, dead_url)))


def in_process_queues() -> Queues:
    dead = InMemoryQueue()
    once = InMemoryQueue(visibility_timeout=VISIBILITY_SECONDS, max_receive_count=1, dead_letter_queue=dead)
    return Queues(InMemoryQueue(), InMemoryQueue(visibility_timeout=VISIBILITY_SECONDS), once, dead)


@pytest.fixture(params=["in-process", AWS])
async def queues(request, session) -> AsyncIterator[Queues]:
    if request.param == "in-process":
        yield in_process_queues()
        return
    request.getfixturevalue("aws")
    async with session.create_client("sqs", verify=False) as client:
        yield await sqs_queues(client)


@pytest.fixture
def queue(queues) -> Queue:
    return queues.patient


@pytest.fixture
def brief(queues) -> Queue:
    return queues.brief


async def test_a_message_is_received_as_it_was_sent(queue):
    """A body comes out as it went in, whatever characters it holds, at its first delivery."""
    assert await queue.send([Message('{"name": "naïve 日本語 🜁",\n"tab": "\t"}')]) == []
    [received] = await queue.receive(wait_seconds=2)
    assert received.body == '{"name": "naïve 日本語 🜁",\n"tab": "\t"}'
    assert received.receive_count == 1
    assert received.message_id
    assert received.receipt_handle


async def test_attributes_are_received_as_they_were_sent(queue):
    """Ten text attributes, the most there can be, come out as they went in."""
    attributes = {f"name-{number}": f"välue {number} 日本" for number in range(10)}
    await queue.send([Message("body", attributes)])
    [received] = await queue.receive(wait_seconds=2)
    assert received.attributes == attributes


async def test_a_message_without_attributes_has_none(queue):
    """What was sent without attributes is received without."""
    await queue.send([Message("body")])
    [received] = await queue.receive(wait_seconds=2)
    assert received.attributes == {}


async def test_every_message_of_a_batch_arrives_under_a_name_of_its_own(queue):
    """Ten messages sent at once are ten messages, even those of equal bodies."""
    await queue.send([Message(f"body-{number // 2}") for number in range(10)])
    received = await drain(queue, 10)
    assert sorted(one.body for one in received) == [f"body-{number // 2}" for number in range(10)]
    assert len({one.message_id for one in received}) == 10


async def test_no_more_messages_are_received_than_asked_for(queue):
    """A receive gives at most as many messages as it was asked for, and the next one gives others."""
    await queue.send([Message(str(number)) for number in range(5)])
    first = await queue.receive(max_messages=2, wait_seconds=2)
    others = await queue.receive(max_messages=3, wait_seconds=2)
    assert 1 <= len(first) <= 2
    assert 1 <= len(others) <= 3
    assert not {one.message_id for one in first} & {one.message_id for one in others}


async def test_an_empty_queue_gives_nothing(queue):
    """Receiving from an empty queue is no error."""
    assert list(await queue.receive()) == []


async def test_a_receive_waits_for_the_first_message(queue):
    """A message sent while a receive waits is what that receive gives."""
    received: list[Received] = []

    async def receive() -> None:
        received.extend(await queue.receive(wait_seconds=10))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await anyio.lowlevel.checkpoint()
        await queue.send([Message("late")])
    assert [one.body for one in received] == ["late"]


async def test_a_received_message_is_hidden(queue):
    """While a message is worked on, nobody else receives it."""
    await queue.send([Message("body")])
    assert len(await queue.receive(wait_seconds=2)) == 1
    assert list(await queue.receive()) == []


async def test_a_message_that_was_not_deleted_is_visible_again(brief):
    """After its visibility timeout the same message is delivered again, counted, under another receipt."""
    await brief.send([Message("body", {"name": "value"})])
    [first] = await brief.receive(wait_seconds=2)
    [second] = await brief.receive(wait_seconds=5)
    assert (first.receive_count, second.receive_count) == (1, 2)
    assert (second.message_id, second.body, second.attributes) == (first.message_id, "body", {"name": "value"})
    assert second.receipt_handle != first.receipt_handle


async def test_what_is_deleted_is_gone_and_nothing_else(brief):
    """Of the messages of a receive those that were deleted never come back, and the others do."""
    await brief.send([Message(str(number)) for number in range(10)])
    received = await drain(brief, 10)
    await brief.delete([one.receipt_handle for one in received if one.body not in {"3", "7"}])
    assert sorted(one.body for one in await drain(brief, 2)) == ["3", "7"]
    assert list(await brief.receive()) == []


async def test_ten_messages_are_deleted_at_once(brief):
    """As many messages as a receive gives can be deleted in one call."""
    await brief.send([Message(str(number)) for number in range(10)])
    received = await drain(brief, 10)
    await brief.send([Message("kept")])
    await brief.receive(wait_seconds=2)
    await brief.delete([one.receipt_handle for one in received])
    assert [one.body for one in await brief.receive(wait_seconds=5)] == ["kept"]


async def test_deleting_what_is_gone_is_no_error(brief):
    """A message can be deleted again, beside one that is still there, which is gone then too."""
    await brief.send([Message("first"), Message("second"), Message("kept")])
    handles = {one.body: one.receipt_handle for one in await drain(brief, 3)}
    await brief.delete([handles["first"]])
    await brief.delete([handles["first"], handles["second"]])
    assert [one.body for one in await brief.receive(wait_seconds=5)] == ["kept"]


async def test_a_delayed_message_is_hidden_at_first(queue):
    """A message sent with a delay is received after it, not before, at its first delivery."""
    await queue.send([Message("late", delay_seconds=1), Message("soon")])
    assert [one.body for one in await queue.receive()] == ["soon"]
    [late] = await queue.receive(wait_seconds=5)
    assert (late.body, late.receive_count) == ("late", 1)


async def test_a_message_received_too_often_goes_to_the_dead_letter_queue(queues):
    """After its last receive a message that was not deleted is in the dead-letter queue, whole, and in no other."""
    await queues.once.send([Message("kept", {"name": "value"}), Message("deleted")])
    received = {one.body: one for one in await drain(queues.once, 2)}
    await queues.once.delete([received["deleted"].receipt_handle])
    assert list(await queues.once.receive(wait_seconds=2)) == []
    dead = await queues.dead_letters.receive(wait_seconds=1)
    assert [(one.message_id, one.body) for one in dead] == [(received["kept"].message_id, "kept")]
    assert dead[0].attributes == {"name": "value"}


@pytest.mark.parametrize("count", [0, 11])
async def test_a_batch_of_none_or_more_than_ten_is_refused(queue, count):
    """A batch that SQS does not take fails for good, and none of it is accepted."""
    with pytest.raises(ServiceError) as raised:
        await queue.send([Message(str(number)) for number in range(count)])
    assert raised.value.transient is False
    assert list(await queue.receive()) == []


@large_bodies
async def test_a_batch_over_one_mebibyte_is_refused(queue):
    """Messages that are small enough one by one but not together fail for good, and none of them is accepted."""
    with pytest.raises(ServiceError) as raised:
        await queue.send([Message("x" * (MEBIBYTE // 2)), Message("x" * (MEBIBYTE // 2)), Message("x")])
    assert raised.value.transient is False
    assert list(await queue.receive()) == []


@large_bodies
async def test_a_batch_of_one_mebibyte_is_accepted(queue):
    """A batch as large as SQS takes, attributes included, arrives whole."""
    largest = Message("x" * (MEBIBYTE - 108), {"name": "v" * 98})
    assert largest.size_bytes == MEBIBYTE
    assert await queue.send([largest]) == []
    [received] = await queue.receive(wait_seconds=2)
    assert (len(received.body), received.attributes) == (MEBIBYTE - 108, {"name": "v" * 98})


@pytest.mark.stack
async def test_a_message_that_sqs_cannot_take_is_named_and_the_others_are_accepted(aws: LocalStack, session):
    """Of a batch with one impossible message the call names its place and whose fault it is, and the rest arrives."""
    async with session.create_client("sqs", verify=False) as client:
        queue = (await sqs_queues(client)).patient
        [refused] = await queue.send([Message("first"), Message("a character that is none: \x00"), Message("third")])
        assert (refused.position, refused.final) == (1, True)
        assert refused.reason.startswith("InvalidMessageContents: ")
        assert sorted(one.body for one in await drain(queue, 2)) == ["first", "third"]


@pytest.mark.stack
async def test_on_a_fifo_queue_messages_without_a_group_wait_for_nothing_and_repeats_are_one(aws: LocalStack, session):
    """Two bodies are received at once; the same body sent again is not there a second time."""
    async with session.create_client("sqs", verify=False) as client:
        name, attributes = f"queue-{uuid.uuid4().hex}.fifo", {"FifoQueue": "true"}
        queue = SqsQueue(client, (await client.create_queue(QueueName=name, Attributes=attributes))["QueueUrl"])
        assert await queue.send([Message("a"), Message("b"), Message("a")]) == []
        assert await queue.send([Message("b"), Message("c", group_id="g", deduplication_id="a")]) == []
        assert [received.body for received in await drain(queue, 3)] == ["a", "b", "c"]
        assert await queue.receive() == []


@pytest.mark.stack
@pytest.mark.parametrize("act", ["send", "receive", "delete"])
async def test_a_queue_that_does_not_exist_is_named(aws: LocalStack, session, act):
    """Whatever is asked of a queue that is not there, the error says which one and what to check."""
    async with session.create_client("sqs", verify=False) as client:
        missing = SqsQueue(client, f"{aws.endpoint_url}/000000000000/no-such-queue")
        calls = {
            "send": lambda: missing.send([Message("body")]),
            "receive": missing.receive,
            "delete": lambda: missing.delete(["receipt"]),
        }
        with pytest.raises(ConfigurationError, match="no-such-queue: does not exist; check the name and the region"):
            await calls[act]()


@pytest.mark.stack
@pytest.mark.parametrize("act", ["send", "receive", "delete"])
async def test_a_queue_that_does_not_answer_may_answer_later(aws: LocalStack, session, act):
    """A call that reaches nobody is a fault of the service that may pass."""
    async with unanswered(session, "sqs") as client:
        silent = SqsQueue(client, f"{NOBODY}/000000000000/queue")
        calls = {
            "send": lambda: silent.send([Message("body")]),
            "receive": silent.receive,
            "delete": lambda: silent.delete(["receipt"]),
        }
        with pytest.raises(ServiceError) as raised:
            await calls[act]()
        assert raised.value.transient is True
