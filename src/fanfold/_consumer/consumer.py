"""The consumer: settings and a handler, callable as a Lambda handler."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from fanfold._base.backoff import Backoff
from fanfold._base.callables import is_coroutine_function
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._base.outcome import BatchResponse, BatchResult
from fanfold._base.record import Event, Record, records_from_event
from fanfold._consumer.batch import Batch
from fanfold._consumer.binding import bind
from fanfold._consumer.classify import RejectOn
from fanfold._consumer.compose import Composer
from fanfold._consumer.environment import ExecutionEnvironment, open_environment
from fanfold._consumer.loop_thread import Lifespan, Runtime, deadline_of
from fanfold._consumer.process_limits import clamp_concurrency
from fanfold._consumer.respond import respond, run_batch
from fanfold._consumer.settings import CommitStage, Settings, allowed_concurrency, check_observer
from fanfold._consumer.settle import OpenSettler
from fanfold._consumer.xray import use_context_variables

if TYPE_CHECKING:  # a cold start pays for what it uses
    from fanfold._ports.payload_pointers import OpenStore
    from fanfold.idempotency import Idempotency
    from fanfold.observers import Observer

P = ParamSpec("P")
T = TypeVar("T")

DEAD_LETTER_VARIABLE = "FANFOLD_DEAD_LETTER_QUEUE_URL"


@dataclass(frozen=True, slots=True)
class ConsumerStats:
    """What runs in an execution environment; between batches, what is left of those that have been answered."""

    abandoned_handlers: int
    """Handlers that still run although their batch has been answered, on the event loop or on threads; while a batch
    is processed, its handlers too."""
    blocked_loops: int
    """Event loops that an invocation found blocked by a handler, and left behind."""


class Consumer(Generic[P, T]):
    """A Lambda handler that fans the records of an SQS batch out over a handler function.

    Made by ``fanfold.consumer``. Holds settings and the function; nothing of a batch is kept from one to the next but
    what the lifespan yielded.
    """

    def __init__(self, function: Callable[P, T], settings: Settings) -> None:
        self.function = function
        """The handler as it was written."""
        self.settings = settings
        """How this consumer works."""
        self._composer = Composer(function, settings, bind(function, chunk_size=settings.chunk_size))
        self._runtime = Runtime(
            functools.partial(open_environment, settings, self._dead_letter_queue),
            ExecutionEnvironment.abandoned_handlers,
        )
        self._on_threads = not is_coroutine_function(function)
        self._fits: dict[int, int] = {}
        self._added_observers: list[Observer] = []
        functools.update_wrapper(self, function)
        self.__signature__: inspect.Signature = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("event", "context")]
        )

    def __repr__(self) -> str:
        return (
            f"<fanfold.Consumer {getattr(self, '__qualname__', self.function)} concurrency={self.settings.concurrency}>"
        )

    @property
    def concurrency(self) -> int:
        """Handlers that run at once: the setting, or ``FANFOLD_CONCURRENCY`` from the environment.

        Raises:
            ConfigurationError: If the environment's value is no number from 1.
        """
        return allowed_concurrency(self.settings)

    def __call__(self, event: Event, context: Any) -> BatchResponse:
        """Handle a batch as Lambda's event source mapping delivers it, and return the partial batch response.

        Runs on the consumer's own event loop, on a thread of its own, and answers before the invocation's time is
        over, whatever the handlers do.

        Raises:
            EventError: If the event is not a batch of SQS records; nothing has run.
            TotalFailureError: If nothing was acknowledged and the settings ask for an error then.
            SystemExit: If too much that was abandoned piles up in this execution environment: Lambda starts a fresh
            one.
        """
        return self.invoke(event, context).response

    def invoke(self, event: Event, context: Any) -> BatchResult:
        """Handle a batch as calling the consumer does, and return how each record ended."""
        use_context_variables()
        deadline = deadline_of(context, self.settings.deadline_margin)
        begin = functools.partial(self._batch, records_from_event(event), context, deadline)
        return self._respond(run_batch(self._runtime, begin, deadline))

    async def process(self, event: Event, context: Any = None) -> BatchResult:
        """Handle a batch on the caller's event loop, and return how each record ended.

        The lifespan is entered and left in this call. Without a context there is no deadline. A handler that blocks
        the loop blocks the caller too: the guarantee to answer in time is ``__call__``'s.

        Raises:
            EventError: If the event is not a batch of SQS records; nothing has run.
            TotalFailureError: If nothing was acknowledged and the settings ask for an error then.
        """
        async with self.session() as process:
            return await process(event, context)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Enter the lifespan on the caller's event loop, and yield what handles batches in it, several at once."""
        async with open_environment(self.settings, self._dead_letter_queue) as environment:

            def begin(event: Event, context: Any) -> Batch:
                deadline = deadline_of(context, self.settings.deadline_margin)
                return self._batch(records_from_event(event), context, deadline, environment)

            yield Session(begin, self._respond, environment)

    async def handle_batch(self, event: Event, context: Any = None) -> BatchResponse:
        """Handle a batch on the caller's event loop, as ``process`` does, and return the response alone."""
        return (await self.process(event, context)).response

    def with_settings(self, **changes: Any) -> Consumer[P, T]:
        """Return a consumer of the same function with some settings changed.

        Raises:
            ConfigurationError: If a setting is unknown or its value impossible.
        """
        changed = Consumer(self.function, self.settings.changed(changes))
        changed._added_observers = list(self._added_observers)
        return changed

    def add_observer(self, observer: Observer) -> None:
        """Have an observer told of every batch from now on, as those in the settings are.

        Raises:
            ConfigurationError: If it is none.
        """
        self._added_observers.append(check_observer(observer))

    def close(self) -> None:
        """End the lifespan and the event loop; the next invocation starts new ones."""
        self._runtime.close()

    @property
    def stats(self) -> ConsumerStats:
        """What runs in this execution environment, and what is left of earlier batches."""
        return ConsumerStats(*self._runtime.abandoned())

    @property
    def dead_letter_queue_url(self) -> str:
        """Where rejected messages go: the setting, or ``FANFOLD_DEAD_LETTER_QUEUE_URL``; empty for nowhere."""
        url = self.settings.dead_letter_queue_url
        return os.environ.get(DEAD_LETTER_VARIABLE, "") if url is None else url

    def _dead_letter_queue(self) -> str:
        return self.dead_letter_queue_url

    def _batch(
        self, records: Sequence[Record], context: Any, deadline: Deadline, environment: ExecutionEnvironment
    ) -> Batch:
        return self._composer.batch(
            records,
            BatchContext(context, deadline, environment.state),
            environment,
            concurrency=self._fitting(self.concurrency),
            dead_letters=bool(self.dead_letter_queue_url),
            observers=[*self.settings.observers, *self._added_observers],
        )

    def _respond(self, batch: Batch) -> BatchResult:
        return respond(batch, raise_on_total_failure=self.settings.raise_on_total_failure)

    def _fitting(self, concurrency: int) -> int:
        """Return the concurrency that fits this process: looked up, and warned about, once for each."""
        if concurrency not in self._fits:
            self._fits[concurrency] = clamp_concurrency(concurrency, threads=self._on_threads)
        return self._fits[concurrency]


