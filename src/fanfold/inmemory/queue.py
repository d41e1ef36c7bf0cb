"""An SQS queue in this process, on any clock: standard or FIFO, the same every time for the same seed.

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
from fanfold._base.dead_letter import ATTRIBUTE, reason_attribute
from fanfold._base.record import Record
from fanfold._ports.queue import Message, Received, Refusal
from fanfold.errors import ServiceError

_POLL_SECONDS = 0.005
_DUPLICATE_SECONDS = 0.001
"""After this a message that is delivered twice is there again."""
_MORE_TO_CHOOSE_FROM = 3
"""Of how many times the wanted messages a reordering queue chooses."""


@dataclass(slots=True)
class QueuedMessage:
    """A message, and what has become of it."""

    number: int
    """Position in the order of sending; names it where message ids repeat."""
    record: Mapping[str, Any]
    """As Lambda would deliver it, but for counts and receipt handle."""
    visible_at: float
    """When it can be received next, on the queue's clock; infinity once it is gone."""
    receive_count: int = 0
    """Deliveries so far."""
    handle: str = ""
    """Receipt handle of the last receive; empty before the first."""
    received_at: float = 0.0
    """When it was received last."""
    keeps: int = 0
    """Deletions that will be forgotten: at least once means that a deleted message can come back."""
    origin: int | None = None
    """Number it had in the queue it was moved from; None for one that was sent here."""
    history: list[str] = field(default_factory=list)
    """What happened to it, one line each."""

    @property
    def message_id(self) -> str:
        """Its id; a queue may hold several of one id when an event did."""
        return str(self.record["messageId"])

    @property
    def body(self) -> str:
        """Its text."""
        return str(self.record["body"])

    @property
    def attributes(self) -> Mapping[str, str]:
        """Its text attributes."""
        attributes = self.record.get("messageAttributes") or {}
        return {name: each["stringValue"] for name, each in attributes.items() if each.get("stringValue") is not None}

    @property
    def group(self) -> str:
        """Its message group; empty without one."""
        return str((self.record.get("attributes") or {}).get("MessageGroupId", ""))

    @property
    def message(self) -> Message:
        """What to send to have the same message once more."""
        deduplication_id = (self.record.get("attributes") or {}).get("MessageDeduplicationId")
        return Message(self.body, self.attributes, group_id=self.group or None, deduplication_id=deduplication_id)

    def as_record(self) -> dict[str, Any]:
        """Return the message as Lambda delivers it after its last receive."""
        attributes = {**(self.record.get("attributes") or {}), "ApproximateReceiveCount": str(self.receive_count)}
        return {**self.record, "receiptHandle": self.handle, "attributes": attributes}


