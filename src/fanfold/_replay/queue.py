"""An SQS queue on a clock of its own, for the simulator: standard or FIFO, the same every time for the same seed."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fanfold._base import aws_limits
from fanfold._base.dead_letter import ATTRIBUTE, reason_attribute
from fanfold._base.record import Record
from fanfold._ports.queue import Refusal

__all__ = ["QueueSettings", "SimulatedMessage", "SimulatedQueue", "SimulatedSettler"]

_DUPLICATE_SECONDS = 0.001
"""After this a message that is delivered twice is there again."""
_MORE_TO_CHOOSE_FROM = 3
"""Of how many times the wanted messages a reordering queue chooses."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How a simulated queue behaves."""

    visibility_timeout: float = 30.0
    """Seconds a received message stays hidden."""
    max_receive_count: int | None = None
    """Receives after which a message goes to the dead-letter queue; None for no redrive policy."""
    fifo: bool = False
    """Whether the messages of a group stay in order."""
    duplicates: float = 0.0
    """Share of receives after which a message is there once more although it was received, or deleted: 0 to 1."""
    reordered: bool = False
    """Whether a standard queue gives messages in another order than they came."""


@dataclass(slots=True)
class SimulatedMessage:
    """A message, and what has become of it."""

    number: int
    """Position in the order of sending; names it where message ids repeat."""
    record: Mapping[str, Any]
    """As Lambda would deliver it, but for counts and receipt handle."""
    visible_at: float
    """When it can be received next; infinity once it is gone."""
    receive_count: int = 0
    """Deliveries so far."""
    handle: str = ""
    """Receipt handle of the last receive."""
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
    def group(self) -> str:
        """Its message group; empty without one."""
        return str((self.record.get("attributes") or {}).get("MessageGroupId", ""))


