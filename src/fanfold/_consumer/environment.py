"""What a consumer keeps for its execution environment: the lifespan's value, threads, and a settler when needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from fanfold._base.threads import Threads
from fanfold._consumer.settings import Settings
from fanfold._consumer.settle import OpenSettler
from fanfold.errors import MissingExtraError

if TYPE_CHECKING:  # a cold start pays for what it uses
    from fanfold._ports.idempotency import EntryStore
    from fanfold._ports.queue import Settler
    from fanfold._ports.stores import Store

T = TypeVar("T")


class RunningBatch(Protocol):
    """Work that may go on after its batch was answered."""

    @property
    def abandoned(self) -> int:
        """Handlers that are still running."""
        ...


class ExecutionEnvironment:
    """What the batches of one execution environment share."""

    def __init__(
        self,
        state: Any,
        threads: Threads,
        settler: OpenSettler,
        payloads: Callable[[], Awaitable[Store]],
        entries: Callable[[], Awaitable[EntryStore]],
    ) -> None:
        self.state = state
        """What the lifespan yielded; None without one."""
        self.threads = threads
        """Worker threads for plain handlers."""
        self.settler = settler
        """Gives the settler, opened at the first call."""
        self.payloads = payloads
        """Gives the store of large payloads, opened at the first call."""
        self.entries = entries
        """Gives the entries of idempotency, opened at the first call."""
        self._batches: list[RunningBatch] = []

    def track(self, batch: RunningBatch) -> None:
        """Take note of a batch, and forget those of which nothing is left."""
        self._batches = [*(each for each in self._batches if each.abandoned), batch]

    def abandoned_handlers(self, running: Collection[RunningBatch] = ()) -> int:
        """Return how many handlers of answered batches, all but those still running, go on: on the loop or on threads.

        A plain handler that was just abandoned shows as a thread and as a worker: it is counted once.
        """
        return max(self.threads.abandoned, sum(each.abandoned for each in self._batches if each not in running))


@asynccontextmanager
async def open_environment(
    settings: Settings, dead_letter_queue_url: Callable[[], str]
) -> AsyncIterator[ExecutionEnvironment]:
    """Yield what the batches of one execution environment share, and close it at the end."""
    threads = Threads()
    async with AsyncExitStack() as stack:
        stack.callback(threads.close)
        settler = settings.settler or _OnDemand(stack, lambda: _on_sqs(dead_letter_queue_url()))
        large = settings.large_payloads
        payloads = _OnDemand(stack, _on_s3 if isinstance(large, bool) else large)
        entries = _OnDemand(stack, lambda: _entries(settings))
        state = None if settings.lifespan is None else await stack.enter_async_context(settings.lifespan())
        yield ExecutionEnvironment(state, threads, settler, payloads, entries)


class _OnDemand(Generic[T]):
    """Opens something at the first call: a client costs time that most batches need not spend."""

    def __init__(self, stack: AsyncExitStack, opening: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._stack = stack
        self._opening = opening
        self._lock = asyncio.Lock()
        self._opened: list[T] = []

    async def __call__(self) -> T:
        async with self._lock:
            if not self._opened:
                self._opened.append(await self._stack.enter_async_context(self._opening()))
        return self._opened[0]


def _on_sqs(dead_letter_queue_url: str) -> AbstractAsyncContextManager[Settler]:
    try:
        from fanfold.aws.sqs import open_settler
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "delays and dead letters") from error
    return open_settler(dead_letter_queue_url)


def _on_s3() -> AbstractAsyncContextManager[Store]:
    try:
        from fanfold.aws.s3 import open_s3
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "large payloads") from error
    return open_s3()


def _entries(settings: Settings) -> AbstractAsyncContextManager[EntryStore]:
    idempotency = settings.idempotency
    assert idempotency is not None  # noqa: S101 - asked for by records of a consumer that has it
    if idempotency.open_entries is not None:
        return idempotency.open_entries()
    table = idempotency.table
    try:
        from fanfold.aws.entries import open_entries
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "idempotency") from error
    return open_entries(table, idempotency.layout)
