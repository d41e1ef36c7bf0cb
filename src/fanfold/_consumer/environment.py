"""Resources of a consumer that last as long as its execution environment: lifespan, threads, and clients of AWS."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from fanfold._base.threads import Threads
from fanfold._consumer.settings import Settings
from fanfold.errors import MissingExtraError

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._consumer.admission import Admission
    from fanfold._consumer.process_pool import ProcessPool
    from fanfold._consumer.resources import OpenOnce
    from fanfold._consumer.settle import OpenSettler
    from fanfold._ports.breakers import BreakerTable
    from fanfold._ports.idempotency import EntryStore
    from fanfold._ports.mappings import Mappings
    from fanfold._ports.payload_pointers import OpenStore
    from fanfold._ports.queue import Queue, Settler
    from fanfold._ports.stores import Store

T = TypeVar("T")


class RunningBatch(Protocol):
    """A batch whose handlers may still run after its response."""

    @property
    def has_ended(self) -> bool:
        """True once the response is known and no handler runs."""
        ...

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
        open_once: OpenOnce,
    ) -> None:
        self.state = state
        """The value that the lifespan yielded; None without a lifespan."""
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        """The event loop of the lifespan, the clients, and the batches."""
        self.threads = threads
        """Worker threads for ``def`` handlers."""
        self.settler = settler
        """Returns the settler, which the first call opens."""
        self.payloads = payloads
        """Returns the store of large payloads, which the first call opens."""
        self.entries = entries
        """Returns the store of idempotency entries, which the first call opens."""
        self.open_once = open_once
        """Returns a function that opens a resource at its first call, and returns it at every call."""
        self.breakers: Any = None
        """The breakers of the consumer; None until the first batch, and in a process without any."""
        self._pools: dict[object, ProcessPool] = {}
        self._batches: list[RunningBatch] = []
        self._admissions: dict[object, Admission] = {}

    def admission(self, key: object, create: Callable[[], Admission]) -> Admission:
        """Return the limits that the batches with this key share; the first one creates them."""
        if key not in self._admissions:
            self._admissions.setdefault(key, create())  # another thread may have been faster
        return self._admissions[key]

    @property
    def pool(self) -> ProcessPool | None:
        """The worker processes of the consumer; None until the first batch starts them."""
        return self._pools.get(None)

    def processes(self, create: Callable[[], ProcessPool], key: object = None) -> ProcessPool:
        """Return the worker processes of the consumer, or of another handler; the first batch starts them.

        Args:
            create: Starts them.
            key: The handler; None for that of the consumer.
        """
        if key not in self._pools:
            self._pools[key] = create()
        return self._pools[key]

    def open_mappings(self) -> Callable[[], Awaitable[Mappings]]:
        """Return a function that opens what enables and disables event source mappings, at its first call."""
        return self.open_once(_open_mappings, "mappings")

    def open_queue(self, url: str) -> Callable[[], Awaitable[Queue]]:
        """Return a function that opens a queue to send to at its first call, and returns it at every call."""
        return self.open_once(lambda: _open_queue(url), "sqs")

    def open_table(self, name: str) -> Callable[[], Awaitable[BreakerTable]]:
        """Return a function that opens the table of breakers at its first call, and returns it at every call."""
        return self.open_once(lambda: _open_breakers(name), "breakers")

    def keep_breakers(self, create: Callable[[], T]) -> T:
        """Return the breakers of the consumer; the first batch creates them."""
        if self.breakers is None:
            self.breakers = create()
        return cast("T", self.breakers)

    def close(self) -> None:
        """End the worker processes."""
        for pool in self._pools.values():
            pool.close()

    def track(self, batch: RunningBatch) -> None:
        """Add a batch that has handlers left at its response, and remove those whose handlers have all ended."""
        self._batches = [*(tracked for tracked in self._batches if not tracked.has_ended), batch]

    def abandoned_handlers(self) -> int:
        """Return the number of handlers that still run, on the event loop or on threads, after their batch's response.

        A ``def`` handler that was just abandoned has both a thread and a worker; it is counted once.
        """
        on_threads = len(self.threads.left) + getattr(self.state, "abandoned_threads", 0)  # those of a job's handlers
        return max(on_threads, sum(batch.abandoned for batch in self._batches)) if self._batches else on_threads


@asynccontextmanager
async def open_environment(
    settings: Settings, dead_letter_queue_url: Callable[[], str]
) -> AsyncIterator[ExecutionEnvironment]:
    """Yield the resources that the batches of one execution environment share, and close them at the end."""
    threads = Threads(asyncio.get_running_loop())
    async with AsyncExitStack() as stack:
        stack.callback(threads.close)
        settler = settings.settler or _OpenOnce(stack, threads, lambda: _open_sqs(dead_letter_queue_url()), "sqs")
        if (open_payloads := _custom_payloads(settings)) is None:
            payloads = _OpenOnce(stack, threads, _open_s3, "s3")
        else:
            payloads = _OpenOnce(stack, threads, open_payloads)
        entries = _OpenOnce(stack, threads, lambda: _open_entries(settings), _entries_adapter(settings))
        lifespan = settings.lifespan if settings.processes is None else None  # each process enters it
        state = None if lifespan is None else await stack.enter_async_context(lifespan())
        open_once = functools.partial(_OpenOnce[Any], stack, threads)
        environment = ExecutionEnvironment(state, threads, settler, payloads, entries, open_once)
        stack.callback(environment.close)
        yield environment


def preload(settings: Settings, dead_letter_queue_url: str) -> None:
    """Import what the settings will need of the SDK: during Lambda's init phase, which has full CPU.

    Otherwise, the first record that fails, or has a large payload, would wait for it.
    """
    adapters = [_entries_adapter(settings)]
    has_breaker = settings.breaker is not None
    if settings.settler is None and (settings.backoff is not None or dead_letter_queue_url or has_breaker):
        adapters.append("sqs")
    if has_breaker:
        adapters.append("breakers")
    if settings.large_payloads and _custom_payloads(settings) is None:
        adapters.append("s3")
    for adapter in filter(None, adapters):
        _import_adapter(adapter)
        _prepare_client(_SERVICES[adapter])


_SERVICES = {"breakers": "dynamodb", "entries": "dynamodb", "s3": "s3", "sqs": "sqs"}


def _custom_payloads(settings: Settings) -> OpenStore | None:
    """Return the user's function that opens the store of large payloads; None for S3."""
    setting = settings.large_payloads
    return setting if callable(setting) else getattr(setting, "open_store", None)


