"""An SQS queue for long-running processes: it reads the credentials again when they have expired."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from fanfold._base.log import SafeLogger
from fanfold.aws.faults import awaits_credentials
from fanfold.aws.sqs import SqsQueue, open_client, open_queue
from fanfold.errors import ConfigurationError, ServiceError

logger = SafeLogger(logging.getLogger("fanfold.worker"), {})

REOPEN_SECONDS: Final = 5.0
"""Minimum interval between two new clients, while the credentials stay expired."""


@asynccontextmanager
async def open_renewing_queue(
    url: str, *, dead_letter_queue_url: str = "", region: str | None = None
) -> AsyncIterator[RenewingSqsQueue]:
    """Yield a queue that opens a client with a fresh session of the SDK when its credentials have expired.

    Raises:
        ConfigurationError: As ``open_client`` and ``open_queue`` do, also if the credentials have expired already.
        ServiceError: If SQS does not respond.
    """
    first = _Client(lambda: open_client(region))
    await first.open()
    try:
        queue = await open_queue(first.opened, url, dead_letter_queue_url=dead_letter_queue_url)
    except BaseException:
        await first.retire()
        raise
    renewing = RenewingSqsQueue(queue, first, lambda: open_client(region))
    try:
        yield renewing
    finally:
        await renewing.close()


class _Client:
    """A client of SQS that is closed when it is retired and no call uses it any more."""

    def __init__(self, open_sqs: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._context = open_sqs()
        self.opened: Any = None
        self.calls = 0
        self._retired = False

    async def open(self) -> None:
        self.opened = await self._context.__aenter__()

    async def retire(self) -> None:
        self._retired = True
        await self.close_if_unused()

    async def close_if_unused(self) -> None:
        if self._retired and not self.calls and self.opened is not None:
            self.opened = None
            await self._context.__aexit__(None, None, None)


class RenewingSqsQueue(SqsQueue):
    """A queue whose calls survive the expiry of its credentials.

    A call that AWS refuses because the credentials have expired opens a client with a fresh session of the SDK, which
    reads the credentials again, and is repeated once. If they are still expired, it raises a transient ServiceError, so
    that every caller retries with its backoff. Calls that are running on the previous client can end there.
    """

    def __init__(
        self,
        queue: SqsQueue,
        client: _Client,
        open_sqs: Callable[[], AbstractAsyncContextManager[Any]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            client.opened,
            queue.url,
            dead_letter_queue_url=queue.dead_letter_queue_url,
            arn=queue.arn,
            visibility_timeout=queue.visibility_timeout,
        )
        self._current = client
        self._open_sqs = open_sqs
        self._clock = clock
        self._lock = asyncio.Lock()
        self._opened_at = -math.inf
        self._refused = 0
        """Calls that were refused since the credentials expired; 0 while they are valid."""

    async def refresh(self) -> None:
        """Open a client with a fresh session of the SDK for all later calls.

        Raises:
            ConfigurationError: If the SDK's settings are invalid.
        """
        client = _Client(self._open_sqs)
        await client.open()
        previous, self._current = self._current, client
        self._client = client.opened
        self._opened_at = self._clock()
        await previous.retire()

    async def close(self) -> None:
        """Close the client."""
        await self._current.retire()

    async def _call(self, operation: str, resource: str, **arguments: Any) -> Mapping[str, Any]:
        used = self._current
        try:
            return await self._call_on(used, operation, resource, arguments)
        except ConfigurationError as error:
            if not self._is_expiry(error):
                raise
            expiry = error
        try:
            if await self._refresh_once(used):
                return await self._call_on(self._current, operation, resource, arguments)
        except ConfigurationError as error:
            if not self._is_expiry(error):
                raise
            expiry = error
        raise ServiceError(str(expiry), code="ExpiredToken", transient=True) from expiry

    def _is_expiry(self, error: ConfigurationError) -> bool:
        """Return whether new credentials may fix an error; log the first one."""
        if not awaits_credentials(error):
            return False
        if not self._refused:
            logger.warning("%s; reading the credentials again until they are valid", error)
        self._refused += 1
        return True

    async def _call_on(
        self, client: _Client, operation: str, resource: str, arguments: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        client.calls += 1
        refused = self._refused
        try:
            response = await super()._call(operation, resource, **arguments)
        finally:
            client.calls -= 1
            await client.close_if_unused()
        if refused == self._refused:
            self._refused = 0  # otherwise, the call began before the expiry, as a long poll may
        return response

    async def _refresh_once(self, used: _Client) -> bool:
        """Make sure that there is a newer client than the one that was used; return False if it is too early for one.

        Calls that fail together share one new client.
        """
        async with self._lock:
            if self._current is used:
                if self._clock() - self._opened_at < REOPEN_SECONDS:
                    return False
                await self.refresh()
            return True
