"""Helpers for contract tests on AWS: the fixture parameter, a client without a server, and a drain."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from fanfold._ports.queue import Message, Queue, Received
from fanfold.aws.sqs import SqsQueue

AWS = pytest.param("aws", marks=pytest.mark.stack)
"""The fixture parameter for the backend on AWS, which the local stack emulates."""

NO_SERVER = "http://127.0.0.1:9"


@asynccontextmanager
async def without_server(session: AioSession, service: str) -> AsyncIterator[Any]:
    """Yield a client with an endpoint on which no server listens."""
    config = AioConfig(connect_timeout=1, retries={"max_attempts": 0})
    async with session.create_client(service, endpoint_url=NO_SERVER, verify=False, config=config) as client:
        yield client


async def taught(client: Any, url: str) -> SqsQueue:
    """Return an empty queue for which the SDK has made the first call of each frequent operation."""
    queue = SqsQueue(client, url)
    await queue.send([Message("first")])
    (first,) = await queue.receive(wait_seconds=2)
    entry = {"Id": "0", "ReceiptHandle": first.receipt_handle, "VisibilityTimeout": 30}
    await queue._call("change_message_visibility_batch", f"queue {url}", QueueUrl=url, Entries=[entry])
    await queue.delete([first.receipt_handle])
    return queue


async def drain(queue: Queue, count: int) -> list[Received]:
    """Receive until there are ``count`` messages, since a receive may return fewer than the queue has."""
    received: list[Received] = []
    while len(received) < count and (more := await queue.receive(wait_seconds=2)):
        received.extend(more)
    return received