def _entries_adapter(settings: Settings) -> str | None:
    return "entries" if settings.idempotency is not None and settings.idempotency.open_entries is None else None


def _import_adapter(name: str) -> None:
    with contextlib.suppress(ModuleNotFoundError):  # without the extra, opening the resource raises a clear error
        importlib.import_module(f"fanfold.aws.{name}")


def _prepare_client(service: str) -> None:
    try:
        from fanfold.aws.clients import prepare
    except ModuleNotFoundError:
        return
    thread = threading.Thread(target=prepare, args=(service,), daemon=True)  # a thread without an event loop
    thread.start()
    thread.join()


class _OpenOnce(Generic[T]):
    """Opens a resource at the first call, because a client takes time to open and most batches need none.

    Args:
        stack: Closes the resource.
        threads: Imports the adapter, so that handlers continue meanwhile.
        open_resource: Opens the resource, on the event loop.
        adapter: The module of ``fanfold.aws`` that it needs, if it is fanfold's.
    """

    def __init__(
        self,
        stack: AsyncExitStack,
        threads: Threads,
        open_resource: Callable[[], AbstractAsyncContextManager[T]],
        adapter: str | None = None,
    ) -> None:
        self._stack = stack
        self._threads = threads
        self._adapter = adapter
        self._open = open_resource
        self._lock = asyncio.Lock()
        self._opened: list[T] = []

    async def __call__(self) -> T:
        async with self._lock:
            if not self._opened:
                if self._adapter is not None:
                    await self._threads.run(_import_adapter, self._adapter)
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


def _open_mappings() -> AbstractAsyncContextManager[Mappings]:
    from fanfold.aws.mappings import open_mappings

    return open_mappings()


def _open_queue(url: str) -> AbstractAsyncContextManager[Queue]:
    from fanfold.aws.sqs import open_sender

    return open_sender(url)


def _open_breakers(table: str) -> AbstractAsyncContextManager[BreakerTable]:
    try:
        from fanfold.aws.breakers import open_breakers
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "the table of a breaker") from error
    return open_breakers(table)
