"""A queue on SQS: sending, receiving, deleting, hiding, and dead letters with their reason."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from fanfold._base.dead_letter import ATTRIBUTE, reason_attribute
from fanfold._base.ordering import group_of
from fanfold._base.record import Record
from fanfold._ports.payload_pointers import SIZE_ATTRIBUTES
from fanfold._ports.queue import Message, Received, Refusal
from fanfold.aws.clients import client_of
from fanfold.aws.faults import faults_of
from fanfold.errors import ConfigurationError

_POLLING: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "read_timeout": 30,  # over the longest poll, 20 s
    "max_pool_connections": 64,
    "retries": {"mode": "standard", "max_attempts": 3},
}
_SETTLING: Final[dict[str, Any]] = {
    "connect_timeout": 3,
    "read_timeout": 10,
    "retries": {"mode": "standard", "max_attempts": 3},
}
_COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_ARN_PARTS: Final = 6
_MOST_ATTRIBUTES: Final = 10


@asynccontextmanager
async def open_client(region: str | None = None) -> AsyncIterator[Any]:
    """Yield an SQS client; credentials, endpoint and, unless given, the region are the SDK's usual ones.

    Raises:
        ConfigurationError: If there is no region.
    """
    async with client_of("sqs", "SQS", _POLLING, region_name=region) as client:
        yield client


@asynccontextmanager
async def open_settler(dead_letter_queue_url: str, **client: Any) -> AsyncIterator[SqsQueue]:
    """Yield what hands messages back on SQS; credentials, region and endpoint are the SDK's usual ones unless given.

    Raises:
        ConfigurationError: If there is no region.
    """
    async with client_of("sqs", "SQS", _SETTLING, **client) as sqs:
        yield SqsQueue(sqs, dead_letter_queue_url=dead_letter_queue_url)


async def open_queue(client: Any, url: str, *, dead_letter_queue_url: str = "") -> SqsQueue:
    """Return a queue, given an aiobotocore client, once SQS has answered for it.

    Raises:
        ConfigurationError: If the queue does not exist or may not be read, or there are no credentials.
        ServiceError: If SQS does not answer.
    """
    names = ["QueueArn", "VisibilityTimeout"]
    with faults_of(f"queue {url}"):
        answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    told = answer.get("Attributes", {})
    arn = str(told.get("QueueArn", ""))
    if len(arn.split(":")) != _ARN_PARTS or "VisibilityTimeout" not in told:
        raise ConfigurationError(f"queue {url}: SQS tells neither its ARN nor its visibility timeout; is it a queue?")
    timeout = int(told["VisibilityTimeout"])
    return SqsQueue(client, url, dead_letter_queue_url=dead_letter_queue_url, arn=arn, visibility_timeout=timeout)


class SqsQueue:
    """An SQS queue over an aiobotocore client, and the dead-letter queue for what it holds.

    Every call raises ServiceError if SQS failed, and ConfigurationError if the queue is gone or access to it.

    On a FIFO queue a message without a group is one of its own, so that nothing waits for it, and without a
    deduplication id the same body sent again within five minutes is the same message.

    Args:
        client: A client of SQS.
        url: The queue's URL. Hiding alone needs none: a record names its queue by its ARN.
        dead_letter_queue_url: Where ``send_dead_letters`` sends messages.
        arn: The queue's ARN, as in an event's records; needed to receive records.
        visibility_timeout: Seconds a received message stays hidden unless that is changed.
    """

    def __init__(
        self,
        client: Any,
        url: str = "",
        *,
        dead_letter_queue_url: str = "",
        arn: str = "",
        visibility_timeout: int = 0,
    ) -> None:
        self.url = url
        """The queue's URL."""
        self.dead_letter_queue_url = dead_letter_queue_url
        """Where rejected messages go."""
        self.arn = arn
        """The queue's ARN; empty if it was not asked for."""
        self.visibility_timeout = visibility_timeout
        """Seconds a received message stays hidden; 0 if it was not asked for."""
        self._client = client

    @property
    def fifo(self) -> bool:
        """Whether it is a FIFO queue."""
        return (self.arn or self.url).endswith(".fifo")

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send 1 to 10 messages; return those that were not accepted."""
        entries = [_entry(message, position, fifo=self.fifo) for position, message in enumerate(messages)]
        with faults_of(f"queue {self.url}"):
            return _refusals(await self._client.send_message_batch(QueueUrl=self.url, Entries=entries))

    async def receive(self, *, most: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive up to ``most`` messages, waiting up to ``wait_seconds``, rounded up, for the first."""
        return [_received(message) for message in await self._receive(most, wait_seconds, "ApproximateReceiveCount")]

    async def receive_records(self, *, most: int = 10, wait_seconds: float = 0) -> Sequence[dict[str, Any]]:
        """Receive messages as ``receive`` does, in the form of the records of a Lambda event.

        What SQS has handed over when this is cancelled comes back after the visibility timeout.
        """
        region = self.arn.split(":")[3]
        return [record_of(message, self.arn, region) for message in await self._receive(most, wait_seconds, "All")]

    async def _receive(self, most: int, wait_seconds: float, attribute: str) -> Sequence[Mapping[str, Any]]:
        with faults_of(f"queue {self.url}"):
            answer = await self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=most,
                WaitTimeSeconds=math.ceil(wait_seconds),
                MessageSystemAttributeNames=[attribute],
                MessageAttributeNames=["All"],
            )
        messages: Sequence[Mapping[str, Any]] = answer.get("Messages", [])
        return messages

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete 1 to 10 messages by their receipt handles; return what was refused."""
        entries = [{"Id": str(position), "ReceiptHandle": handle} for position, handle in enumerate(receipt_handles)]
        with faults_of(f"queue {self.url}"):
            return _refusals(await self._client.delete_message_batch(QueueUrl=self.url, Entries=entries))

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Hide 1 to 10 messages of one queue for some whole seconds from now; return what was refused."""
        url = self.url or self._queue_url(changes[0][0])
        entries = [
            {"Id": str(position), "ReceiptHandle": record.receipt_handle, "VisibilityTimeout": seconds}
            for position, (record, seconds) in enumerate(changes)
        ]
        with faults_of(f"queue {url}"):
            return _refusals(await self._client.change_message_visibility_batch(QueueUrl=url, Entries=entries))

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        """Send 1 to 10 messages with their reasons to the dead-letter queue; return what was refused."""
        url = self.dead_letter_queue_url
        fifo = url.endswith(".fifo")
        entries = [_letter(record, reason, position, fifo=fifo) for position, (record, reason) in enumerate(rejects)]
        with faults_of(f"dead-letter queue {url}"):
            answer = await self._client.send_message_batch(QueueUrl=url, Entries=entries)
        accepted = {int(sent["Id"]) for sent in answer.get("Successful", [])}
        told = {refusal.position: refusal for refusal in _refusals(answer)}
        missing = sorted(set(range(len(rejects))) - accepted)  # fail closed: what is not accepted is refused
        return [told.get(position, Refusal(position, "no answer", final=False)) for position in missing]

    async def count(self) -> int:
        """Return about how many messages are in the queue, hidden and delayed ones included."""
        with faults_of(f"queue {self.url}"):
            answer = await self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=list(_COUNTS))
        return sum(int(answer.get("Attributes", {}).get(name, 0)) for name in _COUNTS)

    def _queue_url(self, record: Record) -> str:
        """Return the URL of the queue a record came from: the endpoint, the account and the name of its ARN."""
        parts = record.queue_arn.split(":")
        if len(parts) != _ARN_PARTS or not all(parts[4:]):
            raise ConfigurationError(
                f"record {record.message_id} names no queue: eventSourceARN is {record.queue_arn!r}"
            )
        return f"{self._client.meta.endpoint_url.rstrip('/')}/{parts[4]}/{parts[5]}"


