"""The simulator: a queue, its event source mapping, and a function, on a simulated clock.

The same seed gives the same run. Visibility timeouts, batching windows, and backoffs take no real time. A handler runs
for real, but its invocation takes ``invocation_seconds`` of simulated time.

A batch ends before it exceeds 6 MB; the surplus returns to the queue as if it had not been received. The simulator does
not model how Lambda slows down its pollers after function errors or throttling. The decisions are those of ``mapping``,
``scaling``, and, for fair queues, ``inmemory.fairness``, which name the pages of AWS.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar

from fanfold._base import aws_limits
from fanfold._base.backoff import jitter_from
from fanfold._base.record import Record
from fanfold._base.sample_events import ManualClock, make_fifo_record, make_record
from fanfold._replay.delivery import Delivery
from fanfold._replay.invoke_here import Invoke, InvokeTogether, invoke_here
from fanfold._replay.mapping import (
    Errored,
    Invocation,
    MappingSettings,
    judge,
)
from fanfold._replay.open_batch import OpenBatch, ReceivedMessage, ThrottledBatch
from fanfold._replay.scaling import ManagedInstances, Pollers
from fanfold._replay.schedule import GrowthState, PollerState, Schedule
from fanfold._replay.simulated_handler import SimulatedHandler
from fanfold._replay.simulator_settings import capacity_of, check_settings, scaling_of
from fanfold.errors import ConfigurationError
from fanfold.inmemory.queue import InMemoryQueue

T = TypeVar("T")


class Simulator:
    """A simulated event source mapping that delivers the messages of a simulated queue to a function.

        with Simulator(handler, max_receive_count=3, visibility_timeout=60) as simulator:
            simulator.send({"order": 1}, {"order": 2})
            simulator.run()
        assert not simulator.dead_letters

    Args:
        handler: A Lambda handler, such as a ``Consumer``, with or without decorators. A consumer's delays and rejected
            messages reach the simulated queues; it makes no calls to AWS.
        batch_size: Maximum number of records in a batch.
        window_seconds: Batching window, seconds.
        maximum_concurrency: Maximum number of concurrent invocations, at least 1; None for 5, or for the maximum of AWS
            if ``scales`` or ``pollers`` is set.
        fifo: True for a FIFO queue.
        report_batch_item_failures: True if the mapping reads which messages failed.
        visibility_timeout: Visibility timeout of the queue, seconds.
        max_receive_count: Receives after which a message is moved to the dead-letter queue; None for no limit.
        function_timeout: Function timeout, seconds; the handler's context reports it.
        invocation_seconds: Simulated duration of an invocation, seconds: a number, or a function of the event. Above
            ``function_timeout``, the invocation times out: the handler runs, but its response is ignored.
        reserved_concurrency: Concurrent invocations that the function allows, at least 0; None for no limit. Lambda
            retries a batch above it until its visibility timeout ends, and then drops it: each of its messages has used
            up a receive.
        scales: True if the mapping starts with 5 concurrent invocations, and adds 300 per minute; False if it has
            reached its limit from the start.
        pollers: The pollers of provisioned mode, which excludes ``maximum_concurrency``; None for standard mode.
        managed_instances: The capacity of a function on Managed Instances, above which Lambda throttles as above a
            reserved concurrency; None for an ordinary function.
        switch_seconds: Seconds until ``disable`` and ``enable`` take effect.
        throttled: Share of invocations that are throttled, 0 to 1.
        duplicates: Share of receives after which SQS delivers the message again, 0 to 1.
        reordered: True if a standard queue delivers messages out of order.
        seed: Seed of all random choices.
        invoke: Invokes the function instead of ``handler``, for example in another process.
        invoke_together: Invokes the function instead of ``invoke``, with the events of all batches that begin at one
            time, so that the invocations overlap.

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
        maximum_concurrency: int | None = None,
        fifo: bool = False,
        report_batch_item_failures: bool = True,
        visibility_timeout: float = 30.0,
        max_receive_count: int | None = 5,
        function_timeout: float = 30.0,
        invocation_seconds: float | Callable[[Mapping[str, Any]], float] = 1.0,
        reserved_concurrency: int | None = None,
        scales: bool = False,
        pollers: Pollers | None = None,
        managed_instances: ManagedInstances | None = None,
        switch_seconds: float = aws_limits.MAPPING_UPDATE_SECONDS,
        throttled: float = 0.0,
        duplicates: float = 0.0,
        reordered: bool = False,
        seed: int = 0,
        invoke: Invoke | None = None,
        invoke_together: InvokeTogether | None = None,
    ) -> None:
        self.mapping = MappingSettings(batch_size, window_seconds, fifo, report_batch_item_failures)
        scaling = scaling_of(maximum_concurrency, pollers, scales=scales)
        check_settings(
            reserved_concurrency=reserved_concurrency,
            switch_seconds=switch_seconds,
            throttled=throttled,
            duplicates=duplicates,
            max_receive_count=max_receive_count,
            visibility_timeout=visibility_timeout,
            function_timeout=function_timeout,
            invocation_seconds=invocation_seconds,
        )
        self.clock = ManualClock()
        self.rng: random.Random = random.Random(seed)  # noqa: S311 - must be reproducible
        self._open_queues(visibility_timeout, max_receive_count, duplicates, reordered=reordered)
        self.deliveries = []
        self.function_timeout = function_timeout
        self._seconds = invocation_seconds
        self._throttled = throttled
        self._schedule = Schedule(self.clock, switch_seconds)
        self._pollers = PollerState(self.clock, scaling)
        self._capacity = GrowthState(self.clock, capacity_of(reserved_concurrency, managed_instances))
        self._running: list[tuple[float, int, Delivery]] = []
        self._waiting: deque[ThrottledBatch] = deque()
        self._open_batch: OpenBatch | None = None
        self._numbers = itertools.count()
        self._sent = itertools.count()
        self._random = random.Random(seed).getstate()  # noqa: S311 - makes the handler reproducible too
        self._invoke_together = invoke_together
        self._ready: list[tuple[Sequence[ReceivedMessage], dict[str, Any], float]] = []
        if invoke is None and invoke_together is None and not callable(handler):
            raise ConfigurationError(f"a simulator requires a callable handler, not {handler!r}")
        self._simulated = SimulatedHandler(handler, self.queue, self.dead_letter_queue, self.clock)
        self._invoke = invoke or invoke_here(self._simulated, function_timeout)

    def _open_queues(
        self, visibility_timeout: float, max_receive_count: int | None, duplicates: float, *, reordered: bool
    ) -> None:
        fifo = self.mapping.fifo
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """If the handler is a consumer, end its lifespan and its event loop."""
        self._simulated.close()

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

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Call an action when the clock reaches a time, such as ``disable``, or a function that sends messages.

        Args:
            seconds: Simulated time, seconds from 0; an action in the past is called immediately in the next ``run``.
            action: A callable without arguments. It runs between invocations, before those of the same time begin.
        """
        self._schedule.add(seconds, action)

    def disable(self) -> None:
        """Disable the mapping, as ``UpdateEventSourceMapping`` does: after ``switch_seconds``, it stops polling.

        Messages that it has received by then are delivered. A handler can call this method during its invocation.
        """
        self._schedule.switch(enabled=False)

    def enable(self) -> None:
        """Enable the mapping: after ``switch_seconds``, it polls again."""
        self._schedule.switch(enabled=True)

    def run(self, *, until: float = math.inf, most_deliveries: int = 1_000_000) -> Sequence[Delivery]:
        """Deliver until nothing is left to do, the clock reaches ``until``, or ``most_deliveries`` is reached.

        Nothing is left to do if the queue is empty, or the mapping is disabled, and no action is due. Running
        invocations finish first. Returns all deliveries of this simulator.
        """
        while len(self.deliveries) < most_deliveries:
            self._schedule.run_actions()
            if self.clock.now > until or not (self._begin() or self._invoke_ready()):
                next_time = self._next_event_time()
                if math.isinf(next_time) or next_time > until:
                    break
                self._note_idleness()
                self.clock.now = max(self.clock.now, next_time)
                self._finish(self.clock.now)
        self._invoke_ready()
        while self._running:
            self._finish(self._running[0][0])
        self._note_idleness()
        return self.deliveries

    def _begin(self) -> bool:
        """Deliver a batch if one is ready and the concurrency allows it; return whether one was delivered."""
        if self._waiting and self._waiting[0].expires_at <= self.clock.now:
            reason = "the function had no free concurrency until the visibility timeout ended"
            self._record(self._waiting.popleft().messages, 0.0, Errored("throttled", reason))
            return True
        if self._waiting and self._has_capacity():
            self._deliver(self._waiting.popleft().messages)
            return True
        return self._slot_at() <= self.clock.now and self._begin_new()

    def _begin_new(self) -> bool:
        """Receive messages, and deliver them if their batch is ready; return whether it was delivered, or throttled."""
        if self._schedule.is_enabled():
            self._gather()
        batch = self._open_batch
        if batch is None or not batch.ready(self.clock.now, self.mapping):
            return False
        fits, surplus = batch.cut(self.mapping)
        for message, _ in surplus:
            self.queue.undo_receive(message)
        self._open_batch = None
        self._pollers.note_read(len(fits), batch.size_bytes)
        if self._has_capacity():
            self._deliver(fits)
        else:
            self._waiting.append(ThrottledBatch(fits, batch.began_at + self.queue.visibility_timeout))
        return True

    def _gather(self) -> None:
        if self.clock.now < self._pollers.readable_at:
            return
        while self._open_batch is None or not self._open_batch.full(self.mapping):
            size = 0 if self._open_batch is None else len(self._open_batch.messages)
            received = self.queue.take(min(aws_limits.SQS_RECEIVE_MESSAGES, self.mapping.batch_size - size))
            if not received:
                return
            if self._open_batch is None:
                self._open_batch = OpenBatch(self.clock.now)
                self._pollers.note_messages()
                self._capacity.note_messages()
            for message in received:
                self._open_batch.add(message, message.as_record())

    def _slot_at(self) -> float:
        return self._pollers.slot_at(self._in_use() + len(self._waiting))

    def _has_capacity(self) -> bool:
        return self._capacity.slot_at(self._in_use()) <= self.clock.now

    def _in_use(self) -> int:
        return len(self._running) + len(self._ready)

    def _note_idleness(self) -> None:
        is_busy = self._running or self._waiting or self._open_batch
        if not is_busy and (self.queue.seconds_until_visible() or not self._schedule.is_enabled()):
            self._pollers.note_idleness()
            self._capacity.note_idleness()

    def _deliver(self, batch: Sequence[ReceivedMessage]) -> None:
        if self._throttled and self.rng.random() < self._throttled:
            self._record(batch, 0.0, Errored("throttled", "no concurrency was available"))
            return
        event = {"Records": [record for _, record in batch]}
        seconds = self._seconds(event) if callable(self._seconds) else self._seconds
        if self._invoke_together is not None:
            self._ready.append((batch, event, seconds))
        else:
            self._conclude(batch, seconds, self._invoke_seeded(lambda: self._invoke(event), seconds))

    def _invoke_ready(self) -> bool:
        """Invoke the function with all events that are ready; return whether there were any."""
        ready, self._ready = self._ready, []
        if self._invoke_together is None or not ready:
            return False
        together, events = self._invoke_together, [event for _, event, _ in ready]
        invocations = self._invoke_seeded(lambda: together(events), max(seconds for *_, seconds in ready))
        for (batch, _, seconds), invocation in zip(ready, invocations, strict=True):
            self._conclude(batch, seconds, invocation)
        return True

    def _conclude(self, batch: Sequence[ReceivedMessage], seconds: float, invocation: Invocation) -> None:
        if isinstance(invocation, Errored) and invocation.kind == "timeout":
            seconds = self.function_timeout
        elif seconds > self.function_timeout:
            seconds, invocation = (
                self.function_timeout,
                Errored("timeout", f"timed out after {self.function_timeout:g} s"),
            )
        self._record(batch, seconds, invocation)

    def _record(self, batch: Sequence[ReceivedMessage], seconds: float, invocation: Invocation) -> None:
        """Note a delivery that begins now, and when its invocation ends."""
        messages = [message for message, _ in batch]
        handles = [record["receiptHandle"] for _, record in batch]
        counts = [int(record["attributes"]["ApproximateReceiveCount"]) for _, record in batch]
        verdict = judge(invocation, {message.message_id for message in messages}, self.mapping)
        number, began = next(self._numbers), self.clock.now
        delivery = Delivery(number, began, began + seconds, messages, handles, counts, invocation, verdict)
        self.deliveries.append(delivery)
        heapq.heappush(self._running, (delivery.ended_at, number, delivery))

    def _invoke_seeded(self, invoke: Callable[[], T], seconds: float) -> T:
        """Invoke the function with seeded random numbers; visibility changes last at least to its end."""
        state = random.getstate()
        random.setstate(self._random)
        self.queue.earliest_visible_at = self.clock.now + min(seconds, self.function_timeout)
        try:
            with jitter_from(random.random):
                return invoke()
        finally:
            self.queue.earliest_visible_at = 0.0
            self._random = random.getstate()
            random.setstate(state)

    def _finish(self, now: float) -> None:
        """Finish the invocations that end by now: delete the messages that they do not report as failed."""
        while self._running and self._running[0][0] <= now:
            ended_at, _, delivery = heapq.heappop(self._running)
            self.clock.now = max(self.clock.now, ended_at)
            for message, handle in zip(delivery.messages, delivery.handles, strict=True):
                if message.message_id in delivery.verdict.failed:
                    result = "kept for redelivery"
                elif self.queue.remove(handle):
                    result = "deleted"
                else:
                    result = "not deleted: received again in the meantime"
                message.history.append(f"delivery {delivery.number}: {result} ({delivery.verdict.reason})")

    def _next_event_time(self) -> float:
        """Return the time at which something can happen that could not happen now; infinity for never."""
        times = [self._schedule.next_action_at()]
        times += [self._running[0][0]] if self._running else []
        times += [self._waiting[0].expires_at, self._capacity.slot_at(len(self._running))] if self._waiting else []
        slot_at = self._slot_at()
        if self._open_batch is not None:
            times.append(max(slot_at, self._open_batch.began_at + self.mapping.window_seconds))
        times.append(self._schedule.polls_from(max(slot_at, self.queue.next_visible_at(), self._pollers.readable_at)))
        return min(times)
