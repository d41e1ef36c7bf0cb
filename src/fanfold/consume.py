"""The consumer: settings and a handler, callable as a Lambda handler."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, overload

from fanfold.binding import Bind, bind
from fanfold.context import BatchContext
from fanfold.engine import Batch
from fanfold.errors import ConfigurationError
from fanfold.outcome import BatchResponse, BatchResult, Done
from fanfold.record import Event, Record, records_from_event
from fanfold.response import partial_response
from fanfold.runtime import Lifespan, Runtime, deadline_of
from fanfold.threads import Threads

__all__ = ["Consumer", "Settings", "consumer"]

logger = logging.getLogger("fanfold")

P = ParamSpec("P")
T = TypeVar("T")

CommitStage: TypeAlias = Callable[[Sequence[tuple[Record, Any]], BatchContext[Any]], Awaitable[Collection[int]]]
"""Makes durable what handlers returned, before the messages are acknowledged: given (record, value) pairs and what
the batch shares, returns the positions of those it made durable. What it leaves out, or loses by raising, comes back.
"""

CONCURRENCY_VARIABLE = "FANFOLD_CONCURRENCY"


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How a consumer works."""

    concurrency: int = 10
    """Handlers that run at once in one sandbox, from 1. ``FANFOLD_CONCURRENCY`` in the environment overrides it."""
    deadline_margin: float | None = None
    """Seconds before the end of the invocation in which no further record starts; what still runs is cancelled when
    half of it is left. None for 5 % of the time given, at least 1 second, at most half of it."""
    lifespan: Lifespan | None = None
    """Makes what the handlers share, as an async context manager: entered at the first invocation, kept for the
    sandbox's life, given as ``ctx.state``."""
    commit: CommitStage | None = None
    """What has to be durable before an acknowledgement; None for nothing."""

    def __post_init__(self) -> None:
        _check_concurrency(self.concurrency, "concurrency")
        margin = self.deadline_margin
        if margin is not None and not (isinstance(margin, int | float) and margin >= 0):
            raise ConfigurationError(f"deadline_margin must be 0 seconds or more, or None, not {margin!r}")
        for name in ("lifespan", "commit"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise ConfigurationError(f"{name} must be callable, not {value!r}")


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
        self._bind: Bind = bind(function)
        self._runtime = Runtime(_with_threads(settings.lifespan))
        functools.update_wrapper(self, function)
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("event", "context")]
        )

    def __repr__(self) -> str:
        return f"<fanfold.Consumer {getattr(self, '__qualname__', self.function)} concurrency={self.concurrency}>"

    @property
    def concurrency(self) -> int:
        """Handlers that run at once: the setting, or ``FANFOLD_CONCURRENCY`` from the environment.

        Raises:
            ConfigurationError: If the environment's value is no number from 1.
        """
        text = os.environ.get(CONCURRENCY_VARIABLE)
        if not text:
            return self.settings.concurrency
        return _check_concurrency(int(text) if text.strip().isdecimal() else text, CONCURRENCY_VARIABLE)

    def __call__(self, event: Event, context: Any) -> BatchResponse:
        """Handle a batch as Lambda's event source mapping delivers it, and return the partial batch response.

        Runs on the consumer's own event loop, on a thread of its own, and answers before the invocation's time is
        over, whatever the handlers do.

        Raises:
            EventError: If the event is not a batch of SQS records; nothing has run.
        """
        return self.invoke(event, context).response

    async def process(self, event: Event, context: Any = None) -> BatchResult:
        """Handle a batch on the caller's event loop, and return how each record ended.

        The lifespan is entered and left in this call. Without a context there is no deadline. A handler that blocks
        the loop blocks the caller too: the guarantee to answer in time is ``__call__``'s.

        Raises:
            EventError: If the event is not a batch of SQS records; nothing has run.
        """
        deadline = deadline_of(context, self.settings.deadline_margin)
        records = records_from_event(event)
        async with _with_threads(self.settings.lifespan)() as (state, threads):
            batch = self._batch(records, BatchContext(context, deadline, state), threads)
            await batch.run()
            return _result(batch)

    async def handle_batch(self, event: Event, context: Any = None) -> BatchResponse:
        """Handle a batch on the caller's event loop, as ``process`` does, and return the response alone."""
        return (await self.process(event, context)).response

    def with_settings(self, **changes: Any) -> Consumer[P, T]:
        """Return a consumer of the same function with some settings changed.

        Raises:
            ConfigurationError: If a setting is unknown or its value impossible.
        """
        return Consumer(self.function, _settings(self.settings, changes))

    def close(self) -> None:
        """End the lifespan and the event loop; the next invocation starts new ones."""
        self._runtime.close()

    def invoke(self, event: Event, context: Any) -> BatchResult:
        """Handle a batch as calling the consumer does, and return how each record ended."""
        deadline = deadline_of(context, self.settings.deadline_margin)
        records = records_from_event(event)
        started: list[Batch] = []

        async def work(shared: tuple[Any, Threads]) -> None:
            state, threads = shared
            batch = self._batch(records, BatchContext(context, deadline, state), threads)
            started.append(batch)
            await batch.run()

        try:
            self._runtime.run(work, deadline)
        except TimeoutError:
            if not started:
                raise
            logger.error("the event loop is blocked; the answer is made from what is known by now")  # noqa: TRY400
        return _result(started[0])

    def _batch(self, records: Sequence[Record], batch: BatchContext[Any], threads: Threads) -> Batch:
        commit = self.settings.commit
        return Batch(
            records,
            self._bind(batch, threads),
            concurrency=self.concurrency,
            deadline=batch.deadline,
            commit=None if commit is None else lambda done: commit(done, batch),
        )