class Session:
    """Handles batches on the caller's event loop, within one lifespan; see ``Consumer.session``."""

    def __init__(
        self,
        begin: Callable[[Event, Any], Batch],
        end: Callable[[Batch], BatchResult],
        environment: ExecutionEnvironment,
    ) -> None:
        self._begin = begin
        self._end = end
        self._environment = environment
        self._running: set[Batch] = set()

    async def __call__(self, event: Event, context: Any = None) -> BatchResult:
        """Handle a batch, without a deadline if there is no context; raises what ``Consumer.process`` does."""
        batch = self._begin(event, context)
        self._running.add(batch)
        self._environment.track(batch)
        try:
            await batch.run()
        finally:
            self._running.discard(batch)
        return self._end(batch)

    def stop(self, grace_seconds: float) -> None:
        """Cancel, once, what the batches still run: they end as at a deadline, ``grace_seconds`` later at most."""
        for batch in self._running:
            batch.stop(grace_seconds)

    @property
    def abandoned_handlers(self) -> int:
        """Handlers that run although nothing waits for them: given up at a stop, or on threads after a timeout."""
        return self._environment.abandoned_handlers(self._running)


@overload
def consumer(function: Callable[P, T], /) -> Consumer[P, T]: ...
@overload
def consumer(
    *,
    concurrency: int = ...,
    timeout: float | None = ...,
    chunk_size: int | None = ...,
    backoff: Backoff | None = ...,
    reject_on: RejectOn | None = ...,
    dead_letter_queue_url: str | None = ...,
    raise_on_total_failure: bool = ...,
    starts_per_second: float | None = ...,
    memory_share: float | None = ...,
    deadline_margin: float | None = ...,
    lifespan: Lifespan | None = ...,
    large_payloads: bool | OpenStore = ...,
    idempotency: Idempotency | None = ...,
    commit: CommitStage | None = ...,
    settler: OpenSettler | None = ...,
    observers: Sequence[Observer] = ...,
) -> Callable[[Callable[P, T]], Consumer[P, T]]: ...
def consumer(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Make a Lambda handler for SQS batches out of a function that handles one message.

    The function takes the body, decoded by its annotation (none, ``dict``, ``list``, ``Any``: JSON; ``str``: the text
    as it is; ``Record``: the record itself; Powertools' ``SQSRecord``: that, another of its data classes: the event in
    the body; any other type: validated with pydantic), and the ``Context`` if it has a second parameter, one without a
    default.
    ``async def`` functions run as tasks on one event loop, plain functions on worker threads, under the same bound.

    Used bare, ``@consumer``, or with settings, ``@consumer(concurrency=100)``; see ``Settings`` for what they mean.

    Raises:
        ConfigurationError: If the function cannot be a handler, or a setting is unknown or impossible.
    """
    chosen = Settings().changed(settings)
    if function is not None:
        return Consumer(function, chosen)
    return lambda decorated: Consumer(decorated, chosen)
