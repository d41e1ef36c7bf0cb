"""A client of the SDK, for adapters that have one of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from fanfold.aws.faults import faults_of

FEW_CALLS: Final[Mapping[str, Any]] = {
    "connect_timeout": 5,
    "read_timeout": 30,
    "retries": {"mode": "standard", "max_attempts": 5},
}
"""Configuration of a client that makes a call now and then, one after another."""


@asynccontextmanager
async def client_of(service: str, what: str, config: Mapping[str, Any], **client: Any) -> AsyncIterator[Any]:
    """Yield a client of a service.

    Args:
        service: The SDK's name for it.
        what: Its name for people, in errors.
        config: Timeouts, connections and retries, as ``AioConfig`` takes them.
        client: Credentials, region and endpoint, where they are not the SDK's usual ones.

    Raises:
        ConfigurationError: If there is no region.
    """
    with faults_of(what):
        context = get_session().create_client(service, config=AioConfig(**config), **client)
        opened = await context.__aenter__()
    try:
        yield opened
    finally:
        await context.__aexit__(None, None, None)
