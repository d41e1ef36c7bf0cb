"""Contract of a queue, for the in-memory one and for SQS."""

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import pytest

from fanfold._ports.queue import Message, Queue, QueueCounts, Received
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import config_of
from fanfold.aws.sqs import SqsQueue
from fanfold.errors import ConfigurationError, ServiceError
from fanfold.inmemory import InMemoryQueue
from on_aws import AWS, NO_SERVER, drain, taught, without_server

VISIBILITY_SECONDS = 1
MEBIBYTE = 1_048_576


# The client warns about request bodies of the size that SQS allows; here, warnings are errors.
large_bodies = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")


@dataclass(frozen=True)
class Queues:
    """Queues with different visibility timeouts and redrive policies."""

    default: Queue
    brief: Queue
    """Has a visibility timeout of ``VISIBILITY_SECONDS``."""
    once: Queue
    """Has that visibility timeout and a maximum receive count of 1."""
    dead_letters: Queue
    """The dead-letter queue of ``once``."""


async def sqs_queues(client) -> Queues:
    name = f"queue-{uuid.uuid4().hex}"
    timeout = {"VisibilityTimeout": str(VISIBILITY_SECONDS)}
    default_url = (await client.create_queue(QueueName=name))["QueueUrl"]
    brief_url = (await client.create_queue(QueueName=f"{name}-brief", Attributes=timeout))["QueueUrl"]
    dead_url = (await client.create_queue(QueueName=f"{name}-dead"))["QueueUrl"]
    response = await client.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    redrive = json.dumps({"deadLetterTargetArn": response["Attributes"]["QueueArn"], "maxReceiveCount": 1})
    attributes = {**timeout, "RedrivePolicy": redrive}
    once_url = (await client.create_queue(QueueName=f"{name}-once", Attributes=attributes))["QueueUrl"]
    return Queues(*[await taught(client, url) for url in (default_url, brief_url, once_url, dead_url)])


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
    async with session.create_client("sqs", verify=False, config=config_of("sqs")) as client:
        yield await sqs_queues(client)


@pytest.fixture
def queue(queues) -> Queue:
    return queues.default


@pytest.fixture
def brief(queues) -> Queue:
    return queues.brief


async def test_a_message_body_is_received_unchanged(queue):
    """The body may contain any characters; the first delivery has a receive count of 1."""
    assert await queue.send([Message('{"name": "naïve 日本語 🜁",\n"tab": "\t"}')]) == []
    [received] = await queue.receive(wait_seconds=2)
    assert received.body == '{"name": "naïve 日本語 🜁",\n"tab": "\t"}'
    assert received.receive_count == 1
    assert received.message_id
    assert received.receipt_handle


async def test_attributes_are_received_unchanged(queue):
    """A message can have up to ten string attributes."""
    attributes = {f"name-{number}": f"välue {number} 日本" for number in range(10)}
    await queue.send([Message("body", attributes)])
    [received] = await queue.receive(wait_seconds=2)
    assert received.attributes == attributes


async def test_messages_that_wait_and_those_in_flight_are_counted(queue):
    """A deleted message is neither."""
    await queue.send([Message("one"), Message("two"), Message("three")])
    assert await queue.counts() == QueueCounts(waiting=3, in_flight=0)
    [received] = await queue.receive(max_messages=1, wait_seconds=2)
    assert await queue.counts() == QueueCounts(waiting=2, in_flight=1)
    await queue.delete([received.receipt_handle])
    assert await queue.counts() == QueueCounts(waiting=2, in_flight=0)


async def test_a_message_without_attributes_has_none(queue):
    """A message that was sent without attributes is received without attributes."""
    await queue.send([Message("body")])
    [received] = await queue.receive(wait_seconds=2)
    assert received.attributes == {}


