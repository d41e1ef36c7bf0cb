"""Resources of a consumer that last as long as its execution environment: lifespan, threads, and clients of AWS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from fanfold._base.threads import Threads
from fanfold._consumer.settings import Settings
from fanfold._consumer.settle import OpenSettler
from fanfold.errors import MissingExtraError

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._ports.idempotency import EntryStore
    from fanfold._ports.queue import Settler
    from fanfold._ports.stores import Store

T = TypeVar("T")


class RunningBatch(Protocol):
    """A batch whose handlers may still run after its response."""

    @property
    def abandoned(self) -> int:
        """Number of handlers that still run."""
        ...


class ExecutionEnvironment:
    """Resources that the batches of one execution environment share."""

    def __init__(
        self,
        state: Any,
        threads: Threads,
        settler: OpenSettler,
        payloads: Callable[[], Awaitable[Store]],
        entries: Callable[[], Awaitable[EntryStore]],
    ) -> None:
        self.state = state
        """The value that the lifespan yielded; None without a lifespan."""
        self.threads = threads
        """Worker threads for ``def`` handlers."""
        self.settler = settler
        """Returns the settler, which the first call opens."""
        self.payloads = payloads
        """Returns the store of large payloads, which the first call opens."""
        self.entries = entries
        """Returns the store of idempotency entries, which the first call opens."""
        self._batches: list[RunningBatch] = []

    def track(self, batch: RunningBatch) -> None:
        """Add a batch, and remove those whose handlers have all ended."""
        self._batches = [*(tracked for tracked in self._batches if tracked.abandoned), batch]

    def abandoned_handlers(self, running: Collection[RunningBatch] = ()) -> int:
        """Return the number of handlers that still run, on the event loop or on threads, after their batch's response.

        A ``def`` handler that was just abandoned has both a thread and a worker; it is counted once.

        Args:
            running: Batches to leave out, because their response is not due yet.
        """
        workers = sum(batch.abandoned for batch in self._batches if batch not in running)
        return max(self.threads.abandoned, workers)


@asynccontextmanager
async def open_environment(
    settings: Settings, dead_letter_queue_url: Callable[[], str]
) -> AsyncIterator[ExecutionEnvironment]:
    """Yield the resources that the batches of one execution environment share, and close them at the end."""
    threads = Threads()
    async with AsyncExitStack() as stack:
        stack.callback(threads.close)
        settler = settings.settler or _OpenOnce(stack, lambda: _open_sqs(dead_letter_queue_url()))
        large_payloads = settings.large_payloads
        payloads = _OpenOnce(stack, _open_s3 if isinstance(large_payloads, bool) else large_payloads)
        entries = _OpenOnce(stack, lambda: _open_entries(settings))
        state = None if settings.lifespan is None else await stack.enter_async_context(settings.lifespan())
        yield ExecutionEnvironment(state, threads, settler, payloads, entries)


class _OpenOnce(Generic[T]):
    """Opens a resource at the first call, because a client takes time to open and most batches need none."""

    def __init__(self, stack: AsyncExitStack, open_resource: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._stack = stack
        self._open = open_resource
        self._lock = asyncio.Lock()
        self._opened: list[T] = []

    async def __call__(self) -> T:
        async with self._lock:
            if not self._opened:
                self._opened.append(await self._stack.enter_async_context(self._open()))
        return self._opened[0]


def _open_sqs(dead_letter_queue_url: str) -> AbstractAsyncContextManager[Settler]:
    try:
        from fanfold.aws.sqs import open_settler
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "settling messages (delays, dead letters)") from error
    return open_settler(dead_letter_queue_url)


def _open_s3() -> AbstractAsyncContextManager[Store]:
    try:
        from fanfold.aws.s3 import open_s3
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "large_payloads") from error
    return open_s3()


def _open_entries(settings: Settings) -> AbstractAsyncContextManager[EntryStore]:
    idempotency = settings.idempotency
    assert idempotency is not None  # noqa: S101 - called only with this setting
    if idempotency.open_entries is not None:
        return idempotency.open_entries()
    table = idempotency.table
    try:
        from fanfold.aws.entries import open_entries
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "idempotency") from error
    return open_entries(table, idempotency.layout)