class InMemoryQueue:
    """Messages are hidden when received, come back when not deleted, and move away after too many receives.

    A standard queue gives the message that has been visible for longest first. A receive costs time by what it gives,
    not by what is in the queue; in a FIFO queue, by the number of groups.

    Args:
        visibility_timeout: Seconds a received message stays hidden.
        max_receive_count: Receives after which a message moves to the dead-letter queue; None for never.
        dead_letter_queue: Where to; None to drop it.
        clock: What tells the time, in seconds.
        fifo: Whether the messages of a group stay in order.
        duplicates: Share of receives after which a message is there once more although it was received, or deleted: 0
            to 1.
        reordered: Whether a standard queue gives messages in another order than they came.
        chance: What duplicates and reordering draw from; None for one that is seeded with 0.
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
        chance: random.Random | None = None,
    ) -> None:
        self.visibility_timeout = visibility_timeout
        """Seconds a received message stays hidden."""
        self.max_receive_count = max_receive_count
        """Receives after which a message moves to the dead-letter queue; None for never."""
        self.dead_letter_queue = dead_letter_queue
        """Where to."""
        self.fifo = fifo
        """Whether it is a FIFO queue."""
        self.hidden_until: float = 0.0
        """No message that is hidden again is visible before: when the invocation that hides it ends."""
        self._clock = clock
        self._duplicates = duplicates
        self._reordered = reordered
        self._chance = chance or random.Random(0)  # noqa: S311 - to be the same every time
        self._numbers = itertools.count()
        self._handles = itertools.count(1)
        self._messages: dict[int, QueuedMessage] = {}
        self._by_handle: dict[str, QueuedMessage] = {}
        self._order: list[tuple[float, int]] = []
        self._groups: dict[str, dict[int, QueuedMessage]] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def messages(self) -> Sequence[QueuedMessage]:
        """Return what is in the queue, visible or not, in the order of sending."""
        return list(self._messages.values())

    # The port.

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send 1 to 10 messages of at most 1 MiB in total; none is ever refused one by one."""
        if not 1 <= len(messages) <= aws_limits.SQS_BATCH_ENTRIES:
            raise ServiceError(f"a batch of {len(messages)} messages", code="InvalidBatch", transient=False)
        if sum(message.size_bytes for message in messages) > aws_limits.SQS_BATCH_BYTES:
            raise ServiceError("a batch over 1 MiB", code="BatchRequestTooLong", transient=False)
        for message in messages:
            self.put(_record_of(message, fifo=self.fifo), delay_seconds=message.delay_seconds)
        return []

    async def receive(self, *, most: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive up to ``most`` messages, waiting up to ``wait_seconds`` for the first."""
        until = self._clock() + wait_seconds
        while not (taken := self._take_until_full(most)) and self._clock() < until:  # noqa: ASYNC110 - time, not an event, makes messages visible
            await anyio.sleep(_POLL_SECONDS)
        return [
            Received(each.message_id, each.handle, each.body, each.receive_count, each.attributes) for each in taken
        ]

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete messages by their receipt handles; those already gone are no error."""
        for handle in receipt_handles:
            self.remove(handle)
        return []

    # The same, for a simulation.

    def put(self, record: Mapping[str, Any], *, delay_seconds: float = 0.0) -> QueuedMessage:
        """Put a message into the queue; ``record`` as Lambda would deliver it."""
        message = QueuedMessage(next(self._numbers), record, self._clock() + delay_seconds)
        counted = str((record.get("attributes") or {}).get("ApproximateReceiveCount", "1"))
        message.receive_count = max(0, int(counted) - 1) if counted.isdecimal() else 0
        self._messages[message.number] = message
        if self.fifo:
            self._groups.setdefault(message.group, {})[message.number] = message
        self._show(message, message.visible_at)
        return message

    def take(self, most: int) -> list[QueuedMessage]:
        """Receive up to ``most`` messages that are visible now, and hide them."""
        taken: list[QueuedMessage] = []
        visible = self._visible_in_groups(most) if self.fifo else self._visible(most)
        for message in visible:
            if self.max_receive_count is not None and message.receive_count >= self.max_receive_count:
                self._move(message)
            else:
                self._receive(message)
                taken.append(message)
        return taken

    def _take_until_full(self, most: int) -> list[QueuedMessage]:
        """Receive as ``take`` does; what has been received too often takes nobody's place."""
        taken = self.take(most)
        while len(taken) < most and not self.seconds_until_visible():
            taken += self.take(most - len(taken))
        return taken

    def put_back(self, message: QueuedMessage) -> None:
        """Take back a receive of a message that was not delivered after all: it is visible, and not counted."""
        message.receive_count -= 1
        self._by_handle.pop(message.handle, None)
        message.handle = ""
        self._show(message, self._clock())

    def remove(self, handle: str) -> bool:
        """Delete a message by the handle of its last receive; return whether the handle still held."""
        message = self._by_handle.get(handle)
        if message is None:
            return False
        if message.keeps:
            message.keeps -= 1
            message.history.append("deleted, but the queue delivers it once more (at least once)")
        else:
            self.discard([message])
        return True

    def change_visibility(self, handle: str, seconds: float) -> bool:
        """Hide a received message for some seconds from now; return whether SQS would accept it.

        It does not if the message is gone, received again or visible since, nor for more than 12 hours since its
        receive.
        """
        message = self._by_handle.get(handle)
        if message is None or message.visible_at <= self._clock():
            return False
        until = max(self._clock() + seconds, self.hidden_until)
        if until > message.received_at + aws_limits.SQS_MAX_VISIBILITY_SECONDS:
            return False
        self._show(message, until)
        message.history.append(f"hidden for {seconds:g} s by the handler")
        return True

    def discard(self, messages: Iterable[QueuedMessage]) -> None:
        """Take messages out of the queue, received or not, such as ``discard(messages())``: all."""
        for message in messages:
            del self._messages[message.number]
            self._by_handle.pop(message.handle, None)
            message.visible_at = math.inf
            if self.fifo:
                group = self._groups[message.group]
                del group[message.number]
                if not group:
                    del self._groups[message.group]

    def next_visible_at(self) -> float:
        """Return when a message can be received next; infinity if none ever."""
        if self.fifo:
            return min((self._unlocked_at(group) for group in self._groups.values()), default=math.inf)
        while self._order and not self._stands(self._order[0]):
            heapq.heappop(self._order)
        return self._order[0][0] if self._order else math.inf

    def seconds_until_visible(self) -> float:
        """Return the seconds until a message can be received: 0 if one can, infinity if none ever."""
        return max(0.0, self.next_visible_at() - self._clock())

    def _visible(self, most: int) -> list[QueuedMessage]:
        wanted = most * _MORE_TO_CHOOSE_FROM if self._reordered else most
        found: dict[int, float] = {}
        while self._order and self._order[0][0] <= self._clock() and len(found) < wanted:
            entry = heapq.heappop(self._order)
            if self._stands(entry):
                found[entry[1]] = entry[0]
        numbers = list(found)
        if self._reordered:
            self._chance.shuffle(numbers)
        for number in numbers[most:]:
            heapq.heappush(self._order, (found[number], number))
        return [self._messages[number] for number in numbers[:most]]

    def _visible_in_groups(self, most: int) -> list[QueuedMessage]:
        found: list[QueuedMessage] = []
        for group in self._groups.values():
            if self._unlocked_at(group) <= self._clock():
                visible = itertools.takewhile(lambda each: each.visible_at <= self._clock(), group.values())
                found.extend(itertools.islice(visible, most - len(found)))
            if len(found) >= most:
                break
        return found

    def _unlocked_at(self, group: Mapping[int, QueuedMessage]) -> float:
        """Return when a group can be received from: none of its messages may be in flight."""
        hidden = [message.visible_at for message in group.values() if message.handle]
        return max([next(iter(group.values())).visible_at, *hidden])

    def _receive(self, message: QueuedMessage) -> None:
        now = self._clock()
        message.receive_count += 1
        message.received_at = now
        self._by_handle.pop(message.handle, None)
        message.handle = f"{message.message_id}#{next(self._handles)}"
        self._by_handle[message.handle] = message
        hidden = self.visibility_timeout
        if self._duplicates and self._chance.random() < self._duplicates:
            if self._chance.random() < 0.5 and not self.fifo:  # noqa: PLR2004 - either way of the two
                hidden = _DUPLICATE_SECONDS
            else:
                message.keeps += 1
        self._show(message, now + hidden)

    def _move(self, message: QueuedMessage) -> None:
        """Move a message that was received too often to the dead-letter queue; without one, drop it."""
        self.discard([message])
        if self.dead_letter_queue is not None:
            moved = self.dead_letter_queue.put(message.as_record())
            message.history.append(f"moved to the dead-letter queue after {self.max_receive_count} receives")
            moved.origin = message.number
            moved.history = list(message.history)

    def _show(self, message: QueuedMessage, at: float) -> None:
        message.visible_at = at
        if not self.fifo:
            heapq.heappush(self._order, (at, message.number))

    def _stands(self, entry: tuple[float, int]) -> bool:
        message = self._messages.get(entry[1])
        return message is not None and message.visible_at == entry[0]


class InMemorySettler:
    """Hands messages back to an in-memory queue, and sends rejected ones to another; its own opener."""

    def __init__(self, queue: InMemoryQueue, dead_letter_queue: InMemoryQueue | None = None) -> None:
        self._queue = queue
        self._dead_letter_queue = dead_letter_queue

    async def __call__(self) -> InMemorySettler:
        """Return this settler."""
        return self

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Hide messages for some seconds from now; return those that SQS would refuse."""
        accepted = [self._queue.change_visibility(record.receipt_handle, seconds) for record, seconds in changes]
        reason = "the message is not in flight, or would be hidden for more than 12 hours"
        return [Refusal(position, reason, final=True) for position, hidden in enumerate(accepted) if not hidden]

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        """Send messages with their reasons to the dead-letter queue; without one, refuse all."""
        if self._dead_letter_queue is None:
            reason = "there is no dead-letter queue"
            return [Refusal(position, reason, final=True) for position in range(len(rejects))]
        for record, reason in rejects:
            why = {"dataType": "String", "stringValue": reason_attribute(record, reason)}
            sent = {name: value for name, value in record.attributes.items() if name != "ApproximateReceiveCount"}
            attributes = {**record.message_attributes, ATTRIBUTE: why}
            letter = {**record.raw, "attributes": sent, "messageAttributes": attributes}  # a message of its own
            self._dead_letter_queue.put(letter).history.append(f"rejected by the handler: {reason}")
        return []


def _record_of(message: Message, *, fifo: bool) -> dict[str, Any]:
    """Return a message as Lambda would deliver it; in a FIFO queue one without a group is a group of its own."""
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
