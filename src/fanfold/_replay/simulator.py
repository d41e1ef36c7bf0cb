"""The simulator: a queue, its event source mapping, and a function, on a simulated clock.

The same seed gives the same run. Visibility timeouts, batching windows, and backoffs take no real time. A handler runs
for real, but its invocation takes ``invocation_seconds`` of simulated time.

A batch ends before it exceeds 6 MB; the surplus returns to the queue as if it had not been received. The simulator does
not model how Lambda scales its pollers, or slows them down after function errors.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from fanfold._base import aws_limits
from fanfold._base.backoff import jitter_from
from fanfold._base.record import Record
from fanfold._base.sample_events import ManualClock, make_context, make_fifo_record, make_record
from fanfold._consumer.consumer import Consumer
from fanfold._replay.mapping import (
    Errored,
    Invocation,
    MappingSettings,
    Returned,
    Verdict,
    fitting,
    judge,
    record_bytes,
)
from fanfold.errors import ConfigurationError
from fanfold.inmemory.queue import InMemoryQueue, InMemorySettler, QueuedMessage

Invoke: TypeAlias = Callable[[dict[str, Any]], Invocation]
"""A callable that invokes a function with an event and waits for the result."""

DEAD_LETTERS_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/simulated-dead-letters"
"""The ``dead_letter_queue_url`` of a consumer in a simulation."""
_MAX_VISIBILITY = aws_limits.SQS_MAX_VISIBILITY_SECONDS


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of a batch."""

    number: int
    """Number of the delivery, from 0."""
    began_at: float
    """When the function was invoked; simulated seconds."""
    ended_at: float
    """When the invocation ended; simulated seconds."""
    messages: Sequence[QueuedMessage]
    """The messages of the batch, in order."""
    handles: Sequence[str]
    """The receipt handle of each message."""
    receive_counts: Sequence[int]
    """The receive count of each message, including this delivery."""
    invocation: Invocation
    """The result of the invocation."""
    verdict: Verdict
    """The mapping's verdict on the invocation."""


