"""The event source mapping on a real queue, with a function called in this process."""

import json
import uuid
from collections import Counter

import anyio
import pytest

import fanfold
from depth import by_depth
from fanfold._replay.invoke_here import invoke_here
from fanfold._replay.mapping import MappingSettings
from fanfold._replay.poller import Poller
from fanfold._stack.emulator import LocalStack
from fanfold.aws.sqs import open_client
from fanfold.errors import ConfigurationError

pytestmark = pytest.mark.stack


async def new_queue(client, *, receives: int | None = None, **attributes: str) -> tuple[str, str]:
    """Create a queue and its dead-letter queue; return their URLs."""
    name, ending = f"poll-{uuid.uuid4().hex}", ".fifo" if "FifoQueue" in attributes else ""
    dead = (await client.create_queue(QueueName=f"{name}-dead{ending}", Attributes=attributes))["QueueUrl"]
    response = await client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    if receives is not None:
        policy = {"deadLetterTargetArn": response["Attributes"]["QueueArn"], "maxReceiveCount": receives}
        attributes = {**attributes, "RedrivePolicy": json.dumps(policy)}
    return (await client.create_queue(QueueName=f"{name}{ending}", Attributes=attributes))["QueueUrl"], dead


async def send(client, url: str, bodies: range, **fields) -> None:
    limit = anyio.Semaphore(16)

    async def ten(numbers: range) -> None:
        async with limit:
            entries = [{"Id": str(number), "MessageBody": str(number), **fields} for number in numbers]
            assert not (await client.send_message_batch(QueueUrl=url, Entries=entries)).get("Failed")

    async with anyio.create_task_group() as calls:
        for first in range(bodies.start, bodies.stop, 10):
            calls.start_soon(ten, range(first, min(first + 10, bodies.stop)))


async def in_queue(client, url: str) -> int:
    response = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return sum(int(value) for name, value in response["Attributes"].items() if name.startswith("ApproximateNumberOf"))


# Slow: for four hundred messages, the emulated SQS is called a hundred times.
async def test_messages_in_batches_of_up_to_ten_thousand_are_all_accounted_for(aws: LocalStack):
    """One in a hundred fails and is sent to the dead-letter queue; all others are processed and deleted."""
    messages = by_depth(400, 10_000)
    handled: Counter[int] = Counter()

    @fanfold.consumer(concurrency=100, backoff=fanfold.Backoff(base=1, cap=1))
    async def handler(number: int) -> None:
        handled[number] += 1
        if number % 100 == 0:
            raise ValueError(number)

    async with open_client() as client:
        url, dead = await new_queue(client, receives=1, VisibilityTimeout="900")
        await send(client, url, range(messages))
        settings = MappingSettings(batch_size=10_000, window_seconds=20)
        with anyio.fail_after(600):
            summary = await Poller(client, url, settings, invoke_here(handler, 30), maximum_concurrency=1).run()
        handler.close()
        assert set(handled) == set(range(messages))
        assert await in_queue(client, url) == 0
        assert await in_queue(client, dead) == messages // 100
    assert summary.deleted == messages - messages // 100
    assert summary.received == summary.deleted + summary.kept


async def test_a_fifo_queue_keeps_the_order_of_its_groups(aws: LocalStack):
    """Also if a message has to be redelivered."""
    seen: list[int] = []

    @fanfold.consumer
    async def handler(number: int, ctx: fanfold.Context) -> None:
        if number == 3 and ctx.receive_count == 1:
            raise ValueError(number)
        seen.append(number)

    async with open_client() as client:
        url, _ = await new_queue(client, FifoQueue="true", ContentBasedDeduplication="true", VisibilityTimeout="1")
        for number in range(8):
            await client.send_message(QueueUrl=url, MessageBody=str(number), MessageGroupId="a")
        with anyio.fail_after(600):
            await Poller(client, url, MappingSettings(fifo=True), invoke_here(handler, 30)).run()
        handler.close()
        assert seen == list(range(8))
        assert await in_queue(client, url) == 0
        with pytest.raises(ConfigurationError, match="is a FIFO queue; set fifo=True"):
            await Poller(client, url, MappingSettings(), invoke_here(handler, 30)).run()


async def test_a_queue_that_does_not_exist_is_named(aws: LocalStack):
    """In one line, before any message is delivered."""
    async with open_client() as client:
        url, _ = await new_queue(client)
        with pytest.raises(ConfigurationError, match="does not exist"):
            await Poller(client, f"{url}-not", MappingSettings(), invoke_here(lambda *_: None, 30)).run()
        with pytest.raises(ConfigurationError, match="maximum_concurrency"):
            Poller(client, url, MappingSettings(), invoke_here(lambda *_: None, 30), maximum_concurrency=0)
