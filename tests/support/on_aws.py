"""Helpers for contract tests on AWS: the fixture parameter, a client without a server, and a drain."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from fanfold._ports.queue import Queue, Received

AWS = pytest.param("aws", marks=pytest.mark.stack)
"""The fixture parameter for the backend on AWS, which the local stack emulates."""

NO_SERVER = "http://127.0.0.1:9"


@asynccontextmanager
async def without_server(session: AioSession, service: str) -> AsyncIterator[Any]:
    """Yield a client with an endpoint on which no server listens."""
    config = AioConfig(connect_timeout=1, retries={"max_attempts": 0})
    async with session.create_client(service, endpoint_url=NO_SERVER, verify=False, config=config) as client:
        yield client


async def drain(queue: Queue, count: int) -> list[Received]:
    """Receive until there are ``count`` messages, since a receive may return fewer than the queue has."""
    received: list[Received] = []
    while len(received) < count and (more := await queue.receive(wait_seconds=2)):
        received.extend(more)
    return received
