"""SDK clients for adapters that do not share one."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from fanfold.aws.faults import map_errors

FEW_CALLS: Final[Mapping[str, Any]] = {
    "connect_timeout": 5,
    "read_timeout": 30,
    "retries": {"mode": "standard", "max_attempts": 5},
}
"""Configuration of a client that makes few calls, one at a time."""


@asynccontextmanager
async def client_of(service: str, resource: str, config: Mapping[str, Any], **client: Any) -> AsyncIterator[Any]:
    """Yield a client of a service.

    Args:
        service: The SDK's name of the service.
        resource: The name that error messages start with.
        config: Timeouts, connections and retries: arguments of ``AioConfig``.
        client: Credentials, region and endpoint; by default, the SDK's usual ones.

    Raises:
        ConfigurationError: If no region is set.
    """
    reseed_after_restore()
    with map_errors(resource):
        context = get_session().create_client(service, config=AioConfig(**config), **client)
        opened = await context.__aenter__()
    try:
        yield opened
    finally:
        await context.__aexit__(None, None, None)


def reseed_after_restore() -> None:
    """Give this execution environment random numbers of its own if it was restored from a SnapStart snapshot.

    The SDK draws the jitter of its retries from the module ``random``, whose state is part of the snapshot. Clients are
    opened during an invocation, so after the restore. (Source: Lambda developer guide, "Handling uniqueness with Lambda
    SnapStart".)
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        random.seed()
