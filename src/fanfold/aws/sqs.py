"""An SQS queue: send, receive, delete, change visibility, and send dead letters with their reasons."""

from __future__ import annotations

import functools
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from fanfold._base.record import Record
from fanfold._ports.queue import Message, QueueCounts, Received, Refusal
from fanfold.aws.clients import client_of
from fanfold.aws.fast_calls import call
from fanfold.aws.faults import map_errors
from fanfold.aws.sqs_entries import (
    entries_of,
    entry_of_copy,
    entry_of_dead_letter,
    entry_of_message,
    entry_of_resent,
    received_of,
    record_of,
    refusals_of,
)
from fanfold.errors import ConfigurationError

_POLLING: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "read_timeout": 30,  # longer than the longest poll, 20 s
    "max_pool_connections": 64,
    "retries": {"mode": "standard", "max_attempts": 3},
}
_SETTLING: Final[dict[str, Any]] = {
    "connect_timeout": 3,
    "read_timeout": 10,
    "retries": {"mode": "standard", "max_attempts": 3},
}
_WAITING: Final = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed")
_IN_FLIGHT: Final = "ApproximateNumberOfMessagesNotVisible"
_ARN_PARTS: Final = 6


@asynccontextmanager
async def open_client(region: str | None = None) -> AsyncIterator[Any]:
    """Yield an SQS client; credentials, endpoint and the default region are the SDK's usual ones.

    Raises:
        ConfigurationError: If no region is set.
    """
    async with client_of("sqs", "SQS", _POLLING, region_name=region) as client:
        yield client


@asynccontextmanager
async def open_settler(dead_letter_queue_url: str, **client: Any) -> AsyncIterator[SqsQueue]:
    """Yield a settler on SQS; by default, credentials, region and endpoint are the SDK's usual ones.

    Raises:
        ConfigurationError: If no region is set.
    """
    async with client_of("sqs", "SQS", _SETTLING, **client) as sqs:
        yield SqsQueue(sqs, dead_letter_queue_url=dead_letter_queue_url)


@asynccontextmanager
async def open_sender(url: str) -> AsyncIterator[SqsQueue]:
    """Yield a queue that messages are sent to; credentials, region and endpoint are the SDK's usual ones.

    Raises:
        ConfigurationError: If no region is set.
    """
    async with client_of("sqs", "SQS", _SETTLING) as sqs:
        yield SqsQueue(sqs, url)


async def open_queue(client: Any, url: str, *, dead_letter_queue_url: str = "") -> SqsQueue:
    """Return a queue over an aiobotocore client, after reading its ARN and visibility timeout from SQS.

    Raises:
        ConfigurationError: If the queue does not exist, access is denied, or there are no credentials.
        ServiceError: If SQS does not respond.
    """
    names = ["QueueArn", "VisibilityTimeout"]
    with map_errors(f"queue {url}"):
        response = await client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    attributes = response.get("Attributes", {})
    arn = str(attributes.get("QueueArn", ""))
    if len(arn.split(":")) != _ARN_PARTS or "VisibilityTimeout" not in attributes:
        raise ConfigurationError(
            f"queue {url}: SQS did not return an ARN and a visibility timeout; check the queue URL"
        )
    timeout = int(attributes["VisibilityTimeout"])
    return SqsQueue(client, url, dead_letter_queue_url=dead_letter_queue_url, arn=arn, visibility_timeout=timeout)