async def test_each_message_of_a_batch_has_a_unique_message_id(queue):
    """Ten messages in one call are ten messages, even if their bodies are equal."""
    await queue.send([Message(f"body-{number // 2}") for number in range(10)])
    received = await drain(queue, 10)
    assert sorted(message.body for message in received) == [f"body-{number // 2}" for number in range(10)]
    assert len({message.message_id for message in received}) == 10


async def test_a_receive_returns_at_most_max_messages(queue):
    """The next receive returns other messages."""
    await queue.send([Message(str(number)) for number in range(5)])
    first = await queue.receive(max_messages=2, wait_seconds=2)
    others = await queue.receive(max_messages=3, wait_seconds=2)
    assert 1 <= len(first) <= 2
    assert 1 <= len(others) <= 3
    assert not {message.message_id for message in first} & {message.message_id for message in others}


async def test_a_receive_from_an_empty_queue_returns_nothing(queue):
    """An empty queue does not raise an error."""
    assert list(await queue.receive()) == []


async def test_a_receive_waits_for_the_first_message(queue):
    """A waiting receive returns a message that is sent meanwhile."""
    received: list[Received] = []

    async def receive() -> None:
        received.extend(await queue.receive(wait_seconds=10))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await anyio.lowlevel.checkpoint()
        await queue.send([Message("late")])
    assert [one.body for one in received] == ["late"]


async def test_a_received_message_is_invisible(queue):
    """During the visibility timeout, no other receive returns the message."""
    await queue.send([Message("body")])
    assert len(await queue.receive(wait_seconds=2)) == 1
    assert list(await queue.receive()) == []


async def test_a_message_that_was_not_deleted_is_redelivered(brief):
    """After the visibility timeout, the message has a higher receive count and a new receipt handle."""
    await brief.send([Message("body", {"name": "value"})])
    [first] = await brief.receive(wait_seconds=2)
    [second] = await brief.receive(wait_seconds=5)
    assert (first.receive_count, second.receive_count) == (1, 2)
    assert (second.message_id, second.body, second.attributes) == (first.message_id, "body", {"name": "value"})
    assert second.receipt_handle != first.receipt_handle


async def test_only_deleted_messages_are_gone(brief):
    """Deleted messages are never redelivered; the others are."""
    await brief.send([Message(str(number)) for number in range(10)])
    received = await drain(brief, 10)
    await brief.delete([message.receipt_handle for message in received if message.body not in {"3", "7"}])
    assert sorted(message.body for message in await drain(brief, 2)) == ["3", "7"]
    assert list(await brief.receive()) == []


async def test_ten_messages_are_deleted_in_one_call(brief):
    """One call can delete as many messages as one receive returns."""
    await brief.send([Message(str(number)) for number in range(10)])
    received = await drain(brief, 10)
    await brief.send([Message("kept")])
    await brief.receive(wait_seconds=2)
    await brief.delete([message.receipt_handle for message in received])
    assert [message.body for message in await brief.receive(wait_seconds=5)] == ["kept"]


async def test_deleting_a_deleted_message_is_not_an_error(brief):
    """The same call still deletes the other messages."""
    await brief.send([Message("first"), Message("second"), Message("kept")])
    handles = {message.body: message.receipt_handle for message in await drain(brief, 3)}
    await brief.delete([handles["first"]])
    await brief.delete([handles["first"], handles["second"]])
    assert [message.body for message in await brief.receive(wait_seconds=5)] == ["kept"]


async def test_a_delayed_message_is_not_received_before_its_delay_ends(queue):
    """Its first delivery has a receive count of 1."""
    await queue.send([Message("late", delay_seconds=1), Message("soon")])
    assert [message.body for message in await queue.receive()] == ["soon"]
    [late] = await queue.receive(wait_seconds=5)
    assert (late.body, late.receive_count) == ("late", 1)


