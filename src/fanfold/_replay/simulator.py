"""The simulator: a queue, its event source mapping and a function, on a clock that is moved, not waited for.

The same seed gives the same run. Time is simulated: visibility timeouts, windows and back-offs pass at once; a handler
runs for real, and its invocation takes as long in simulated time as the simulator is told.

A batch that would go over 6 MB is cut; what does not fit goes back unreceived. Left out is
how Lambda scales its pollers, and that it polls more slowly after function errors.
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
"""Invokes a function with an event, to its end."""

DEAD_LETTERS_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/simulated-dead-letters"
"""What a consumer is told is its dead-letter queue."""
_12_HOURS = aws_limits.SQS_MAX_VISIBILITY_SECONDS


@dataclass(frozen=True, slots=True)
class Delivery:
    """One batch, delivered once."""

    number: int
    """Deliveries before it."""
    began_at: float
    """When the function was invoked; simulated seconds."""
    ended_at: float
    """When the invocation ended; simulated seconds."""
    messages: Sequence[QueuedMessage]
    """What was delivered, in batch order."""
    handles: Sequence[str]
    """Receipt handle of each."""
    receive_counts: Sequence[int]
    """Deliveries of each so far, this one included."""
    invocation: Invocation
    """How the function ended."""
    verdict: Verdict
    """What the mapping made of it."""


class Simulator:
    """Delivers what is in a queue to a function as Lambda's event source mapping would.

        with Simulator(handler, max_receive_count=3, visibility_timeout=60) as simulator:
            simulator.send({"order": 1}, {"order": 2})
            simulator.run()
        assert not simulator.dead_letters

    Args:
        handler: A Lambda handler, a ``Consumer`` for one. A consumer's delays and dead letters reach the simulated
            queues; nothing of it touches AWS.
        batch_size: As in the mapping.
        window_seconds: As in the mapping.
        maximum_concurrency: Invocations at once, from 1.
        fifo: Whether the queue is a FIFO queue.
        report_batch_item_failures: As in the mapping.
        visibility_timeout: Seconds a received message stays hidden.
        max_receive_count: Receives after which a message is a dead letter; None for never.
        function_timeout: Seconds an invocation may take; what the handler's context says.
        invocation_seconds: What an invocation takes in simulated time: a number, or a function of the event; over
            ``function_timeout`` it is a timeout: the handler runs, and its answer is not read.
        throttled: Share of invocations that are throttled, 0 to 1.
        duplicates: Share of receives that SQS forgets, 0 to 1.
        reordered: Whether a standard queue gives messages out of order.
        seed: Of all chance.
        invoke: Invokes the function in another way than in this process; ``handler`` is then not needed.

    Raises:
        ConfigurationError: If AWS would refuse the settings.
    """

    mapping: MappingSettings
    """How batches are formed."""
    clock: ManualClock
    """The simulated time, seconds from 0."""
    queue: InMemoryQueue
    """What is to be delivered."""
    dead_letter_queue: InMemoryQueue
    """What was received too often, or sent there by the handler."""
    deliveries: list[Delivery]
    """Every batch, in the order in which they were delivered."""
    function_timeout: float
    """Seconds an invocation may take."""

    def __init__(  # noqa: PLR0913 - what users set on three AWS resources, by keyword
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
        self.chance: random.Random = random.Random(seed)  # noqa: S311 - to be the same every time
        self.dead_letter_queue = InMemoryQueue(visibility_timeout=visibility_timeout, fifo=fifo, clock=self.clock)
        self.queue = InMemoryQueue(
            visibility_timeout=visibility_timeout,
            max_receive_count=max_receive_count,
            dead_letter_queue=self.dead_letter_queue,
            clock=self.clock,
            fifo=fifo,
            duplicates=duplicates,
            reordered=reordered,
            rng=self.chance,
        )
        self.deliveries = []
        self.function_timeout = function_timeout
        self._seconds = invocation_seconds
        self._throttled = throttled
        self._free = maximum_concurrency
        self._running: list[tuple[float, int, Delivery]] = []
        self._gathering: _Gathering | None = None
        self._numbers = itertools.count()
        self._sent = itertools.count()
        self._random = random.Random(seed).getstate()  # noqa: S311 - what a handler draws is the same every time, too
        self._consumer: Consumer[..., Any] | None = None
        if invoke is None and not callable(handler):
            raise ConfigurationError(f"a simulator needs a handler, not {handler!r}")
        self._invoke = invoke or invoke_here(self._handler(handler), function_timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the lifespan and the event loop of the consumer, if the handler is one."""
        if self._consumer is not None:
            self._consumer.close()

    @property
    def dead_letters(self) -> Sequence[Record]:
        """What lies in the dead-letter queue."""
        return [Record(message.record) for message in self.dead_letter_queue.messages()]

    def send(self, *bodies: Any, records: Iterable[Mapping[str, Any]] = ()) -> None:
        """Put messages into the queue: one for each body, as ``make_event`` takes them, then ``records``."""
        make = make_fifo_record if self.mapping.fifo else make_record
        made = [make(body, message_id=f"message-{next(self._sent)}") for body in bodies]
        for record in [*made, *records]:
            self.queue.put(record)

    def run(self, *, until: float = math.inf, most_deliveries: int = 1_000_000) -> Sequence[Delivery]:
        """Deliver until the queue is empty, or the time comes, or so many batches were delivered; return all batches.

        What is running at the end is let finish.
        """
        while len(self.deliveries) < most_deliveries:
            if self.clock.now > until or not self._begin():
                moment = self._next_moment()
                if math.isinf(moment) or moment > until:
                    break
                self.clock.now = max(self.clock.now, moment)
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
        """Invoke the function if a batch is ready and a place is free; tell whether one was."""
        if not self._free:
            return False
        self._gather()
        batch = self._gathering
        if batch is None or not batch.ready(self.clock.now, self.mapping):
            return False
        fits, surplus = batch.cut(self.mapping)
        for message, _ in surplus:
            self.queue.put_back(message)
        self._gathering = None
        self._deliver(fits)
        return True

    def _gather(self) -> None:
        while self._gathering is None or not self._gathering.full(self.mapping):
            held = 0 if self._gathering is None else len(self._gathering.messages)
            received = self.queue.take(min(aws_limits.SQS_RECEIVE_MESSAGES, self.mapping.batch_size - held))
            if not received:
                return
            if self._gathering is None:
                self._gathering = _Gathering(self.clock.now)
            for message in received:
                self._gathering.add(message, message.as_record())

    def _deliver(self, batch: Sequence[_Received]) -> None:
        event = {"Records": [record for _, record in batch]}
        seconds = self._seconds(event) if callable(self._seconds) else self._seconds
        messages = [message for message, _ in batch]
        handles = [record["receiptHandle"] for _, record in batch]
        counts = [int(record["attributes"]["ApproximateReceiveCount"]) for _, record in batch]
        began = self.clock.now
        invocation: Invocation
        if self._throttled and self.chance.random() < self._throttled:
            seconds, invocation = 0.0, Errored("throttled", "no concurrency was left")
        else:
            invocation = self._invoked(event, min(seconds, self.function_timeout))
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

    def _invoked(self, event: dict[str, Any], seconds: float) -> Invocation:
        """Invoke the function: a message it hides is hidden until it ends or longer; its chance is the simulator's."""
        others = random.getstate()
        random.setstate(self._random)
        self.queue.earliest_visible_at = self.clock.now + seconds
        try:
            return self._invoke(event)
        finally:
            self.queue.earliest_visible_at = 0.0
            self._random = random.getstate()
            random.setstate(others)

    def _finish(self, now: float) -> None:
        """Let the invocations that end by now end: their mapping deletes what is not in their answers."""
        while self._running and self._running[0][0] <= now:
            ended_at, _, delivery = heapq.heappop(self._running)
            self.clock.now = max(self.clock.now, ended_at)
            self._free += 1
            for message, handle in zip(delivery.messages, delivery.handles, strict=True):
                kept = message.message_id in delivery.verdict.failed
                deleted = not kept and self.queue.remove(handle)
                words = "came back" if kept else "deleted" if deleted else "not deleted: received again meanwhile"
                message.history.append(f"delivery {delivery.number}: {words} ({delivery.verdict.reason})")

    def _next_moment(self) -> float:
        moments = [self._running[0][0]] if self._running else []
        if self._free:
            moments.append(self.queue.next_visible_at())
            if self._gathering is not None:
                moments.append(self._gathering.began_at + self.mapping.window_seconds)
        return min(moments, default=math.inf)


