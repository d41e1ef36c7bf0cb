"""Replay saved events: deliver them to a handler as an event source mapping would, with simulated queues.

The queue, the mapping, and the clock are simulated; the handler runs for real, in a separate process. For the same seed
and the same handler, the whole result is reproducible, except for the values under ``measured``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Final

from fanfold._base.sample_events import QUEUE_ARN
from fanfold._replay.document import Sent, document_of
from fanfold._replay.endpoint import Endpoint, serving
from fanfold._replay.events import SavedEvent
from fanfold._replay.filters import Pattern, matches_any
from fanfold._replay.function import InvocationResult, LocalFunction
from fanfold._replay.mapping import Invocation
from fanfold._replay.outage import Outage
from fanfold._replay.replayed_handler import ReplaySettings
from fanfold._replay.runtime_client import RuntimeClientFunction
from fanfold._replay.simulator import Simulator

_SIMULATED: Final = (
    "batch_size",
    "window_seconds",
    "visibility_timeout",
    "max_receive_count",
    "function_timeout",
    "maximum_concurrency",
    "fifo",
    "report_batch_item_failures",
    "duplicates",
    "seed",
)
"""The settings of the simulator, by their names in ``ReplayOptions``."""

Progress = Callable[[int, int, int], None]
"""Called after each delivery with the number of deliveries, of messages in the queue, and of dead-lettered messages."""


class QueueRole(Enum):
    """A queue of a replay, by its role."""

    SOURCE = "source"
    """The queue that the mapping reads."""
    DEAD_LETTERS = "dead letters"
    """Its dead-letter queue."""


@dataclass(frozen=True, slots=True)
class QueueValue:
    """A value that identifies a queue of a replay, and is known once the replay runs."""

    role: QueueRole
    form: str
    """``url``, ``arn`` or ``name``."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The settings of a replay: of the function, its queue, and its mapping."""

    batch_size: int = 10
    """Maximum number of records in a batch."""
    window_seconds: float = 0
    """Batching window, seconds, simulated."""
    visibility_timeout: float = 30.0
    """Visibility timeout of the queue, seconds, simulated."""
    max_receive_count: int = 5
    """Receives after which a message is moved to the dead-letter queue."""
    function_timeout: float = 30.0
    """Function timeout, seconds of real time; the process is killed at the timeout."""
    memory_mb: int = 1769
    """Memory of the function, MB; the process is killed if its resident memory exceeds it."""
    maximum_concurrency: int = 5
    """Maximum number of concurrent invocations, in simulated time."""
    fifo: bool = False
    """True for a FIFO queue."""
    report_batch_item_failures: bool = True
    """True if the mapping reads which messages failed."""
    duplicates: float = 0.0
    """Share of receives after which SQS delivers the message again, 0 to 1."""
    seed: int = 0
    """Seed of all random choices."""
    until_empty: bool = True
    """True to redeliver until every message is deleted or dead-lettered; else each batch is delivered once."""
    runtime_client: bool = False
    """True to run the handler under Lambda's own runtime client."""
    concurrent_invocations: int = 1
    """Invocations that Lambda's runtime client runs concurrently in one execution environment."""
    real_idempotency: bool = False
    """True to use the idempotency table of the handler; else entries stay in memory."""
    outage: Outage | None = None
    """The time in which calls of the handler fail; None for no outage."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay runs."""

    handler: str
    """``MODULE:NAME``, imported from the current folder."""
    events: Sequence[SavedEvent]
    """The saved events."""
    options: ReplayOptions
    """The settings of the function, its queue, and its mapping."""
    patterns: Sequence[Pattern] = ()
    """The filters of the mapping; empty for none."""
    variables: Mapping[str, str | QueueValue] = field(default_factory=dict)
    """Environment variables of the function."""


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
        settings = {name: getattr(options, name) for name in _SIMULATED}
        self._simulator = Simulator(invoke=self._invoke, invocation_seconds=seconds, **settings)
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
        in_process = ReplaySettings(options.seed, entries_url, options.outage)
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
        result = self._function.invoke(event, self._simulator.clock.now)
        self._results.append(result)
        if self._progress is not None:
            queue, dead = self._simulator.queue, self._simulator.dead_letter_queue
            self._progress(len(self._results), len(queue), len(dead))
        return result.invocation

    def document(self, seconds: float) -> dict[str, Any]:
        """Return the result as one JSON document."""
        return document_of(
            self._replayed.handler,
            asdict(self._options),
            self._sent,
            self._simulator,
            self._results,
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
