"""An in-memory SQS queue on any clock: standard or FIFO, deterministic for a seed.

Jobs use it through the ``Queue`` port, which is async and takes ``Message``. A simulation uses it directly, with the
records of Lambda events: ``put``, ``take``, ``remove``. Both work on the same messages.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from fanfold._base import aws_limits
from fanfold._ports.queue import Message, QueueCounts, Received, Refusal
from fanfold.errors import ServiceError
from fanfold.inmemory.fair_order import FairOrder

_POLL_SECONDS = 0.005
_DUPLICATE_SECONDS = 0.001
"""Seconds until a duplicate delivery becomes visible."""
_REORDERING_FACTOR = 3
"""A reordering queue picks from this many times the requested number of messages."""


@dataclass(slots=True)
class QueuedMessage:
    """A message in a queue, and its history."""

    number: int
    """Position in the order of sending; unique, even where message IDs repeat."""
    record: Mapping[str, Any]
    """The record as Lambda would deliver it, without receive count and receipt handle."""
    visible_at: float
    """Time on the queue's clock from which it can be received; infinity after its deletion."""
    receive_count: int = 0
    """Deliveries so far."""
    handle: str = ""
    """Receipt handle of the last receive; empty before the first."""
    received_at: float = 0.0
    """Time of the last receive."""
    lost_deletions: int = 0
    """Deletions that the queue will lose: with at-least-once delivery, SQS may redeliver a deleted message."""
    moved_from: int | None = None
    """Number in the queue that it was moved from; None if it was sent to this queue."""
    history: list[str] = field(default_factory=list)
    """Events of the message, one line each."""

    @property
    def message_id(self) -> str:
        """Message ID; not unique if the event repeats an ID."""
        return str(self.record["messageId"])

    @property
    def body(self) -> str:
        """Message body."""
        return str(self.record["body"])

    @property
    def attributes(self) -> Mapping[str, str]:
        """String attributes."""
        attributes = self.record.get("messageAttributes") or {}
        return {
            name: attribute["stringValue"]
            for name, attribute in attributes.items()
            if attribute.get("stringValue") is not None
        }

    @property
    def group(self) -> str:
        """Message group ID; empty if there is none."""
        return str((self.record.get("attributes") or {}).get("MessageGroupId", ""))

    @property
    def message(self) -> Message:
        """The ``Message`` that sends the same content again."""
        deduplication_id = (self.record.get("attributes") or {}).get("MessageDeduplicationId")
        return Message(self.body, self.attributes, group_id=self.group or None, deduplication_id=deduplication_id)

    def as_record(self) -> dict[str, Any]:
        """Return the record as Lambda delivers it after the last receive."""
        attributes = {**(self.record.get("attributes") or {}), "ApproximateReceiveCount": str(self.receive_count)}
        return {**self.record, "receiptHandle": self.handle, "attributes": attributes}