class Simulator:
    """A simulated event source mapping that delivers the messages of a simulated queue to a function.

        with Simulator(handler, max_receive_count=3, visibility_timeout=60) as simulator:
            simulator.send({"order": 1}, {"order": 2})
            simulator.run()
        assert not simulator.dead_letters

    Args:
        handler: A Lambda handler, such as a ``Consumer``. A consumer's delays and rejected messages reach the simulated
            queues; it makes no calls to AWS.
        batch_size: Maximum number of records in a batch.
        window_seconds: Batching window, seconds.
        maximum_concurrency: Maximum number of concurrent invocations, at least 1.
        fifo: True for a FIFO queue.
        report_batch_item_failures: True if the mapping reads which messages failed.
        visibility_timeout: Visibility timeout of the queue, seconds.
        max_receive_count: Receives after which a message is moved to the dead-letter queue; None for no limit.
        function_timeout: Function timeout, seconds; the handler's context reports it.
        invocation_seconds: Simulated duration of an invocation, seconds: a number, or a function of the event. Above
            ``function_timeout``, the invocation times out: the handler runs, but its response is ignored.
        throttled: Share of invocations that are throttled, 0 to 1.
        duplicates: Share of receives after which SQS delivers the message again, 0 to 1.
        reordered: True if a standard queue delivers messages out of order.
        seed: Seed of all random choices.
        invoke: Invokes the function instead of ``handler``, for example in another process.

    Raises:
        ConfigurationError: If AWS would reject the settings.
    """

    mapping: MappingSettings
    """The settings of the mapping."""
    clock: ManualClock
    """The simulated time, seconds from 0."""
    queue: InMemoryQueue
    """The queue to deliver from."""
    dead_letter_queue: InMemoryQueue
    """Messages that were received too often, or that the handler sent there."""
    deliveries: list[Delivery]
    """All deliveries, in order."""
    function_timeout: float
    """Function timeout, seconds."""

    def __init__(  # noqa: PLR0913 - the settings of three AWS resources, by keyword
        self,
        handler: Callable[[Any, Any], Any] | None = None,
        *,
        batch_size: int = 10,
        window_seconds: float = 0,
        maximum_concurrency: int = 5,
        fifo: bool = False,
        report_batch_item_failures: bool = True,
        visibility_timeout: float = 30.0,
        max_receive_count: int | None = 5,
        function_timeout: float = 30.0,
        invocation_seconds: float | Callable[[Mapping[str, Any]], float] = 1.0,
        throttled: float = 0.0,
        duplicates: float = 0.0,
        reordered: bool = False,
        seed: int = 0,
        invoke: Invoke | None = None,
    ) -> None:
        self.mapping = MappingSettings(batch_size, window_seconds, fifo, report_batch_item_failures)
        _check(
            maximum_concurrency=maximum_concurrency,
            throttled=throttled,
            duplicates=duplicates,
            max_receive_count=max_receive_count,
            visibility_timeout=visibility_timeout,
            function_timeout=function_timeout,
            invocation_seconds=invocation_seconds,
        )
        self.clock = ManualClock()
        self.rng: random.Random = random.Random(seed)  # noqa: S311 - must be reproducible
        self.dead_letter_queue = InMemoryQueue(visibility_timeout=visibility_timeout, fifo=fifo, clock=self.clock)
        self.queue = InMemoryQueue(
            visibility_timeout=visibility_timeout,
            max_receive_count=max_receive_count,
            dead_letter_queue=self.dead_letter_queue,
            clock=self.clock,
            fifo=fifo,
            duplicates=duplicates,
            reordered=reordered,
            rng=self.rng,
        )
        self.deliveries = []
        self.function_timeout = function_timeout
        self._seconds = invocation_seconds
        self._throttled = throttled
        self._free = maximum_concurrency
        self._running: list[tuple[float, int, Delivery]] = []
        self._open_batch: _OpenBatch | None = None
        self._numbers = itertools.count()
        self._sent = itertools.count()
        self._random = random.Random(seed).getstate()  # noqa: S311 - makes the handler reproducible too
        self._consumer: Consumer[..., Any] | None = None
        if invoke is None and not callable(handler):
            raise ConfigurationError(f"a simulator requires a callable handler, not {handler!r}")
        self._invoke = invoke or invoke_here(self._handler(handler), function_timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """If the handler is a consumer, end its lifespan and its event loop."""
        if self._consumer is not None:
            self._consumer.close()

    @property
    def dead_letters(self) -> Sequence[Record]:
        """The messages in the dead-letter queue."""
        return [Record(message.record) for message in self.dead_letter_queue.messages()]

    def send(self, *bodies: Any, records: Iterable[Mapping[str, Any]] = ()) -> None:
        """Send messages to the queue: one for each body, as in ``make_event``, then ``records``."""
        make = make_fifo_record if self.mapping.fifo else make_record
        from_bodies = [make(body, message_id=f"message-{next(self._sent)}") for body in bodies]
        for record in [*from_bodies, *records]:
            self.queue.put(record)

    def run(self, *, until: float = math.inf, most_deliveries: int = 1_000_000) -> Sequence[Delivery]:
        """Deliver until the queue is empty, the clock reaches ``until``, or ``most_deliveries`` is reached.

        Running invocations finish first. Returns all deliveries of this simulator.
        """
        while len(self.deliveries) < most_deliveries:
            if self.clock.now > until or not self._begin():
                next_time = self._next_event_time()
                if math.isinf(next_time) or next_time > until:
                    break
                self.clock.now = max(self.clock.now, next_time)
                self._finish(self.clock.now)
        while self._running:
            self._finish(self._running[0][0])
        return self.deliveries

    def _handler(self, handler: Any) -> Callable[[Any, Any], Any]:
        if not isinstance(handler, Consumer):
            return handler  # type: ignore[no-any-return] # a handler, by its signature
        changes: dict[str, Any] = {"settler": InMemorySettler(self.queue, self.dead_letter_queue)}
        if handler.settings.dead_letter_queue_url is None:
            changes["dead_letter_queue_url"] = DEAD_LETTERS_URL
        self._consumer = handler.with_settings(**changes)
        return self._consumer

    def _begin(self) -> bool:
        """Invoke the function if a batch is ready and the concurrency allows it; return whether it was invoked."""
        if not self._free:
            return False
        self._gather()
        batch = self._open_batch
        if batch is None or not batch.ready(self.clock.now, self.mapping):
            return False
        fits, surplus = batch.cut(self.mapping)
        for message, _ in surplus:
            self.queue.undo_receive(message)
        self._open_batch = None
        self._deliver(fits)
        return True

    def _gather(self) -> None:
        while self._open_batch is None or not self._open_batch.full(self.mapping):
            size = 0 if self._open_batch is None else len(self._open_batch.messages)
            received = self.queue.take(min(aws_limits.SQS_RECEIVE_MESSAGES, self.mapping.batch_size - size))
            if not received:
                return
            if self._open_batch is None:
                self._open_batch = _OpenBatch(self.clock.now)
            for message in received:
                self._open_batch.add(message, message.as_record())

    def _deliver(self, batch: Sequence[_Received]) -> None:
        event = {"Records": [record for _, record in batch]}
        seconds = self._seconds(event) if callable(self._seconds) else self._seconds
        messages = [message for message, _ in batch]
        handles = [record["receiptHandle"] for _, record in batch]
        counts = [int(record["attributes"]["ApproximateReceiveCount"]) for _, record in batch]
        began = self.clock.now
        invocation: Invocation
        if self._throttled and self.rng.random() < self._throttled:
            seconds, invocation = 0.0, Errored("throttled", "no concurrency was available")
        else:
            invocation = self._invoke_seeded(event, min(seconds, self.function_timeout))
        if isinstance(invocation, Errored) and invocation.kind == "timeout":
            seconds = self.function_timeout
        elif seconds > self.function_timeout:
            seconds, invocation = (
                self.function_timeout,
                Errored("timeout", f"timed out after {self.function_timeout:g} s"),
            )
        verdict = judge(invocation, {message.message_id for message in messages}, self.mapping)
        number = next(self._numbers)
        delivery = Delivery(number, began, began + seconds, messages, handles, counts, invocation, verdict)
        self.deliveries.append(delivery)
        self._free -= 1
        heapq.heappush(self._running, (delivery.ended_at, number, delivery))

    def _invoke_seeded(self, event: dict[str, Any], seconds: float) -> Invocation:
        """Invoke the function with seeded random numbers; visibility changes last at least to its end."""
        state = random.getstate()
        random.setstate(self._random)
        self.queue.earliest_visible_at = self.clock.now + seconds
        try:
            with jitter_from(random.random):
                return self._invoke(event)
        finally:
            self.queue.earliest_visible_at = 0.0
            self._random = random.getstate()
            random.setstate(state)

    def _finish(self, now: float) -> None:
        """Finish the invocations that end by now: delete the messages that they do not report as failed."""
        while self._running and self._running[0][0] <= now:
            ended_at, _, delivery = heapq.heappop(self._running)
            self.clock.now = max(self.clock.now, ended_at)
            self._free += 1
            for message, handle in zip(delivery.messages, delivery.handles, strict=True):
                if message.message_id in delivery.verdict.failed:
                    result = "kept for redelivery"
                elif self.queue.remove(handle):
                    result = "deleted"
                else:
                    result = "not deleted: received again in the meantime"
                message.history.append(f"delivery {delivery.number}: {result} ({delivery.verdict.reason})")

    def _next_event_time(self) -> float:
        times = [self._running[0][0]] if self._running else []
        if self._free:
            times.append(self.queue.next_visible_at())
            if self._open_batch is not None:
                times.append(self._open_batch.began_at + self.mapping.window_seconds)
        return min(times, default=math.inf)


_Received: TypeAlias = tuple[QueuedMessage, dict[str, Any]]
"""A message, and its record at the time of the receive."""


class _OpenBatch:
    """A batch during its batching window."""

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.messages: list[_Received] = []
        self._sizes: list[int] = []

    def add(self, message: QueuedMessage, record: dict[str, Any]) -> None:
        self.messages.append((message, record))
        self._sizes.append(record_bytes(record))

    def full(self, settings: MappingSettings) -> bool:
        count = fitting(self._sizes, settings)
        return count == settings.batch_size or count < len(self.messages)

    def ready(self, now: float, settings: MappingSettings) -> bool:
        return self.full(settings) or now >= self.began_at + settings.window_seconds

    def cut(self, settings: MappingSettings) -> tuple[list[_Received], list[_Received]]:
        """Return the messages that fit into one event, and the surplus."""
        count = fitting(self._sizes, settings)
        return self.messages[:count], self.messages[count:]


def invoke_here(handler: Callable[[Any, Any], Any], function_timeout: float) -> Invoke:
    """Return a callable that invokes a handler in this process; events and responses go through JSON, as on Lambda."""

    def invoke(event: dict[str, Any]) -> Invocation:
        try:
            response = handler(json.loads(json.dumps(event)), make_context(function_timeout))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a function error is a result of the invocation
            return Errored("error", f"{type(error).__name__}: {error}")
        try:
            return Returned(json.dumps(response))
        except (TypeError, ValueError, RecursionError) as error:
            return Errored("error", f"Runtime.MarshalError: {error}")

    return invoke


def _check(**values: Any) -> None:
    for name in ("throttled", "duplicates"):
        _require(_is_number(values[name]) and 0 <= values[name] <= 1, name, "a number from 0 to 1", values)
    count_or_none = values["max_receive_count"] is None or _is_count(values["max_receive_count"])
    _require(count_or_none, "max_receive_count", "an integer of at least 1, or None", values)
    _require(_is_count(values["maximum_concurrency"]), "maximum_concurrency", "an integer of at least 1", values)
    visibility, timeout = values["visibility_timeout"], values["function_timeout"]
    in_range = _is_number(visibility) and 0 <= visibility <= _MAX_VISIBILITY
    _require(in_range, "visibility_timeout", "from 0 to 43,200 seconds", values)
    _require(_is_number(timeout) and timeout > 0, "function_timeout", "a number of seconds above 0", values)
    seconds = values["invocation_seconds"]
    valid = callable(seconds) or seconds == math.inf or (_is_number(seconds) and seconds >= 0)
    _require(valid, "invocation_seconds", "a number of seconds of at least 0, or a function of the event", values)
    for name in ("throttled", "duplicates"):
        if values[name] == 1 and values["max_receive_count"] is None:
            raise ConfigurationError(
                f"{name} must be below 1 if max_receive_count is None, not 1: the queue would never be empty"
            )


def _require(valid: bool, name: str, requirement: str, values: Mapping[str, Any]) -> None:
    if not valid:
        raise ConfigurationError(f"{name} must be {requirement}, not {values[name]!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1