def _result(batch: Batch) -> BatchResult:
    if batch.interrupt is not None:
        raise batch.interrupt
    outcomes = batch.outcomes()
    batch.failures.write(logger)
    done = sum(isinstance(outcome, Done) for outcome in outcomes)
    logger.info("batch of %d: %d done, %d come back", len(outcomes), done, len(outcomes) - done)
    if batch.abandoned:
        logger.warning("%d handlers were still running when the answer was given", batch.abandoned)
    return BatchResult(batch.records, outcomes, partial_response(batch.records, outcomes))


@overload
def consumer(function: Callable[P, T], /) -> Consumer[P, T]: ...
@overload
def consumer(
    *,
    concurrency: int = ...,
    deadline_margin: float | None = ...,
    lifespan: Lifespan | None = ...,
    commit: CommitStage | None = ...,
) -> Callable[[Callable[P, T]], Consumer[P, T]]: ...
def consumer(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Make a Lambda handler for SQS batches out of a function that handles one message.

    The function takes the body, decoded by its annotation (none, ``dict``, ``list``, ``Any``: JSON; ``str``: the text
    as it is; ``Record``: the record itself), and, if it has a second parameter, the ``Context``. ``async def``
    functions run as tasks on one event loop, plain functions on worker threads, under the same bound.

    Used bare, ``@consumer``, or with settings, ``@consumer(concurrency=100)``; see ``Settings`` for what they mean.

    Raises:
        ConfigurationError: If the function cannot be a handler, or a setting is unknown or impossible.
    """
    if function is not None:
        return Consumer(function, Settings())
    chosen = _settings(Settings(), settings)
    return lambda decorated: Consumer(decorated, chosen)


def _settings(settings: Settings, changes: dict[str, Any]) -> Settings:
    known = [field.name for field in dataclasses.fields(Settings)]
    if unknown := sorted(changes.keys() - set(known)):
        raise ConfigurationError(f"unknown setting {', '.join(unknown)}; a consumer knows {', '.join(known)}")
    return dataclasses.replace(settings, **changes)


def _check_concurrency(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number from 1, not {value!r}")
    return value


def _with_threads(lifespan: Lifespan | None) -> Lifespan:
    """Return a lifespan that yields what the given one yields, and worker threads beside it."""

    @asynccontextmanager
    async def shared() -> AsyncIterator[tuple[Any, Threads]]:
        threads = Threads()
        try:
            if lifespan is None:
                yield None, threads
            else:
                async with lifespan() as state:
                    yield state, threads
        finally:
            threads.close()

    return shared
