"""Entries of SQS's batch calls: built from messages, and read from responses."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from fanfold._base.dead_letter import ATTRIBUTE, reason_attribute
from fanfold._base.message_copy import attributes_of_copy
from fanfold._base.ordering import group_of
from fanfold._base.record import Record
from fanfold._ports.payload_pointers import SIZE_ATTRIBUTES
from fanfold._ports.queue import Message, Received, Refusal
from fanfold.aws.faults import is_transient
from fanfold.errors import ConfigurationError

_MAX_ATTRIBUTES: Final = 10
_NOT_SENDABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that SQS does not accept (API reference of SendMessage, *MessageBody*)."""

T = TypeVar("T")
S = TypeVar("S")


def record_of(message: Mapping[str, Any], queue_arn: str, region: str) -> dict[str, Any]:
    """Convert a message from the format of ReceiveMessage to that of a Lambda event."""
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
    converted: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": attribute["DataType"]}
    if "StringValue" in attribute:
        converted["stringValue"] = attribute["StringValue"]
    if "BinaryValue" in attribute:
        converted["binaryValue"] = base64.b64encode(attribute["BinaryValue"]).decode()
    return converted


def _attribute_to_send(attribute: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a message attribute from the format of a Lambda event to that of SendMessage."""
    sent: dict[str, Any] = {"DataType": attribute["dataType"]}
    if attribute.get("stringValue") is not None:
        sent["StringValue"] = attribute["stringValue"]
    if attribute.get("binaryValue") is not None:
        sent["BinaryValue"] = base64.b64decode(attribute["binaryValue"])
    return sent


def entries_of(items: Sequence[T], build: Callable[[T, int], S]) -> tuple[list[S], list[Refusal]]:
    """Build the entry of each item; refuse an item whose entry cannot be built, without affecting the others."""
    entries: list[S] = []
    refusals: list[Refusal] = []
    for position, item in enumerate(items):
        try:
            entries.append(build(item, position))
        except (ConfigurationError, LookupError, TypeError, ValueError, AttributeError) as error:
            refusals.append(Refusal(position, f"cannot be sent: {type(error).__name__}: {error}", final=True))
    return entries, refusals


def _sendable(text: str) -> str:
    """Return the text unchanged if SQS accepts it.

    Raises:
        ValueError: If SendMessage does not allow one of its characters, such as a lone surrogate.
    """
    if match := _NOT_SENDABLE.search(text):
        raise ValueError(f"SQS does not accept the character {match[0]!r} at index {match.start()}")
    return text


def entry_of_message(message: Message, position: int, *, fifo: bool) -> dict[str, Any]:
    """Return the entry that sends a message."""
    entry: dict[str, Any] = {"Id": str(position), "MessageBody": _sendable(message.body)}
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


def entry_of_dead_letter(reject: tuple[Record, str], position: int, *, fifo: bool) -> dict[str, Any]:
    """Return the entry that sends a rejected message, with its reason, to a dead-letter queue."""
    record, reason = reject
    originals = dict(record.message_attributes)
    originals.pop(ATTRIBUTE, None)
    direct = dict(list(originals.items())[: _MAX_ATTRIBUTES - 1])
    overflow = {name: value for name, value in originals.items() if name not in direct}
    entry: dict[str, Any] = {
        "Id": str(position),
        "MessageBody": _sendable(record.body),
        "MessageAttributes": {
            **{name: _attribute_to_send(value) for name, value in direct.items()},
            ATTRIBUTE: {"DataType": "String", "StringValue": reason_attribute(record, reason, overflow)},
        },
        **_group_and_trace(record),
    }
    if fifo:
        entry["MessageGroupId"] = group_of(record) or record.message_id
        entry["MessageDeduplicationId"] = record.message_id
    return entry


def entry_of_resent(record: Record, position: int, *, fifo: bool) -> dict[str, Any]:
    """Return the entry that sends a received message again."""
    attributes = {name: _attribute_to_send(value) for name, value in record.message_attributes.items()}
    entry: dict[str, Any] = {"Id": str(position), "MessageBody": _sendable(record.body)}
    if attributes:
        entry["MessageAttributes"] = attributes
    if fifo:
        entry["MessageDeduplicationId"] = f"redrive-{record.message_id}"
    return {**entry, **_group_and_trace(record)}


def entry_of_copy(copy: tuple[Record, int], position: int) -> dict[str, Any]:
    """Return the entry that sends a copy of a message from a standard queue to that queue, after a delay."""
    record, seconds = copy
    attributes = {name: _attribute_to_send(value) for name, value in attributes_of_copy(record).items()}
    entry = {"Id": str(position), "MessageBody": _sendable(record.body), "DelaySeconds": seconds}
    return {**entry, "MessageAttributes": attributes, **_group_and_trace(record)}


def _group_and_trace(record: Record) -> dict[str, Any]:
    """Return the system attributes of a received message that a sender can set."""
    kept: dict[str, Any] = {}
    if group := group_of(record):  # on a standard queue: the tenant, for fair queues
        kept["MessageGroupId"] = group
    if trace := record.attributes.get("AWSTraceHeader"):
        kept["MessageSystemAttributes"] = {"AWSTraceHeader": {"DataType": "String", "StringValue": trace}}
    return kept


def received_of(message: Mapping[str, Any]) -> Received:
    """Convert a message from the format of ReceiveMessage."""
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


def refusals_of(response: Mapping[str, Any]) -> Sequence[Refusal]:
    """Return the failed entries of a batch call."""
    return [
        Refusal(
            int(failed["Id"]),
            f"{failed['Code']}: {failed.get('Message', '')}",
            final=bool(failed["SenderFault"]) and not is_transient(failed["Code"]),
        )
        for failed in response.get("Failed", [])
    ]
