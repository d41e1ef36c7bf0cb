"""The handler in a simulation: copies of its consumers run, whose delays and dead letters reach simulated queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fanfold._base.outcome import BatchResult
from fanfold._base.record import Event
from fanfold._breakers.simulated import simulated_breakers
from fanfold._consumer.respond import INVOKE
from fanfold.inmemory.queue import InMemoryQueue
from fanfold.inmemory.settler import InMemorySettler

DEAD_LETTERS_URL: Final = "https://sqs.eu-west-1.amazonaws.com/123456789012/simulated-dead-letters"
"""The ``dead_letter_queue_url`` of a consumer in a simulation."""


class SimulatedHandler:
    """A Lambda handler in which a copy runs in place of each consumer, also of one below decorators.

    Args:
        handler: A consumer, or another Lambda handler. Not called if the simulator invokes a function elsewhere.
        queue: The queue in which a consumer sets delays.
        dead_letters: The queue to which a consumer sends rejected messages.
        clock: The simulated clock, for breakers.
    """

    def __init__(
        self, handler: Any, queue: InMemoryQueue, dead_letters: InMemoryQueue, clock: Callable[[], float]
    ) -> None:
        self._handler = handler
        self._queue = queue
        self._dead_letters = dead_letters
        self._clock = clock
        self._copies: dict[int, Any] = {}  # by the id of the consumer

    def __call__(self, event: Any, context: Any) -> Any:
        """Call the handler with an event and a Lambda context."""
        token = INVOKE.set(self._invoke)
        try:
            return self._handler(event, context)
        finally:
            INVOKE.reset(token)

    def close(self) -> None:
        """End the lifespan and the event loop of each consumer."""
        for consumer in self._copies.values():
            consumer.close()

    def _invoke(self, consumer: Any, event: Event, context: Any) -> BatchResult:
        copy = self._copies.get(id(consumer))
        if copy is None:
            copy = self._copies[id(consumer)] = self._copy(consumer)
        token = INVOKE.set(None)
        try:
            result: BatchResult = copy.invoke(event, context)
            return result
        finally:
            INVOKE.reset(token)

    def _copy(self, consumer: Any) -> Any:
        breaker = simulated_breakers(consumer.settings.breaker, self._clock, self._queue.max_receive_count)
        changes: dict[str, Any] = {"settler": InMemorySettler(self._queue, self._dead_letters), "breaker": breaker}
        if consumer.settings.dead_letter_queue_url is None:
            changes["dead_letter_queue_url"] = DEAD_LETTERS_URL
        return consumer.with_settings(**changes)
