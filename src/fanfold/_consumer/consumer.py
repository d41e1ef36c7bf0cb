"""The consumer: settings and a handler function, callable as a Lambda handler."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

from fanfold._base.callables import find_layer, is_coroutine_function
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._base.frozen import Value, put
from fanfold._base.outcome import BatchResponse, BatchResult
from fanfold._base.record import Event, Record, TenantOf, records_from_event
from fanfold._consumer.batch import Batch
from fanfold._consumer.binding import bind
from fanfold._consumer.compose import BatchFactory
from fanfold._consumer.environment import ExecutionEnvironment, open_environment, preload
from fanfold._consumer.handler_names import note
from fanfold._consumer.loop_thread import Runtime, deadline_of
from fanfold._consumer.process_limits import clamp_concurrency
from fanfold._consumer.respond import INVOKE, not_started, respond, run_and_respond
from fanfold._consumer.settings import CommitStage, Settings, adjusting_concurrency, allowed_concurrency, check_observer
from fanfold._consumer.xray import use_context_variables
from fanfold.errors import ConfigurationError

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._base.backoff import Backoff
    from fanfold._breakers.breaker import Breaker
    from fanfold._consumer.classify import RejectOn
    from fanfold._consumer.loop_thread import Lifespan
    from fanfold._consumer.settings import Concurrency
    from fanfold._consumer.settle import OpenSettler
    from fanfold._ports.payload_pointers import LargePayloads, OpenStore
    from fanfold.idempotency import Idempotency
    from fanfold.observers import Observer

P = ParamSpec("P")
T = TypeVar("T")

DEAD_LETTER_VARIABLE = "FANFOLD_DEAD_LETTER_QUEUE_URL"


class ConsumerStats(Value):
    """Handlers and event loops that still run in an execution environment after the response to their batch."""

    __slots__ = ("abandoned_handlers", "blocked_loops")

    abandoned_handlers: int
    """Handlers that still run, on the event loop or on threads, after the response to their batch."""
    blocked_loops: int
    """Event loops that a handler blocked and that were therefore replaced."""

    def __init__(self, abandoned_handlers: int, blocked_loops: int) -> None:
        put(self, "abandoned_handlers", abandoned_handlers)
        put(self, "blocked_loops", blocked_loops)


class Consumer(Generic[P, T]):
    """A Lambda handler that calls a handler function concurrently for the records of an SQS batch.

    Created by ``fanfold.consumer``. A consumer keeps no state between batches except the value of its lifespan.
    """

    def __init__(self, function: Callable[P, T], settings: Settings) -> None:
        _check_not_a_consumer(function)
        functools.update_wrapper(self, function, updated=())
        # Attributes that decorators set on the function, except those whose names mean something else here.
        vars(self).update({name: value for name, value in _attributes(function) if not hasattr(Consumer, name)})
        self.function = function
        """The handler function, undecorated."""
        self.settings = settings
        """The settings of this consumer."""
        note(function)
        self._batches = BatchFactory(function, settings, bind(function, chunk_size=settings.chunk_size))
        self._runtime = Runtime(
            functools.partial(open_environment, settings, self._dead_letter_queue),
            ExecutionEnvironment.abandoned_handlers,
        )
        self._on_threads = not is_coroutine_function(function)
        self._added_observers: list[Observer] = []
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            preload(settings, self.dead_letter_queue_url)
            if self._batches.processes is not None:
                self._batches.processes.start()
        self.__signature__: inspect.Signature = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("event", "context")]
        )

    def __repr__(self) -> str:
        return (
            f"<fanfold.Consumer {getattr(self, '__qualname__', self.function)} concurrency={self.settings.concurrency}>"
        )

    @property
    def concurrency(self) -> int:
        """Maximum number of handlers that run concurrently: ``FANFOLD_CONCURRENCY`` if it is set, or the setting.

        If it adjusts itself, this is the highest limit; with worker processes, their number.

        Raises:
            ConfigurationError: If ``FANFOLD_CONCURRENCY`` is neither an integer of at least 1 nor ``auto``.
        """
        processes = self._batches.processes
        return allowed_concurrency(self.settings) if processes is None else processes.count

    def __call__(self, event: Event, context: Any) -> BatchResponse:
        """Process a batch from Lambda's event source mapping, and return the partial batch response.

        The handlers run on the consumer's event loop, which has a separate thread, so the response is returned before
        the invocation times out even if a handler blocks the event loop.

        Raises:
            EventError: If the event is not a batch of SQS records. No handler has run.
            TotalFailureError: If no record was acknowledged and ``raise_on_total_failure`` is set.
            SystemExit: If too many abandoned handlers or blocked event loops still run in this execution environment.
                Lambda then starts a new one. On Lambda Managed Instances, which would not replace the process, the
                batch runs on a new event loop instead.
        """
        return self._invoke(event, context, reads_outcomes=False).response

    def invoke(self, event: Event, context: Any) -> BatchResult:
        """Process a batch as ``__call__`` does, and return the outcome of each record."""
        return self._invoke(event, context, reads_outcomes=True)

    def _invoke(self, event: Event, context: Any, *, reads_outcomes: bool) -> BatchResult:
        if (invoke := INVOKE.get()) is not None:
            return invoke(self, event, context)
        use_context_variables()
        if self.settings.breaker is not None:
            from fanfold._breakers.ticks import with_watch  # not imported at cold start

            event = with_watch(event)
        deadline = deadline_of(context, self.settings.deadline_margin)
        records, raises = records_from_event(event), self.settings.raise_on_total_failure
        if deadline.remaining() == 0:
            return not_started(records, "the invocation had no time left", raise_on_total_failure=raises)
        create_batch = functools.partial(self._batch, records, context, deadline, reads_outcomes=reads_outcomes)
        on_loop = self._added_observers or not self._batches.starts_anywhere
        return run_and_respond(
            self._runtime, create_batch, deadline, on_loop=bool(on_loop), raise_on_total_failure=raises
        )

    async def process(self, event: Event, context: Any = None) -> BatchResult:
        """Process a batch on the caller's event loop, and return the outcome of each record.

        This call enters and exits the lifespan. Without a context, the deadline is infinite. A handler that blocks the
        event loop also blocks the caller: only ``__call__`` and ``invoke`` guarantee a response before the timeout.

        Raises:
            EventError: If the event is not a batch of SQS records. No handler has run.
            TotalFailureError: If no record was acknowledged and ``raise_on_total_failure`` is set.
        """
        async with self.session() as process:
            return await process(event, context)

    def session(self) -> AbstractAsyncContextManager[Session]:
        """Enter the lifespan on the caller's event loop, and yield a session that can process batches concurrently."""
        return self._session(reads_outcomes=True)

    @asynccontextmanager
    async def _session(self, *, reads_outcomes: bool) -> AsyncIterator[Session]:
        async with open_environment(self.settings, self._dead_letter_queue) as environment:

            def create_batch(event: Event, context: Any, deadline: Deadline | None = None) -> Batch:
                deadline = deadline or deadline_of(context, self.settings.deadline_margin)
                records = records_from_event(event)
                return self._batch(
                    records,
                    context,
                    deadline,
                    environment,
                    shares_concurrency=False,
                    reads_outcomes=reads_outcomes,
                )

            yield Session(create_batch, self._respond, environment)

    async def handle_batch(self, event: Event, context: Any = None) -> BatchResponse:
        """Process a batch on the caller's event loop, as ``process`` does, and return only the batch response."""
        async with self._session(reads_outcomes=False) as process:
            return (await process(event, context)).response

    def with_settings(self, **changes: Any) -> Consumer[P, T]:
        """Return a consumer of the same function with some settings changed.

        Raises:
            ConfigurationError: If a setting is unknown or its value is invalid.
        """
        changed = Consumer(self.function, self.settings.changed(changes))
        changed._added_observers = list(self._added_observers)
        return changed

    def with_function(self, function: Callable[..., T]) -> Consumer[..., T]:
        """Return a consumer of another function with the same settings and observers.

        Raises:
            ConfigurationError: If the function cannot be a handler.
        """
        changed = Consumer(function, self.settings)
        changed._added_observers = list(self._added_observers)
        return changed

    def add_observer(self, observer: Observer) -> None:
        """Notify an observer of every batch from now on, in addition to the observers in the settings.

        Raises:
            ConfigurationError: If it is not an observer.
        """
        self._added_observers.append(check_observer(observer))

    def close(self) -> None:
        """End the lifespan, the event loop and worker processes; the next invocation starts new ones."""
        self._runtime.close()
        if self._batches.processes is not None:
            self._batches.processes.close()

    @property
    def stats(self) -> ConsumerStats:
        """Abandoned handlers and blocked event loops of this execution environment."""
        return ConsumerStats(*self._runtime.abandoned())

    @property
    def dead_letter_queue_url(self) -> str:
        """URL of the dead-letter queue: the setting, or ``FANFOLD_DEAD_LETTER_QUEUE_URL``; empty for none."""
        url = self.settings.dead_letter_queue_url
        return os.environ.get(DEAD_LETTER_VARIABLE, "") if url is None else url

    def _dead_letter_queue(self) -> str:
        return self.dead_letter_queue_url

    def _batch(
        self,
        records: Sequence[Record],
        context: Any,
        deadline: Deadline,
        environment: ExecutionEnvironment,
        *,
        reads_outcomes: bool,
        shares_concurrency: bool = True,
    ) -> Batch:
        return self._batches.create(
            records,
            BatchContext(context, deadline, environment.state),
            environment,
            concurrency=self._allowed_concurrency,
            shares_concurrency=shares_concurrency,
            dead_letters=self._has_dead_letter_queue,
            observers=[*self.settings.observers, *self._added_observers],
            reads_outcomes=reads_outcomes,
        )

    def _respond(self, batch: Batch) -> BatchResult:
        return respond(batch, raise_on_total_failure=self.settings.raise_on_total_failure)

    @functools.cached_property
    def _allowed_concurrency(self) -> int:
        """The concurrency that the limits of this process allow; read, checked, and logged at the first batch."""
        if self._batches.processes is not None:
            return self._batches.processes.records
        is_fixed = adjusting_concurrency(self.settings) is None
        return clamp_concurrency(self.concurrency, threads=self._on_threads, warns=is_fixed)

    @functools.cached_property
    def _has_dead_letter_queue(self) -> bool:
        """True if there is a dead-letter queue at the first batch."""
        return bool(self.dead_letter_queue_url)


