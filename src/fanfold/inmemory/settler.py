"""A settler on in-memory queues."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from fanfold._base.dead_letter import ATTRIBUTE, reason_attribute
from fanfold._base.message_copy import attributes_of_copy
from fanfold._base.record import Record
from fanfold._ports.queue import Refusal
from fanfold.inmemory.queue import InMemoryQueue


class InMemorySettler:
    """A settler on in-memory queues. A consumer's ``settler`` setting takes an instance as is."""

    def __init__(self, queue: InMemoryQueue, dead_letter_queue: InMemoryQueue | None = None) -> None:
        self._queue = queue
        self._dead_letter_queue = dead_letter_queue

    async def __call__(self) -> InMemorySettler:
        """Return this settler."""
        return self

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Set the visibility timeouts of messages, from now; return the entries that SQS would refuse."""
        accepted = [self._queue.change_visibility(record.receipt_handle, seconds) for record, seconds in changes]
        reason = "the message is not in flight, or the visibility timeout ends over 12 hours after the receive"
        return [
            Refusal(position, reason, final=True) for position, is_accepted in enumerate(accepted) if not is_accepted
        ]

    async def send_copies(self, copies: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Send copies of messages to their queue, after a delay."""
        for record, seconds in copies:
            sent = {name: value for name, value in record.attributes.items() if name != "ApproximateReceiveCount"}
            copy = {**record.raw, "attributes": sent, "messageAttributes": attributes_of_copy(record)}
            copy["messageId"] = str(uuid.uuid4())
            self._queue.put(copy, delay_seconds=seconds)
        return []

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        """Send messages with their reasons to the dead-letter queue; refuse all if there is none."""
        if self._dead_letter_queue is None:
            reason = "there is no dead-letter queue"
            return [Refusal(position, reason, final=True) for position in range(len(rejects))]
        for record, reason in rejects:
            reason_value = {"dataType": "String", "stringValue": reason_attribute(record, reason)}
            sent = {name: value for name, value in record.attributes.items() if name != "ApproximateReceiveCount"}
            attributes = {**record.message_attributes, ATTRIBUTE: reason_value}
            dead_letter = {**record.raw, "attributes": sent, "messageAttributes": attributes}
            self._dead_letter_queue.put(dead_letter).history.append(f"rejected by the handler: {reason}")
        return []