def record_of(message: Mapping[str, Any], queue_arn: str, region: str) -> dict[str, Any]:
    """Return a message as a Lambda event holds it, from the form ReceiveMessage has it in."""
    attributes = message.get("MessageAttributes", {})
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message.get("Body", ""),
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {name: _attribute_of_record(value) for name, value in attributes.items()},
        "md5OfBody": message.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": region,
    }
    if "MD5OfMessageAttributes" in message:
        record["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return record


def _attribute_of_record(attribute: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": attribute["DataType"]}
    if "StringValue" in attribute:
        told["stringValue"] = attribute["StringValue"]
    if "BinaryValue" in attribute:
        told["binaryValue"] = base64.b64encode(attribute["BinaryValue"]).decode()
    return told


def _attribute_to_send(attribute: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message attribute as SQS takes it, from the form it has in an event."""
    sent: dict[str, Any] = {"DataType": attribute["dataType"]}
    if attribute.get("stringValue") is not None:
        sent["StringValue"] = attribute["stringValue"]
    if attribute.get("binaryValue") is not None:
        sent["BinaryValue"] = base64.b64decode(attribute["binaryValue"])
    return sent


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


def _letter(record: Record, reason: str, position: int, *, fifo: bool) -> dict[str, Any]:
    originals = dict(record.message_attributes)
    originals.pop(ATTRIBUTE, None)
    kept = dict(list(originals.items())[: _MOST_ATTRIBUTES - 1])
    overflow = {name: value for name, value in originals.items() if name not in kept}
    entry: dict[str, Any] = {
        "Id": str(position),
        "MessageBody": record.body,
        "MessageAttributes": {
            **{name: _attribute_to_send(value) for name, value in kept.items()},
            ATTRIBUTE: {"DataType": "String", "StringValue": reason_attribute(record, reason, overflow)},
        },
    }
    if fifo:
        entry["MessageGroupId"] = group_of(record) or record.message_id
        entry["MessageDeduplicationId"] = record.message_id
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


def _refusals(answer: Mapping[str, Any]) -> Sequence[Refusal]:
    return [
        Refusal(int(failed["Id"]), f"{failed['Code']}: {failed.get('Message', '')}", bool(failed["SenderFault"]))
        for failed in answer.get("Failed", [])
    ]