class SimulatedQueue:
    """Messages that are hidden when received, come back when not deleted, and move away after too many receives."""

    def __init__(
        self,
        settings: QueueSettings,
        clock: Callable[[], float],
        chance: random.Random,
        *,
        dead_letters: SimulatedQueue | None = None,
    ) -> None:
        self.settings = settings
        """How it behaves."""
        self.dead_letters = dead_letters
        """Where messages go after too many receives; None for no redrive policy."""
        self.hidden_until: float = 0.0
        """No message that is hidden again is visible before: when the invocation that hides it ends."""
        self._clock = clock
        self._chance = chance
        self._numbers = itertools.count()
        self._handles = itertools.count(1)
        self._messages: dict[int, SimulatedMessage] = {}
        self._by_handle: dict[str, SimulatedMessage] = {}
        self._order: list[tuple[float, int]] = []
        self._groups: dict[str, dict[int, SimulatedMessage]] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def messages(self) -> Sequence[SimulatedMessage]:
        """Return what is in the queue, hidden or not, in the order of sending."""
        return list(self._messages.values())

    def send(self, record: Mapping[str, Any], *, delay_seconds: float = 0.0) -> SimulatedMessage:
        """Put a message into the queue; ``record`` as Lambda would deliver it."""
        message = SimulatedMessage(next(self._numbers), record, self._clock() + delay_seconds)
        counted = str((record.get("attributes") or {}).get("ApproximateReceiveCount", "1"))
        message.receive_count = max(0, int(counted) - 1) if counted.isdecimal() else 0
        self._messages[message.number] = message
        if self.settings.fifo:
            self._groups.setdefault(message.group, {})[message.number] = message
        self._show(message, message.visible_at)
        return message

    def receive(self, most: int) -> list[SimulatedMessage]:
        """Receive up to ``most`` messages that are visible now, and hide them."""
        visible = self._visible_in_groups(most) if self.settings.fifo else self._visible(most)
        return [message for message in visible if self._taken(message)]

    def put_back(self, message: SimulatedMessage) -> None:
        """Take back a receive of a message that was not delivered after all: it is visible, and not counted."""
        message.receive_count -= 1
        self._by_handle.pop(message.handle, None)
        message.handle = ""
        self._show(message, self._clock())

    def delete(self, handle: str) -> bool:
        """Delete a message by the handle of its last receive; tell whether the handle still held."""
        message = self._by_handle.get(handle)
        if message is None or message.handle != handle:
            return False
        if message.keeps:
            message.keeps -= 1
            message.history.append("deleted, but the queue delivers it once more (at least once)")
            return True
        self._remove(message)
        return True

    def hide(self, handle: str, seconds: float) -> bool:
        """Hide a received message for some seconds from now; tell whether SQS would accept it."""
        message = self._by_handle.get(handle)
        if message is None or message.handle != handle or message.visible_at <= self._clock():
            return False
        until = max(self._clock() + seconds, self.hidden_until)
        if until > message.received_at + aws_limits.SQS_MAX_VISIBILITY_SECONDS:
            return False
        self._show(message, until)
        message.history.append(f"hidden for {seconds:g} s by the handler")
        return True

    def next_visible_at(self) -> float:
        """Return when a message can be received next; infinity if none ever."""
        if self.settings.fifo:
            return min((self._unlocked_at(group) for group in self._groups.values()), default=math.inf)
        while self._order and not self._stands(self._order[0]):
            heapq.heappop(self._order)
        return self._order[0][0] if self._order else math.inf

    def as_event_record(self, message: SimulatedMessage) -> dict[str, Any]:
        """Return a received message as Lambda delivers it."""
        attributes = {**(message.record.get("attributes") or {}), "ApproximateReceiveCount": str(message.receive_count)}
        return {**message.record, "receiptHandle": message.handle, "attributes": attributes}

    def _visible(self, most: int) -> list[SimulatedMessage]:
        wanted = most * _MORE_TO_CHOOSE_FROM if self.settings.reordered else most
        found: dict[int, float] = {}
        while self._order and self._order[0][0] <= self._clock() and len(found) < wanted:
            entry = heapq.heappop(self._order)
            if self._stands(entry):
                found[entry[1]] = entry[0]
        numbers = list(found)
        if self.settings.reordered:
            self._chance.shuffle(numbers)
        for number in numbers[most:]:
            heapq.heappush(self._order, (found[number], number))
        return [self._messages[number] for number in numbers[:most]]

    def _visible_in_groups(self, most: int) -> list[SimulatedMessage]:
        found: list[SimulatedMessage] = []
        for group in self._groups.values():
            if self._unlocked_at(group) <= self._clock():
                visible = itertools.takewhile(lambda each: each.visible_at <= self._clock(), group.values())
                found.extend(itertools.islice(visible, most - len(found)))
            if len(found) >= most:
                break
        return found

    def _unlocked_at(self, group: Mapping[int, SimulatedMessage]) -> float:
        """Return when a group can be received from: none of its messages may be in flight."""
        hidden = [message.visible_at for message in group.values() if message.handle]
        return max([next(iter(group.values())).visible_at, *hidden]) if group else math.inf

    def _taken(self, message: SimulatedMessage) -> bool:
        most = self.settings.max_receive_count
        if most is not None and message.receive_count >= most:
            self._remove(message)
            if self.dead_letters is not None:
                moved = self.dead_letters.send(self.as_event_record(message))
                message.history.append(f"moved to the dead-letter queue after {most} receives")
                moved.origin = message.number
                moved.history = list(message.history)
            return False
        now = self._clock()
        message.receive_count += 1
        message.received_at = now
        self._by_handle.pop(message.handle, None)
        message.handle = f"{message.message_id}#{next(self._handles)}"
        self._by_handle[message.handle] = message
        hidden = self.settings.visibility_timeout
        if self.settings.duplicates and self._chance.random() < self.settings.duplicates:
            if self._chance.random() < 0.5 and not self.settings.fifo:  # noqa: PLR2004 - either way of the two
                hidden = _DUPLICATE_SECONDS
            else:
                message.keeps += 1
        self._show(message, now + hidden)
        return True

    def _show(self, message: SimulatedMessage, at: float) -> None:
        message.visible_at = at
        if not self.settings.fifo:
            heapq.heappush(self._order, (at, message.number))

    def _stands(self, entry: tuple[float, int]) -> bool:
        message = self._messages.get(entry[1])
        return message is not None and message.visible_at == entry[0]

    def _remove(self, message: SimulatedMessage) -> None:
        del self._messages[message.number]
        self._by_handle.pop(message.handle, None)
        message.visible_at = math.inf
        if self.settings.fifo:
            group = self._groups[message.group]
            del group[message.number]
            if not group:
                del self._groups[message.group]


class SimulatedSettler:
    """Hands messages back to simulated queues; its own opener."""

    def __init__(self, queue: SimulatedQueue, dead_letters: SimulatedQueue) -> None:
        self._queue = queue
        self._dead_letters = dead_letters

    async def __call__(self) -> SimulatedSettler:
        """Return this settler."""
        return self

    async def hide(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Hide messages for some seconds from now; return what was refused."""
        accepted = [self._queue.hide(record.receipt_handle, seconds) for record, seconds in changes]
        return [
            Refusal(position, "not in flight, or over 12 hours", final=True)
            for position, hidden in enumerate(accepted)
            if not hidden
        ]

    async def bury(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        """Send messages to the dead-letter queue, with the reasons."""
        for record, reason in rejects:
            attributes = {
                **record.message_attributes,
                ATTRIBUTE: {"dataType": "String", "stringValue": reason_attribute(record, reason, {})},
            }
            buried = self._dead_letters.send({**record.raw, "messageAttributes": attributes})
            buried.history.append(f"rejected by the handler: {reason}")
        return []