class Session:
    """Processes batches on the caller's event loop, within one lifespan; see ``Consumer.session``."""

    def __init__(
        self,
        create_batch: Callable[[Event, Any, Deadline | None], Batch],
        respond: Callable[[Batch], BatchResult],
        environment: ExecutionEnvironment,
    ) -> None:
        self._create_batch = create_batch
        self._respond = respond
        self._environment = environment
        self._running: set[Batch] = set()

    async def __call__(self, event: Event, context: Any = None, *, deadline: Deadline | None = None) -> BatchResult:
        """Process a batch. Raises the errors of ``Consumer.process``.

        Args:
            event: The batch.
            context: The Lambda context; without one, the deadline is infinite.
            deadline: The deadline to use in place of the context's: one with another clock, in a simulation.
        """
        batch = self._create_batch(event, context, deadline)
        self._running.add(batch)
        try:
            await batch.run()
        finally:
            self._running.discard(batch)
            if not batch.has_ended:
                self._environment.track(batch)
        return self._respond(batch)

    def stop(self, grace_seconds: float) -> None:
        """Cancel the running handlers once; the batches end as at a deadline, within ``grace_seconds``."""
        for batch in self._running:
            batch.stop(grace_seconds)

    @property
    def abandoned_handlers(self) -> int:
        """Handlers that still run but are no longer waited for: abandoned at a stop, or on threads after a timeout."""
        return self._environment.abandoned_handlers()