class InMemoryQueue:
    """An in-memory queue with visibility timeout, redelivery, and dead-letter queue.

    A standard queue delivers the message that has been visible longest first. If its messages have groups, it is a fair
    queue: messages of noisy groups come after those of others, by the rules in ``inmemory.fairness``. The time of a
    receive depends on the number of messages received, not on the length of the queue; for FIFO and fair queues, on the
    number of groups.

    Args:
        visibility_timeout: Visibility timeout in seconds.
        max_receive_count: Receives after which a message moves to the dead-letter queue; None for never.
        dead_letter_queue: The dead-letter queue; None to drop the message.
        clock: Returns the time in seconds.
        fifo: True for a FIFO queue, which keeps the messages of a group in order.
        duplicates: Share of receives, from 0 to 1, that cause a duplicate delivery: immediately, or after the
            deletion.
        reordered: True to deliver the messages of a standard queue out of order.
        rng: Random numbers for duplicates and reordering; None for a generator with seed 0.
    """

    def __init__(
        self,
        *,
        visibility_timeout: float = 30.0,
        max_receive_count: int | None = None,
        dead_letter_queue: InMemoryQueue | None = None,
        clock: Callable[[], float] = time.monotonic,
        fifo: bool = False,
        duplicates: float = 0.0,
        reordered: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        self.visibility_timeout = visibility_timeout
        """Visibility timeout in seconds."""
        self.max_receive_count = max_receive_count
        """Receives after which a message moves to the dead-letter queue; None for never."""
        self.dead_letter_queue = dead_letter_queue
        """The dead-letter queue; None to drop the message."""
        self.fifo = fifo
        """True for a FIFO queue."""
        self.earliest_visible_at: float = 0.0
        """A changed visibility timeout ends no earlier: the end of the simulated invocation that changes it."""
        self._clock = clock
        self._duplicates = duplicates
        self._reordered = reordered
        self._rng = rng or random.Random(0)  # noqa: S311 - deterministic, not for security
        self._numbers = itertools.count()
        self._handles = itertools.count(1)
        self._messages: dict[int, QueuedMessage] = {}
        self._by_handle: dict[str, QueuedMessage] = {}
        self._order: list[tuple[float, int]] = []
        self._groups: dict[str, dict[int, QueuedMessage]] = {}
        self._fair: FairOrder | None = None

    def __len__(self) -> int:
        return len(self._messages)

    def messages(self) -> Sequence[QueuedMessage]:
        """Return all messages, visible or not, in the order of sending."""
        return list(self._messages.values())

    # The ``Queue`` port.

    async def counts(self) -> QueueCounts:
        """Return how many messages wait, and how many are in flight."""
        now = self._clock()
        in_flight = sum(bool(message.handle) and message.visible_at > now for message in self._messages.values())
        return QueueCounts(len(self._messages) - in_flight, in_flight)

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send 1 to 10 messages of at most 1 MiB in total; no entry is refused on its own."""
        if not 1 <= len(messages) <= aws_limits.SQS_BATCH_ENTRIES:
            raise ServiceError(
                f"a batch must have 1 to 10 messages, not {len(messages)}", code="InvalidBatch", transient=False
            )
        if sum(message.size_bytes for message in messages) > aws_limits.SQS_BATCH_BYTES:
            raise ServiceError("a batch must have at most 1 MiB", code="BatchRequestTooLong", transient=False)
        for message in messages:
            self.put(_record_of(message, fifo=self.fifo), delay_seconds=message.delay_seconds)
        return []

    async def receive(self, *, max_messages: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive up to ``max_messages`` messages, waiting up to ``wait_seconds`` for the first."""
        deadline = self._clock() + wait_seconds
        while not (taken := self._take_until_full(max_messages)) and self._clock() < deadline:  # noqa: ASYNC110 - time, not an event, makes messages visible
            await anyio.sleep(_POLL_SECONDS)
        return [
            Received(message.message_id, message.handle, message.body, message.receive_count, message.attributes)
            for message in taken
        ]

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete messages by their receipt handles; ignore messages that are deleted already."""
        for handle in receipt_handles:
            self.remove(handle)
        return []

    # The same operations, for a simulation.

    def put(self, record: Mapping[str, Any], *, delay_seconds: float = 0.0) -> QueuedMessage:
        """Put a message into the queue, given its record as Lambda would deliver it."""
        message = QueuedMessage(next(self._numbers), record, self._clock() + delay_seconds)
        receive_count = str((record.get("attributes") or {}).get("ApproximateReceiveCount", "1"))
        message.receive_count = max(0, int(receive_count) - 1) if receive_count.isdecimal() else 0
        self._messages[message.number] = message
        if self.fifo:
            self._groups.setdefault(message.group, {})[message.number] = message
        elif message.group:
            self._make_fair().loads.sent(message.group, self._clock())
        self._set_visible_at(message, message.visible_at)
        return message

    def _make_fair(self) -> FairOrder:
        """Return the fair order, which exists from the first message with a group on."""
        if self._fair is None:
            self._fair = FairOrder(self._is_current)
            for message in self._messages.values():
                self._fair.push(message.group, (message.visible_at, message.number))
                if message.visible_at > self._clock() and message.handle:
                    self._fair.loads.received(message.number, "", message.received_at, message.visible_at)
        return self._fair

    def take(self, max_messages: int) -> list[QueuedMessage]:
        """Receive up to ``max_messages`` visible messages, which start their visibility timeout."""
        taken: list[QueuedMessage] = []
        visible = self._visible_in_groups(max_messages) if self.fifo else self._visible(max_messages)
        for message in visible:
            if self.max_receive_count is not None and message.receive_count >= self.max_receive_count:
                self._move(message)
            else:
                self._receive(message)
                taken.append(message)
        return taken

    def _take_until_full(self, max_messages: int) -> list[QueuedMessage]:
        """Receive as ``take`` does, but fill the places of messages that move to the dead-letter queue."""
        taken = self.take(max_messages)
        while len(taken) < max_messages and not self.seconds_until_visible():
            taken += self.take(max_messages - len(taken))
        return taken

    def undo_receive(self, message: QueuedMessage) -> None:
        """Undo the receive of a message that was not delivered: make it visible, and do not count the receive."""
        message.receive_count -= 1
        self._by_handle.pop(message.handle, None)
        message.handle = ""
        self._end_flight(message)
        self._set_visible_at(message, self._clock())

    def remove(self, handle: str) -> bool:
        """Delete a message by the handle of its last receive; return whether the handle was valid."""
        message = self._by_handle.get(handle)
        if message is None:
            return False
        if message.lost_deletions:
            message.lost_deletions -= 1
            message.history.append("deleted, but redelivered by the queue (at-least-once delivery)")
        else:
            self.discard([message])
        return True

    def change_visibility(self, handle: str, seconds: float) -> bool:
        """Set the visibility timeout of a received message, from now; return whether SQS would accept the call.

        SQS refuses if the message was deleted, received again, or visible again, or if the timeout would end more than
        12 hours after the receive.
        """
        message = self._by_handle.get(handle)
        if message is None or message.visible_at <= self._clock():
            return False
        visible_at = max(self._clock() + seconds, self.earliest_visible_at)
        if visible_at > message.received_at + aws_limits.SQS_MAX_VISIBILITY_SECONDS:
            return False
        self._set_visible_at(message, visible_at)
        if self._fair is not None:
            self._fair.loads.changed(message.number, visible_at)
        message.history.append(f"visibility timeout set to {seconds:g} s by the handler")
        return True

    def discard(self, messages: Iterable[QueuedMessage]) -> None:
        """Remove messages from the queue, in flight or not; ``discard(messages())`` removes all."""
        for message in messages:
            del self._messages[message.number]
            self._end_flight(message)
            self._by_handle.pop(message.handle, None)
            message.visible_at = math.inf
            if self.fifo:
                group = self._groups[message.group]
                del group[message.number]
                if not group:
                    del self._groups[message.group]

    def next_visible_at(self) -> float:
        """Return the time of the next visible message; infinity if there is none."""
        if self.fifo:
            return min((self._unlocked_at(group) for group in self._groups.values()), default=math.inf)
        while self._order and not self._is_current(self._order[0]):
            heapq.heappop(self._order)
        return self._order[0][0] if self._order else math.inf

    def seconds_until_visible(self) -> float:
        """Return the seconds until a message is visible: 0 if one is, infinity if there is none."""
        return max(0.0, self.next_visible_at() - self._clock())

    def _visible(self, max_messages: int) -> list[QueuedMessage]:
        if self._fair is not None and (noisy := self._fair.loads.noisy(self._clock())):
            fair_numbers = self._fair.pop(max_messages, self._clock(), noisy)
            if self._reordered:
                self._rng.shuffle(fair_numbers)
            return [self._messages[number] for number in fair_numbers]
        candidates = max_messages * _REORDERING_FACTOR if self._reordered else max_messages
        visible: dict[int, float] = {}
        while self._order and self._order[0][0] <= self._clock() and len(visible) < candidates:
            entry = heapq.heappop(self._order)
            if self._is_current(entry):
                visible[entry[1]] = entry[0]
        numbers = list(visible)
        if self._reordered:
            self._rng.shuffle(numbers)
        for number in numbers[max_messages:]:
            heapq.heappush(self._order, (visible[number], number))
        return [self._messages[number] for number in numbers[:max_messages]]

    def _visible_in_groups(self, max_messages: int) -> list[QueuedMessage]:
        received: list[QueuedMessage] = []
        for group in self._groups.values():
            if self._unlocked_at(group) <= self._clock():
                visible = itertools.takewhile(lambda message: message.visible_at <= self._clock(), group.values())
                received.extend(itertools.islice(visible, max_messages - len(received)))
            if len(received) >= max_messages:
                break
        return received

    def _unlocked_at(self, group: Mapping[int, QueuedMessage]) -> float:
        """Return the time from which a group is available: a message in flight blocks its group."""
        in_flight = [message.visible_at for message in group.values() if message.handle]
        return max([next(iter(group.values())).visible_at, *in_flight])

    def _receive(self, message: QueuedMessage) -> None:
        now = self._clock()
        message.receive_count += 1
        message.received_at = now
        self._by_handle.pop(message.handle, None)
        message.handle = f"{message.message_id}#{next(self._handles)}"
        self._by_handle[message.handle] = message
        timeout = self.visibility_timeout
        if self._duplicates and self._rng.random() < self._duplicates:
            if self._rng.random() < 0.5 and not self.fifo:  # noqa: PLR2004 - both kinds of duplicates are equally likely
                timeout = _DUPLICATE_SECONDS
            else:
                message.lost_deletions += 1
        self._set_visible_at(message, now + timeout)
        if self._fair is not None:
            self._fair.loads.received(message.number, message.group, now, message.visible_at)

    def _end_flight(self, message: QueuedMessage) -> None:
        if self._fair is not None:
            self._fair.loads.ended(message.number, self._clock())

    def _move(self, message: QueuedMessage) -> None:
        """Move a message that was received too often to the dead-letter queue; without one, drop it."""
        self.discard([message])
        if self.dead_letter_queue is not None:
            moved = self.dead_letter_queue.put(message.as_record())
            message.history.append(f"moved to the dead-letter queue after {self.max_receive_count} receives")
            moved.moved_from = message.number
            moved.history = list(message.history)

    def _set_visible_at(self, message: QueuedMessage, at: float) -> None:
        message.visible_at = at
        if not self.fifo:
            heapq.heappush(self._order, (at, message.number))
        if self._fair is not None:
            self._fair.push(message.group, (at, message.number))

    def _is_current(self, entry: tuple[float, int]) -> bool:
        message = self._messages.get(entry[1])
        return message is not None and message.visible_at == entry[0]


def _record_of(message: Message, *, fifo: bool) -> dict[str, Any]:
    """Return a message as Lambda would deliver it; in a FIFO queue, a message without a group gets a separate one."""
    message_id = str(uuid.uuid4())
    attributes = {"MessageGroupId": message.group_id or (message_id if fifo else None)}
    attributes["MessageDeduplicationId"] = message.deduplication_id
    return {
        "messageId": message_id,
        "body": message.body,
        "attributes": {name: value for name, value in attributes.items() if value is not None},
        "messageAttributes": {
            name: {"dataType": "String", "stringValue": value} for name, value in message.attributes.items()
        },
    }
