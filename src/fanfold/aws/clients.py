"""SDK clients for adapters that do not share one."""

from __future__ import annotations

import asyncio
import functools
import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.loaders import Loader, create_loader

from fanfold._base.threads import Threads
from fanfold.aws.fast_calls import FastSession
from fanfold.aws.faults import map_errors

FEW_CALLS: Final[Mapping[str, Any]] = {
    "connect_timeout": 5,
    "read_timeout": 30,
    "retries": {"mode": "standard", "max_attempts": 5},
}
"""Configuration of a client that makes few calls, one at a time."""


@functools.cache
def prepare(service: str) -> None:
    """Load what the SDK needs to create a client of a service: hundreds of milliseconds at a share of a CPU.

    Clients that are created later do not load it again. Call this on a thread without an event loop. Nothing of the
    user's credentials is read.
    """

    async def create_client() -> None:
        keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
        async with _new_session().create_client(service, region_name="us-east-1", **keys):
            pass

    asyncio.run(create_client())


async def _session_off_the_loop(service: str) -> AioSession:
    """Return a new session for clients of a service, created on a thread: other handlers run on the event loop."""
    threads = Threads()
    try:
        return await threads.run(_prepared_session, service)
    except RuntimeError:  # no thread can be started
        return _new_session()
    finally:
        threads.close()


def _prepared_session(service: str) -> AioSession:
    prepare(service)
    return _new_session()


@functools.cache
def _loader() -> Loader:
    return create_loader()


def _new_session() -> AioSession:
    """Return a session that shares the loaded descriptions of services with all others, and nothing else."""
    session = get_session()
    session.register_component("data_loader", _loader())
    return session


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
    session = await _session_off_the_loop(service)
    with map_errors(resource):
        context = session.create_client(service, config=AioConfig(**config, http_session_cls=FastSession), **client)
        opened = await context.__aenter__()
    try:
        yield opened
    finally:
        await context.__aexit__(None, None, None)


def reseed_after_restore() -> None:
    """Give this execution environment separate random numbers if it was restored from a SnapStart snapshot.

    The SDK draws the jitter of its retries from the module ``random``, whose state is part of the snapshot. Clients are
    opened during an invocation, so after the restore. (Source: Lambda developer guide, "Handling uniqueness with Lambda
    SnapStart".)
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        random.seed()
