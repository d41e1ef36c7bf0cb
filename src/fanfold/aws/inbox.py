"""A queue on SQS as those see it who receive for themselves: messages as Lambda's records, held and deleted in tens."""

from __future__ import annotations

import base64
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from fanfold.aws.clients import client_of
from fanfold.aws.faults import faults_of
from fanfold.errors import ConfigurationError

__all__ = ["Inbox", "Refusal", "open_client", "open_inbox", "record_of"]

_CONFIG: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "read_timeout": 30,  # over the longest poll, 20 s
    "max_pool_connections": 64,
    "retries": {"mode": "standard", "max_attempts": 3},
}
_COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_ARN_PARTS: Final = 6


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry of a call in tens that SQS did not carry out."""

    position: int
    """Where it stood in the call, from 0."""
    reason: str
    """SQS's own words."""
    final: bool
    """Whether the same entry would be refused again: the fault is not SQS's."""


@asynccontextmanager
async def open_client(region: str | None = None) -> AsyncIterator[Any]:
    """Yield an SQS client; credentials, endpoint and, unless given, the region are the SDK's usual ones.

    Raises:
        ConfigurationError: If there is no region.
    """
    async with client_of("sqs", "SQS", _CONFIG, region_name=region) as client:
        yield client


async def open_inbox(client: Any, url: str) -> Inbox:
    """Return the inbox of a queue, given an aiobotocore client, once SQS has answered for it.

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
    return Inbox(client, url, arn=arn, visibility_timeout=int(told["VisibilityTimeout"]))


class Inbox:
    """A queue to receive from, over an aiobotocore client.

    Every call raises ServiceError if SQS failed, and ConfigurationError if the queue is gone or access to it.
    """

    def __init__(self, client: Any, url: str, *, arn: str, visibility_timeout: int) -> None:
        self.url = url
        """The queue's URL."""
        self.arn = arn
        """The queue's ARN, as in an event's records."""
        self.visibility_timeout = visibility_timeout
        """Seconds a received message stays hidden unless that is changed."""
        self._client = client
        self._region = arn.split(":")[3]

    @property
    def fifo(self) -> bool:
        """Whether it is a FIFO queue."""
        return self.arn.endswith(".fifo")

    async def receive(self, *, most: int = 10, wait_seconds: float = 0) -> Sequence[dict[str, Any]]:
        """Receive up to ``most`` messages (1 to 10) as records; wait up to ``wait_seconds``, rounded up, for the first.

        What SQS has handed over when this is cancelled comes back after the visibility timeout.
        """
        with faults_of(f"queue {self.url}"):
            answer = await self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=most,
                WaitTimeSeconds=math.ceil(wait_seconds),
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        return [record_of(message, self.arn, self._region) for message in answer.get("Messages", [])]

    async def delete(self, handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete 1 to 10 messages by their receipt handles; return what was refused."""
        entries = [{"Id": str(position), "ReceiptHandle": handle} for position, handle in enumerate(handles)]
        with faults_of(f"queue {self.url}"):
            return _refusals(await self._client.delete_message_batch(QueueUrl=self.url, Entries=entries))

    async def hide(self, changes: Sequence[tuple[str, int]]) -> Sequence[Refusal]:
        """Hide 1 to 10 messages, by their receipt handles, for some whole seconds from now; return what was refused."""
        entries = [
            {"Id": str(position), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
            for position, (handle, seconds) in enumerate(changes)
        ]
        with faults_of(f"queue {self.url}"):
            return _refusals(await self._client.change_message_visibility_batch(QueueUrl=self.url, Entries=entries))

    async def count(self) -> int:
        """Return about how many messages are in the queue, hidden and delayed ones included."""
        with faults_of(f"queue {self.url}"):
            answer = await self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=list(_COUNTS))
        return sum(int(answer.get("Attributes", {}).get(name, 0)) for name in _COUNTS)


def record_of(message: Mapping[str, Any], queue_arn: str, region: str) -> dict[str, Any]:
    """Return a message as a Lambda event holds it, from the form ReceiveMessage has it in."""
    attributes = message.get("MessageAttributes", {})
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message.get("Body", ""),
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {name: _attribute(value) for name, value in attributes.items()},
        "md5OfBody": message.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": region,
    }
    if "MD5OfMessageAttributes" in message:
        record["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return record


def _attribute(attribute: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": attribute["DataType"]}
    if "StringValue" in attribute:
        told["stringValue"] = attribute["StringValue"]
    if "BinaryValue" in attribute:
        told["binaryValue"] = base64.b64encode(attribute["BinaryValue"]).decode()
    return told


def _refusals(answer: Mapping[str, Any]) -> Sequence[Refusal]:
    return [
        Refusal(int(failed["Id"]), f"{failed['Code']}: {failed.get('Message', '')}", bool(failed["SenderFault"]))
        for failed in answer.get("Failed", [])
    ]