def _attributes(function: Any) -> list[tuple[str, Any]]:
    return list(getattr(function, "__dict__", {}).items())


def _check_not_a_consumer(function: Any) -> None:
    """Refuse a consumer, or a function that wraps one: only one of the two settings could apply.

    Raises:
        ConfigurationError: If it is one.
    """
    if find_layer(function, Consumer) is not None:
        name = getattr(function, "__qualname__", repr(function))
        raise ConfigurationError(f"{name} is already a consumer; change its settings with with_settings(…)")


@overload
def consumer(function: Callable[P, T], /) -> Consumer[P, T]: ...
@overload
def consumer(
    *,
    concurrency: Concurrency = ...,
    timeout: float | None = ...,
    chunk_size: int | None = ...,
    processes: int | Literal["auto"] | None = ...,
    max_tasks_per_process: int | None = ...,
    backoff: Backoff | None = ...,
    breaker: Breaker | Sequence[Breaker] | None = ...,
    reject_on: RejectOn | None = ...,
    dead_letter_queue_url: str | None = ...,
    raise_on_total_failure: bool = ...,
    fair: bool = ...,
    tenant: str | TenantOf | None = ...,
    tenant_concurrency: int | None = ...,
    starts_per_second: float | None = ...,
    memory_share: float | None = ...,
    deadline_margin: float | None = ...,
    lifespan: Lifespan | None = ...,
    large_payloads: bool | OpenStore | LargePayloads = ...,
    idempotency: Idempotency | None = ...,
    commit: CommitStage | None = ...,
    settler: OpenSettler | None = ...,
    observers: Sequence[Observer] = ...,
) -> Callable[[Callable[P, T]], Consumer[P, T]]: ...
def consumer(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Turn a function that handles one message into a Lambda handler for SQS batches.

    The function takes the body, decoded by its annotation, and the ``Context`` if it has a second parameter without a
    default. An ``async def`` function runs as a task on one event loop, a ``def`` function on a worker thread, or, with
    ``processes``, in a worker process; the concurrency limit is the same.

    - No annotation, ``dict``, ``list``, ``Any``: the body as JSON.
    - ``str``: the body as is.
    - ``Record``: the record.
    - ``SQSRecord`` of Powertools: the record as this class; another of its data classes: the event in the body.
    - ``msgspec.Struct``, or a union or a container of structs: the body, decoded with msgspec.
    - Any other type: the body, validated with pydantic.

    Use it as ``@consumer`` or with settings as ``@consumer(concurrency=100)``; ``Settings`` documents them.

    Raises:
        ConfigurationError: If the function cannot be a handler, or a setting is unknown or invalid.
    """
    checked = Settings().changed(settings)
    if function is not None:
        return Consumer(function, checked)
    return lambda decorated: Consumer(decorated, checked)