async def test_a_message_received_too_often_goes_to_the_dead_letter_queue(queues):
    """After its last receive, the message is only in the dead-letter queue, with its body and attributes."""
    await queues.once.send([Message("kept", {"name": "value"}), Message("deleted")])
    received = {message.body: message for message in await drain(queues.once, 2)}
    await queues.once.delete([received["deleted"].receipt_handle])
    assert list(await queues.once.receive(wait_seconds=2)) == []
    dead = await queues.dead_letters.receive(wait_seconds=1)
    assert [(message.message_id, message.body) for message in dead] == [(received["kept"].message_id, "kept")]
    assert dead[0].attributes == {"name": "value"}


@pytest.mark.parametrize("count", [0, 11])
async def test_a_batch_of_zero_or_more_than_ten_messages_is_refused(queue, count):
    """The error is permanent, and no message is accepted."""
    with pytest.raises(ServiceError) as raised:
        await queue.send([Message(str(number)) for number in range(count)])
    assert raised.value.transient is False
    assert list(await queue.receive()) == []


@large_bodies
async def test_a_batch_over_one_mebibyte_is_refused(queue):
    """Messages whose total size is too large raise a permanent error, and none is accepted."""
    with pytest.raises(ServiceError) as raised:
        await queue.send([Message("x" * (MEBIBYTE // 2)), Message("x" * (MEBIBYTE // 2)), Message("x")])
    assert raised.value.transient is False
    assert list(await queue.receive()) == []


@large_bodies
async def test_a_batch_of_one_mebibyte_is_accepted(queue):
    """The limit includes attributes."""
    largest = Message("x" * (MEBIBYTE - 108), {"name": "v" * 98})
    assert largest.size_bytes == MEBIBYTE
    assert await queue.send([largest]) == []
    [received] = await queue.receive(wait_seconds=2)
    assert (len(received.body), received.attributes) == (MEBIBYTE - 108, {"name": "v" * 98})


@pytest.mark.stack
async def test_an_invalid_message_is_refused_and_the_others_are_accepted(aws: LocalStack, session):
    """The refusal has the position of the invalid message, and is final."""
    async with session.create_client("sqs", verify=False) as client:
        queue = (await sqs_queues(client)).default
        [refused] = await queue.send([Message("first"), Message("an invalid character: \x00"), Message("third")])
        assert (refused.position, refused.final) == (1, True)
        assert "SQS does not accept the character '\\x00' at index 22" in refused.reason
        assert sorted(message.body for message in await drain(queue, 2)) == ["first", "third"]


@pytest.mark.stack
async def test_on_a_fifo_queue_messages_without_a_group_do_not_block_each_other_and_repeats_are_dropped(
    aws: LocalStack, session
):
    """Messages with different bodies are in different groups; an equal body is deduplicated."""
    async with session.create_client("sqs", verify=False) as client:
        name, attributes = f"queue-{uuid.uuid4().hex}.fifo", {"FifoQueue": "true"}
        queue = SqsQueue(client, (await client.create_queue(QueueName=name, Attributes=attributes))["QueueUrl"])
        assert await queue.send([Message("a"), Message("b"), Message("a")]) == []
        assert await queue.send([Message("b"), Message("c", group_id="g", deduplication_id="a")]) == []
        assert [received.body for received in await drain(queue, 3)] == ["a", "b", "c"]
        assert await queue.receive() == []


@pytest.mark.stack
@pytest.mark.parametrize("act", ["send", "receive", "delete"])
async def test_a_missing_queue_is_an_error_that_names_it(aws: LocalStack, session, act):
    """The error of each operation names the queue and what to check."""
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
async def test_no_response_is_a_transient_error(aws: LocalStack, session, act):
    """A refused connection raises a transient service error."""
    async with without_server(session, "sqs") as client:
        silent = SqsQueue(client, f"{NO_SERVER}/000000000000/queue")
        calls = {
            "send": lambda: silent.send([Message("body")]),
            "receive": silent.receive,
            "delete": lambda: silent.delete(["receipt"]),
        }
        with pytest.raises(ServiceError) as raised:
            await calls[act]()
        assert raised.value.transient is True