class SqsQueue:
    """An SQS queue over an aiobotocore client, with its dead-letter queue.

    Every call raises ServiceError if SQS fails, and ConfigurationError if the queue does not exist or access is denied.

    On a FIFO queue, a message without a message group ID gets a group that only equal bodies share, so that no other
    message waits for it. Without a deduplication ID, SQS drops a message with the same body within five minutes.

    Args:
        client: A client of SQS.
        url: The queue's URL; optional for ``change_visibility``, which derives it from the ARN in the record.
        dead_letter_queue_url: The queue that ``send_dead_letters`` sends to.
        arn: The queue's ARN, as in an event's records; needed to receive records.
        visibility_timeout: The queue's visibility timeout in seconds.
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
        """The URL of the queue for rejected messages."""
        self.arn = arn
        """The queue's ARN; empty if unknown."""
        self.visibility_timeout = visibility_timeout
        """The queue's visibility timeout in seconds; 0 if unknown."""
        self._client = client

    @property
    def fifo(self) -> bool:
        """True for a FIFO queue."""
        return (self.arn or self.url).endswith(".fifo")

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send 1 to 10 messages; return the refused entries."""
        entries, unsendable = entries_of(messages, functools.partial(entry_of_message, fifo=self.fifo))
        if unsendable and not entries:
            return unsendable
        response = await self._call("send_message_batch", f"queue {self.url}", QueueUrl=self.url, Entries=entries)
        return [*unsendable, *refusals_of(response)]

    async def receive(self, *, max_messages: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive up to ``max_messages`` messages, waiting up to ``wait_seconds``, rounded up, for the first."""
        return [
            received_of(message)
            for message in await self._receive(max_messages, wait_seconds, "ApproximateReceiveCount")
        ]

    async def receive_records(self, *, max_messages: int = 10, wait_seconds: float = 0) -> Sequence[dict[str, Any]]:
        """Receive messages as ``receive`` does, in the form of the records of a Lambda event.

        If the call is cancelled, SQS redelivers messages that it had already handed over, after the visibility timeout.
        """
        region = self.arn.split(":")[3]
        return [
            record_of(message, self.arn, region) for message in await self._receive(max_messages, wait_seconds, "All")
        ]

    async def _receive(self, max_messages: int, wait_seconds: float, attribute: str) -> Sequence[Mapping[str, Any]]:
        response = await self._call(
            "receive_message",
            f"queue {self.url}",
            QueueUrl=self.url,
            MaxNumberOfMessages=max_messages,
            WaitTimeSeconds=math.ceil(wait_seconds),
            MessageSystemAttributeNames=[attribute],
            MessageAttributeNames=["All"],
        )
        messages: Sequence[Mapping[str, Any]] = response.get("Messages", [])
        return messages

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete 1 to 10 messages by their receipt handles; return the refused entries."""
        entries = [{"Id": str(position), "ReceiptHandle": handle} for position, handle in enumerate(receipt_handles)]
        return refusals_of(
            await self._call("delete_message_batch", f"queue {self.url}", QueueUrl=self.url, Entries=entries)
        )

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Set the visibility timeouts of 1 to 10 messages, in whole seconds from now; return the refused entries."""
        entries, refusals = entries_of(changes, self._visibility_entry)
        for url in dict.fromkeys(url for url, _ in entries):
            of_queue = [entry for entry_url, entry in entries if entry_url == url]
            response = await self._call(
                "change_message_visibility_batch", f"queue {url}", QueueUrl=url, Entries=of_queue
            )
            refusals += refusals_of(response)
        return refusals

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        """Send 1 to 10 messages with their reasons to the dead-letter queue; return the refused entries."""
        url = self.dead_letter_queue_url
        entries, unsendable = entries_of(rejects, functools.partial(entry_of_dead_letter, fifo=url.endswith(".fifo")))
        if unsendable and not entries:
            return unsendable
        response = await self._call("send_message_batch", f"dead-letter queue {url}", QueueUrl=url, Entries=entries)
        return [*unsendable, *_not_accepted(response, entries)]

    async def resend(self, records: Sequence[Record]) -> Sequence[str | Refusal]:
        """Send 1 to 10 received messages to this queue; return the new id of each, or why it was not accepted.

        Body, message attributes, message group and X-Ray trace header are kept. On a FIFO queue, the deduplication id
        is derived from the message id: with the one that it had, SQS would accept and drop a message that was first
        sent less than five minutes ago. A repeat within five minutes is dropped.
        """
        entries, refusals = entries_of(records, functools.partial(entry_of_resent, fifo=self.fifo))
        response: Mapping[str, Any] = {}
        if entries:
            response = await self._call("send_message_batch", f"queue {self.url}", QueueUrl=self.url, Entries=entries)
        accepted = {int(sent["Id"]): str(sent["MessageId"]) for sent in response.get("Successful", [])}
        refused = {refusal.position: refusal for refusal in [*refusals, *refusals_of(response)]}
        # Fail closed, as above.
        return [
            accepted.get(position) or refused.get(position) or Refusal(position, "missing in the response", final=False)
            for position in range(len(records))
        ]

    async def send_copies(self, copies: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Send copies of 1 to 10 messages of a standard queue to it, after seconds; return the refused entries."""
        url = self.url or self._queue_url(copies[0][0])
        entries, refusals = entries_of(copies, entry_of_copy)
        if not entries:
            return refusals
        response = await self._call("send_message_batch", f"queue {url}", QueueUrl=url, Entries=entries)
        return [*refusals, *_not_accepted(response, entries)]

    async def count(self) -> int:
        """Return the approximate number of messages in the queue, including those in flight and delayed."""
        counts = await self.counts()
        return counts.waiting + counts.in_flight

    async def counts(self) -> QueueCounts:
        """Return the approximate numbers of messages that wait, delayed ones included, and that are in flight."""
        names = [*_WAITING, _IN_FLIGHT]
        response = await self._call(
            "get_queue_attributes", f"queue {self.url}", QueueUrl=self.url, AttributeNames=names
        )
        attributes = response.get("Attributes", {})
        waiting = sum(int(attributes.get(name, 0)) for name in _WAITING)
        return QueueCounts(waiting, int(attributes.get(_IN_FLIGHT, 0)))

    async def _call(self, operation: str, resource: str, **arguments: Any) -> Mapping[str, Any]:
        """Call an operation of SQS; error messages start with ``resource``."""
        with map_errors(resource):
            return await call(self._client, operation, arguments.get("QueueUrl", ""), arguments)

    def _visibility_entry(self, change: tuple[Record, int], position: int) -> tuple[str, dict[str, Any]]:
        record, seconds = change
        entry = {"Id": str(position), "ReceiptHandle": record.receipt_handle, "VisibilityTimeout": seconds}
        return self.url or self._queue_url(record), entry

    def _queue_url(self, record: Record) -> str:
        """Return the URL of a record's queue: the endpoint, and the account and the name in its ARN."""
        parts = record.queue_arn.split(":")
        if len(parts) != _ARN_PARTS or not all(parts[4:]):
            raise ConfigurationError(
                f"record {record.message_id}: eventSourceARN {record.queue_arn!r} is not the ARN of a queue"
            )
        return f"{self._client.meta.endpoint_url.rstrip('/')}/{parts[4]}/{parts[5]}"


def _not_accepted(response: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Sequence[Refusal]:
    """Return the refusals of a call. Fail closed: an entry is accepted only if SQS lists it."""
    accepted = {sent["Id"] for sent in response.get("Successful", [])}
    refusals = {str(refusal.position): refusal for refusal in refusals_of(response)}
    refused = [entry["Id"] for entry in entries if entry["Id"] not in accepted]
    missing = [Refusal(int(name), "missing in the response", final=False) for name in refused if name not in refusals]
    return [*(refusals[name] for name in refused if name in refusals), *missing]
