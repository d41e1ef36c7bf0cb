"""What contracts of backends on AWS share: the parameter of their fixtures, a client that nobody answers, a drain."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from fanfold._ports.queue import Queue, Received

AWS = pytest.param("aws", marks=pytest.mark.stack)
"""The parameter of a contract's fixture that stands for the backend on AWS, as the local stack emulates it."""

NOBODY = "http://127.0.0.1:9"


@asynccontextmanager
async def unanswered(session: AioSession, service: str) -> AsyncIterator[Any]:
    """A client of a service where nobody listens."""
    config = AioConfig(connect_timeout=1, retries={"max_attempts": 0})
    async with session.create_client(service, endpoint_url=NOBODY, verify=False, config=config) as client:
        yield client


async def drain(queue: Queue, count: int) -> list[Received]:
    """Receive until there are ``count`` messages: a queue may give fewer at a time than it has."""
    received: list[Received] = []
    while len(received) < count and (more := await queue.receive(wait_seconds=2)):
        received.extend(more)
    return received
