"""An in-memory dead-letter queue and a target, which fail on request and respond like SQS."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from fanfold._base.dead_letter import ATTRIBUTE
from fanfold._base.record import Record
from fanfold._ports.queue import Refusal
from fanfold.errors import ServiceError
from fanfold.inmemory import InMemoryQueue, InMemorySettler

ARN = "arn:aws:sqs:eu-west-1:123456789012:"


class Letters:
    """A dead-letter queue. ``gate`` is called before each call, with its name."""

    def __init__(
        self, *, fifo: bool = False, gate: Callable[[str], None] = len, clock: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.arn = f"{ARN}orders-dead{'.fifo' if fifo else ''}"
        self.queue = InMemoryQueue(fifo=fifo, visibility_timeout=30, clock=clock)
        self._settler = InMemorySettler(self.queue)
        self._gate = gate

    def put(self, body: str, reason: str | None = None, *, group: str | None = None, source: str = "orders") -> str:
        """Put a message into the queue; return its id."""
        number = sum(1 for _ in self.queue.messages()) + 1
        name = f"letter-{number}-{body}"
        document = {"reason": reason, "message_id": f"original-of-{name}", "queue": f"{ARN}{source}"}
        value = {"dataType": "String", "stringValue": json.dumps(document)}
        attributes = {"MessageGroupId": group, "MessageDeduplicationId": name} if group else {}
        self.queue.put(
            {
                "messageId": name,
                "body": body,
                "attributes": attributes,
                "messageAttributes": {ATTRIBUTE: value} if reason is not None else {},
                "eventSourceARN": self.arn,
            }
        )
        return name

    def visible(self) -> list[str]:
        """Return the bodies of the visible messages."""
        return [message.body for message in self.queue.messages() if message.visible_at <= self.queue._clock()]

    async def receive_records(self, *, max_messages: int, wait_seconds: float) -> Sequence[dict[str, Any]]:
        self._gate("receive")
        return [message.as_record() for message in self.queue.take(max_messages)]

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        return await self._settler.change_visibility(changes)

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        self._gate("delete")
        return await self.queue.delete(receipt_handles)


class Target:
    """A queue that messages are sent back to; a FIFO queue drops what it has accepted before."""

    def __init__(self, *, fifo: bool = False, gate: Callable[[str], None] = len) -> None:
        self.fifo = fifo
        self.accepted: list[Record] = []
        self.refuses: set[str] = set()
        self.refuses_at_first: set[str] = set()
        self._gate = gate

    @property
    def bodies(self) -> list[str]:
        """Bodies of the accepted messages, in order."""
        return [record.body for record in self.accepted]

    async def resend(self, records: Sequence[Record]) -> Sequence[str | Refusal]:
        self._gate("resend")
        results = [self._result(record, position) for position, record in enumerate(records)]
        self._gate("resent")
        return results

    def _result(self, record: Record, position: int) -> str | Refusal:
        if record.body in self.refuses:
            return Refusal(position, "InvalidMessageContents", final=True)
        if record.body in self.refuses_at_first:
            self.refuses_at_first.remove(record.body)
            return Refusal(position, "InternalError", final=False)
        if not self.fifo or record.message_id not in {accepted.message_id for accepted in self.accepted}:
            self.accepted.append(record)
        return f"new-{record.message_id}"


def failing_at(number: int) -> Callable[[str], None]:
    """Return a gate whose call with this number fails for good."""
    calls = iter(range(1_000_000))

    def gate(operation: str) -> None:
        if next(calls) == number:
            raise ServiceError(f"no response to {operation}", code="Killed", transient=False)

    return gate