_Received: TypeAlias = tuple[QueuedMessage, dict[str, Any]]
"""A message, and its record as it was when it was received."""


class _Gathering:
    """A batch that is being received."""

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
        """Return what fits into one event, and what does not."""
        count = fitting(self._sizes, settings)
        return self.messages[:count], self.messages[count:]


def invoke_here(handler: Callable[[Any, Any], Any], function_timeout: float) -> Invoke:
    """Return what invokes a handler in this process, as Lambda's runtime does: events and answers go through JSON."""

    def invoke(event: dict[str, Any]) -> Invocation:
        try:
            response = handler(json.loads(json.dumps(event)), make_context(function_timeout))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a function error is an answer here
            return Errored("error", f"{type(error).__name__}: {error}")
        try:
            return Returned(json.dumps(response))
        except (TypeError, ValueError, RecursionError) as error:
            return Errored("error", f"Runtime.MarshalError: {error}")

    return invoke


def _check(**given: Any) -> None:
    shares = {"throttled": "a share from 0 to 1", "duplicates": "a share from 0 to 1"}
    for name, words in shares.items():
        _require(_is_number(given[name]) and 0 <= given[name] <= 1, name, words, given)
    whole = given["max_receive_count"] is None or _is_count(given["max_receive_count"])
    _require(whole, "max_receive_count", "a whole number from 1, or None", given)
    _require(_is_count(given["maximum_concurrency"]), "maximum_concurrency", "a whole number from 1", given)
    visibility, timeout, seconds = given["visibility_timeout"], given["function_timeout"], given["invocation_seconds"]
    _require(
        _is_number(visibility) and 0 <= visibility <= _12_HOURS, "visibility_timeout", "0 to 43,200 seconds", given
    )
    _require(_is_number(timeout) and timeout > 0, "function_timeout", "a number of seconds over 0", given)
    fits = callable(seconds) or seconds == math.inf or (_is_number(seconds) and seconds >= 0)
    _require(fits, "invocation_seconds", "0 seconds or more, or a function of the event", given)
    if 1 in {given["throttled"], given["duplicates"]} and given["max_receive_count"] is None:
        raise ConfigurationError("what is always throttled or duplicated never empties a queue without a receive limit")


def _require(holds: bool, name: str, words: str, given: Mapping[str, Any]) -> None:
    if not holds:
        raise ConfigurationError(f"{name} is {words}, not {given[name]!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1
