"""Handing messages back on SQS: visibility, and dead letters with their reason."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from fanfold._base.dead_letter import ATTRIBUTE, reason_attribute
from fanfold._base.ordering import group_of
from fanfold._base.record import Record
from fanfold.aws.clients import client_of
from fanfold.aws.faults import faults_of
from fanfold.errors import ConfigurationError

__all__ = ["SqsSettler", "open_settler"]

_CONFIG: Final[dict[str, Any]] = {
    "connect_timeout": 3,
    "read_timeout": 10,
    "retries": {"mode": "standard", "max_attempts": 3},
}
_MOST_ATTRIBUTES: Final = 10


@asynccontextmanager
async def open_settler(dead_letter_queue_url: str, **client: Any) -> AsyncIterator[SqsSettler]:
    """Yield a settler on SQS; credentials, region and endpoint are the SDK's usual ones unless given.

    Raises:
        ConfigurationError: If there is no region.
    """
    async with client_of("sqs", "SQS", _CONFIG, **client) as sqs:
        yield SqsSettler(sqs, dead_letter_queue_url)


class SqsSettler:
    """Hands messages back on SQS, over an aiobotocore client."""

    def __init__(self, client: Any, dead_letter_queue_url: str) -> None:
        self._client = client
        self._dead_letter_queue_url = dead_letter_queue_url

    async def hide(self, changes: Sequence[tuple[Record, int]]) -> Collection[int]:
        """Hide 1 to 10 messages of one queue; return the positions of those refused."""
        url = self._queue_url(changes[0][0])
        entries = [
            {"Id": str(position), "ReceiptHandle": record.receipt_handle, "VisibilityTimeout": seconds}
            for position, (record, seconds) in enumerate(changes)
        ]
        with faults_of(f"queue {url}"):
            answer = await self._client.change_message_visibility_batch(QueueUrl=url, Entries=entries)
        return [int(failed["Id"]) for failed in answer.get("Failed", [])]

    async def bury(self, rejects: Sequence[tuple[Record, str]]) -> Mapping[int, str]:
        """Send 1 to 10 messages to the dead-letter queue; return why, by position, for those refused."""
        url = self._dead_letter_queue_url
        fifo = url.endswith(".fifo")
        entries = [_entry(record, reason, position, fifo=fifo) for position, (record, reason) in enumerate(rejects)]
        with faults_of(f"dead-letter queue {url}"):
            answer = await self._client.send_message_batch(QueueUrl=url, Entries=entries)
        accepted = {int(sent["Id"]) for sent in answer.get("Successful", [])}
        told = {int(failed["Id"]): f"{failed['Code']}" for failed in answer.get("Failed", [])}
        return {position: told.get(position, "no answer") for position in set(range(len(rejects))) - accepted}

    def _queue_url(self, record: Record) -> str:
        """Return the URL of the queue a record came from: the endpoint, the account and the name of its ARN."""
        parts = record.queue_arn.split(":")
        if len(parts) != 6 or not all(parts[4:]):  # noqa: PLR2004 - arn:partition:service:region:account:name
            raise ConfigurationError(
                f"record {record.message_id} names no queue: eventSourceARN is {record.queue_arn!r}"
            )
        return f"{self._client.meta.endpoint_url.rstrip('/')}/{parts[4]}/{parts[5]}"


def _entry(record: Record, reason: str, position: int, *, fifo: bool) -> dict[str, Any]:
    originals = dict(record.message_attributes)
    originals.pop(ATTRIBUTE, None)
    kept = dict(list(originals.items())[: _MOST_ATTRIBUTES - 1])
    overflow = {name: value for name, value in originals.items() if name not in kept}
    entry: dict[str, Any] = {
        "Id": str(position),
        "MessageBody": record.body,
        "MessageAttributes": {
            **{name: _sent(value) for name, value in kept.items()},
            ATTRIBUTE: {"DataType": "String", "StringValue": reason_attribute(record, reason, overflow)},
        },
    }
    if fifo:
        entry["MessageGroupId"] = group_of(record) or record.message_id
        entry["MessageDeduplicationId"] = record.message_id
    return entry


def _sent(attribute: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message attribute as SQS takes it, from the form it has in an event."""
    sent: dict[str, Any] = {"DataType": attribute["dataType"]}
    if attribute.get("stringValue") is not None:
        sent["StringValue"] = attribute["stringValue"]
    if attribute.get("binaryValue") is not None:
        sent["BinaryValue"] = base64.b64decode(attribute["binaryValue"])
    return sent
