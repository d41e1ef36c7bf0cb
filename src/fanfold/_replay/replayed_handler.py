"""The handler in a replay: copies of its consumers run, which write nothing where production reads."""

from __future__ import annotations

import copy
import functools
import random
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from fanfold._base.backoff import DELIVERY, jitter_from
from fanfold._base.callables import find_layer, is_coroutine_function
from fanfold._base.dead_letter import configured_max_receives
from fanfold._base.outcome import BatchResult
from fanfold._base.record import Event, Record
from fanfold._breakers.simulated import EPOCH, simulated_breakers
from fanfold._consumer.consumer import Consumer
from fanfold._consumer.respond import INVOKE
from fanfold._replay.handler_settings import HandlerSettings
from fanfold._replay.kept_entries import entries_at
from fanfold._replay.outage import error_of
from fanfold.inmemory.breakers import InMemoryBreakers
from fanfold.observers import BatchCallbacks, Observer

P = ParamSpec("P")
T = TypeVar("T")


class ReplayedHandler:
    """A handler in which a copy runs in place of each consumer.

    The copy keeps its idempotency entries in the replay, in simulated time; calls of its handler fail during the
    outage; its jitter is reproducible. Everything else is as in the original. If the handler is not a consumer, its
    whole invocation fails during the outage.

    Args:
        handler: A Lambda handler.
        settings: The settings of the handler's process.
        observers: Observers of every batch of a consumer.

    Raises:
        ConfigurationError: If the error of the outage cannot be created.
    """

    def __init__(
        self, handler: Callable[..., Any], settings: HandlerSettings, observers: Sequence[Observer] = ()
    ) -> None:
        self._handler = handler
        self._settings = settings
        self._observers = observers
        self._is_consumer = find_layer(handler, Consumer) is not None
        self._copies: dict[tuple[int, bool], Consumer[..., Any]] = {}
        self._error = None if settings.outage is None else error_of(settings.outage.error)
        self._now, self._began = 0.0, time.monotonic()
        self._breakers = InMemoryBreakers()

    def __call__(self, event: Any, context: Any, now: float) -> Any:
        """Call the handler at a simulated time: seconds since the start of the replay."""
        self._now, self._began = now, time.monotonic()
        key = f"{now:g} {context.aws_request_id}"
        random.seed(f"{self._settings.seed} {key}")
        if not self._is_consumer and (error := self._due_error([key])) is not None:
            raise error
        token = INVOKE.set(self._invoke)
        try:
            with jitter_from(self._jitter):
                return self._handler(event, context)
        finally:
            INVOKE.reset(token)

    def clock(self) -> float:
        """Return the simulated time, seconds since 1970."""
        return EPOCH + self._seconds()

    def _seconds(self) -> float:
        return self._now + time.monotonic() - self._began

    def _jitter(self) -> float:
        return random.Random(f"{self._settings.seed} {DELIVERY.get()}").random()  # noqa: S311 - reproducible

    def _invoke(self, consumer: Consumer[..., Any], event: Event, context: Any) -> BatchResult:
        outage = self._settings.outage
        key = id(consumer), outage is not None and self._now < outage.seconds
        replayed = self._copies.get(key)
        if replayed is None:
            replayed = self._copies[key] = self._copy(consumer, fails=key[1])
        token = INVOKE.set(None)
        try:
            return replayed.invoke(event, context)
        finally:
            INVOKE.reset(token)

    def _copy(self, consumer: Consumer[..., Any], *, fails: bool) -> Consumer[..., Any]:
        changes: dict[str, Any] = {}
        if fails and consumer.settings.processes is not None:  # worker processes call only registered functions
            changes |= {"processes": None, "max_tasks_per_process": None}
        idempotency = consumer.settings.idempotency
        if idempotency is not None and self._settings.entries_url is not None:
            changes["idempotency"] = copy.copy(idempotency)
            changes["idempotency"].open_entries = entries_at(self._settings.entries_url)
            changes["idempotency"].clock = self.clock
        receives = configured_max_receives() or self._settings.max_receives
        changes["breaker"] = simulated_breakers(consumer.settings.breaker, self._seconds, receives, self._breakers)
        replayed = consumer.with_settings(**changes)
        if fails:
            replayed = replayed.with_function(_failing(consumer.function, self._error_of_records))
            replayed.add_observer(_CurrentRecords())
        for observer in self._observers:
            replayed.add_observer(observer)
        return replayed

    def _error_of_records(self) -> BaseException | None:
        """Return the error of the current call of a consumer's handler; None if it does not fail."""
        return self._due_error([f"{record.message_id} {record.receive_count}" for record in _RECORDS.get()])

    def _due_error(self, keys: Sequence[str]) -> BaseException | None:
        outage, seed = self._settings.outage, self._settings.seed
        if outage is None or self._error is None:
            return None
        return self._error() if any(outage.fails(self._now, f"{seed} {key}") for key in keys) else None


_RECORDS: ContextVar[Sequence[Record]] = ContextVar("fanfold_replay_records", default=())
"""The records of the current call of a handler."""


class _CurrentRecords:
    """An observer that sets ``_RECORDS`` in the context of each call."""

    def batch_started(self, _records: Sequence[Record], _batch: object) -> BatchCallbacks:
        def call_started(records: Sequence[Record]) -> None:
            _RECORDS.set(tuple(records))

        return BatchCallbacks(call_started=call_started)


def _failing(function: Callable[P, T], due_error: Callable[[], BaseException | None]) -> Callable[P, Any]:
    """Return a handler that raises an error when one is due, and otherwise calls a handler."""

    def raise_due() -> None:
        if (error := due_error()) is not None:
            raise error

    if is_coroutine_function(function):

        @functools.wraps(function)
        async def call_async(*arguments: P.args, **named: P.kwargs) -> Any:
            raise_due()
            return await function(*arguments, **named)  # type: ignore[misc] # a coroutine function

        return call_async

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> Any:
        raise_due()
        return function(*arguments, **named)

    return call
