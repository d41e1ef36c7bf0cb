"""A queue on SQS."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fanfold._ports.payload_pointers import SIZE_ATTRIBUTES
from fanfold._ports.queue import Message, Received, SendFailure
from fanfold.aws.faults import faults_of

__all__ = ["SqsQueue"]


class SqsQueue:
    """An SQS queue, by its URL, over an aiobotocore client.

    On a FIFO queue a message without a group is one of its own, so that nothing waits for it, and without a
    deduplication id the same body sent again within five minutes is the same message.
    """

    def __init__(self, client: Any, url: str) -> None:
        self.url = url
        """The queue's URL."""
        self._client = client
        self._fifo = url.endswith(".fifo")

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        """Send 1 to 10 messages; return those that were not accepted."""
        entries = [_entry(message, position, fifo=self._fifo) for position, message in enumerate(messages)]
        with faults_of(f"queue {self.url}"):
            answer = await self._client.send_message_batch(QueueUrl=self.url, Entries=entries)
        return [
            SendFailure(int(failed["Id"]), f"{failed['Code']}: {failed.get('Message', '')}", failed["SenderFault"])
            for failed in answer.get("Failed", [])
        ]

    async def receive(self, *, most: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive up to ``most`` messages, waiting up to ``wait_seconds``, rounded up, for the first."""
        with faults_of(f"queue {self.url}"):
            answer = await self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=most,
                WaitTimeSeconds=math.ceil(wait_seconds),
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
                MessageAttributeNames=["All"],
            )
        return [_received(message) for message in answer.get("Messages", [])]

    async def delete(self, receipt_handles: Sequence[str]) -> None:
        """Delete 1 to 10 messages by their receipt handles."""
        entries = [{"Id": str(position), "ReceiptHandle": handle} for position, handle in enumerate(receipt_handles)]
        with faults_of(f"queue {self.url}"):
            await self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)


def _entry(message: Message, position: int, *, fifo: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"Id": str(position), "MessageBody": message.body}
    if fifo:
        digest = hashlib.sha256(message.body.encode()).hexdigest()
        entry["MessageGroupId"] = message.group_id or digest
        entry["MessageDeduplicationId"] = message.deduplication_id or digest
    if message.attributes:
        entry["MessageAttributes"] = {
            name: {"DataType": "Number" if name in SIZE_ATTRIBUTES else "String", "StringValue": value}
            for name, value in message.attributes.items()
        }
    if message.delay_seconds:
        entry["DelaySeconds"] = message.delay_seconds
    return entry


def _received(message: Mapping[str, Any]) -> Received:
    return Received(
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"],
        receive_count=int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
        attributes={
            name: attribute["StringValue"]
            for name, attribute in message.get("MessageAttributes", {}).items()
            if "StringValue" in attribute
        },
    )
