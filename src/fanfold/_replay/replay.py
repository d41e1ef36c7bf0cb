"""Replay saved events: deliver them to a handler as an event source mapping would, with simulated queues.

The queue, the mapping, and the clock are simulated; the handler runs for real, in a separate process. For the same seed
and the same handler, the whole result is reproducible, except for the values under ``measured``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fanfold._base.sample_events import QUEUE_ARN
from fanfold._replay.document import Run, Sent, document_of
from fanfold._replay.endpoint import Endpoint, serving
from fanfold._replay.filters import matches_any
from fanfold._replay.function import InvocationResult, LocalFunction
from fanfold._replay.handler_settings import HandlerSettings
from fanfold._replay.mapping import Invocation
from fanfold._replay.options import SIMULATED, QueueRole, QueueValue, Replayed
from fanfold._replay.runtime_client import RuntimeClientFunction
from fanfold._replay.simulator import Simulator

Progress = Callable[[int, int, int], None]
"""Called after each delivery with the number of deliveries, of messages in the queue, and of dead-lettered messages."""


def replay(replayed: Replayed, *, progress: Progress | None = None) -> dict[str, Any]:
    """Deliver saved events to a handler, and return the result as one JSON document.

    Its SQS calls for the replayed messages reach the simulated queues; all its other calls are real.

    Args:
        replayed: The handler, the events, and the settings.
        progress: Called after each delivery.

    Raises:
        HandlerError: If the handler's module cannot be imported.
        ConfigurationError: If AWS would reject the settings.
    """
    began = time.perf_counter()
    run = _Run(replayed, progress)
    run.deliver()
    return run.document(time.perf_counter() - began)


class _Run:
    def __init__(self, replayed: Replayed, progress: Progress | None) -> None:
        self._replayed = replayed
        self._options = options = replayed.options
        self._progress = progress
        self._function: LocalFunction | RuntimeClientFunction | None = None
        self._results: list[InvocationResult] = []
        seconds = min(1.0, options.function_timeout) if options.until_empty else 0.0
        settings = {name: getattr(options, name) for name in SIMULATED}
        invoke: dict[str, Any] = {"invoke": self._invoke}
        if options.concurrent_invocations > 1:
            invoke = {"invoke_together": self._invoke_together}
        self._simulator = Simulator(invocation_seconds=seconds, **invoke, **settings)
        self._name = _queue_name(replayed.events[0].records[0], fifo=options.fifo)
        self._sent = [self._send(event.name, record) for event in replayed.events for record in event.records]
        self._is_consumer = False

    def _send(self, source: str, record: Mapping[str, Any]) -> Sent:
        matches = matches_any(self._replayed.patterns, str(record["body"]))
        arn = _arn(self._name)
        queued = self._simulator.queue.put({**record, "eventSourceARN": arn}) if matches else None
        return Sent(source, str(record["messageId"]), str(record["body"]), queued)

    def deliver(self) -> None:
        """Deliver until the queue is empty, or each batch once."""
        names = {QueueRole.SOURCE: self._name, QueueRole.DEAD_LETTERS: self._dead_name}
        queues = {self._name: self._simulator.queue, self._dead_name: self._simulator.dead_letter_queue}
        with serving(queues) as endpoint, self._new_function(endpoint, names) as self._function:
            self._is_consumer = self._function.is_consumer
            # Within the batching window, each batch is delivered once, and no message is redelivered yet.
            self._simulator.run(until=math.inf if self._options.until_empty else self._options.window_seconds)

    def _new_function(
        self, endpoint: Endpoint, names: Mapping[QueueRole, str]
    ) -> LocalFunction | RuntimeClientFunction:
        options = self._options
        entries_url = None if options.real_idempotency else endpoint.url
        in_process = HandlerSettings(options.seed, entries_url, options.outage, options.max_receive_count)
        variables = {
            name: value if isinstance(value, str) else _value(value, names[value.role], endpoint)
            for name, value in self._replayed.variables.items()
        }
        environment = {
            **variables,
            **endpoint.environment(self._name, self._dead_name),
            **in_process.environment(),
        }
        limits: dict[str, Any] = {"timeout_seconds": options.function_timeout, "memory_mb": options.memory_mb}
        handler, concurrency = self._replayed.handler, options.concurrent_invocations
        if options.runtime_client or concurrency > 1:
            return RuntimeClientFunction(handler, environment=environment, concurrency=concurrency, **limits)
        return LocalFunction(handler, environment=environment, **limits)

    @property
    def _dead_name(self) -> str:
        return f"{self._name.removesuffix('.fifo')}-dead-letters{'.fifo' if self._options.fifo else ''}"

    def _invoke(self, event: dict[str, Any]) -> Invocation:
        assert self._function is not None  # noqa: S101 - deliver has started it
        return self._noted(self._function.invoke(event, self._simulator.clock.now))

    def _invoke_together(self, events: Sequence[dict[str, Any]]) -> Sequence[Invocation]:
        assert isinstance(self._function, RuntimeClientFunction)  # noqa: S101 - concurrent_invocations is set
        started = [self._function.start(event, self._simulator.clock.now) for event in events]
        return [self._noted(result()) for result in started]

    def _noted(self, result: InvocationResult) -> Invocation:
        self._results.append(result)
        if self._progress is not None:
            queue, dead = self._simulator.queue, self._simulator.dead_letter_queue
            self._progress(len(self._results), len(queue), len(dead))
        return result.invocation

    def document(self, seconds: float) -> dict[str, Any]:
        """Return the result as one JSON document."""
        simulator = self._simulator
        left, dead_letters = simulator.queue.messages(), simulator.dead_letter_queue.messages()
        return document_of(
            self._replayed.handler,
            asdict(self._options),
            self._sent,
            Run(simulator.deliveries, self._results, left, dead_letters),
            is_consumer=self._is_consumer,
            seconds=seconds,
        )


def _value(value: QueueValue, name: str, endpoint: Endpoint) -> str:
    return {"url": endpoint.queue_url(name), "arn": _arn(name), "name": name}[value.form]


def _arn(name: str) -> str:
    return f"{QUEUE_ARN.rpartition(':')[0]}:{name}"


def _queue_name(record: Mapping[str, Any], *, fifo: bool) -> str:
    name = str(record.get("eventSourceARN") or "replayed").rsplit(":", 1)[-1].removesuffix(".fifo")
    return f"{name}.fifo" if fifo else name
