"""One SQS message as Lambda delivers it, and the way from an event to its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from fanfold._base.frozen import put
from fanfold.errors import EventError

Event: TypeAlias = Mapping[str, Any]
"""What Lambda calls a handler with."""


_COUNT_DIGITS = 18
"""Most digits of a receive count; what has more is none."""


class Record:
    """One SQS message of a batch.

    A view on the message as it stands in the event; nothing is copied. Not to be changed.
    """

    __slots__ = ("body", "message_id", "raw")

    raw: Mapping[str, Any]
    """The message as it stands in the event."""
    message_id: str
    """Names this delivery's message; a redriven message gets a new one."""
    body: str
    """The text that was sent."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        put(self, "raw", raw)
        put(self, "message_id", raw["messageId"])
        put(self, "body", raw["body"])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Record is not to be changed: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Record is not to be changed: {name!r} cannot be deleted")

    def __repr__(self) -> str:
        return f"Record(message_id={self.message_id!r}, receive_count={self.receive_count})"

    @property
    def receipt_handle(self) -> str:
        """Names this receive; needed to delete the message or to change its visibility."""
        return str(self.raw.get("receiptHandle", ""))

    @property
    def attributes(self) -> Mapping[str, str]:
        """What SQS says of the message: counts, times, group."""
        attributes: Mapping[str, str] = self.raw.get("attributes") or {}
        return attributes

    @property
    def message_attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """What the sender added to the message."""
        attributes: Mapping[str, Mapping[str, Any]] = self.raw.get("messageAttributes") or {}
        return attributes

    @property
    def queue_arn(self) -> str:
        """The queue the message came from."""
        return str(self.raw.get("eventSourceARN", ""))

    @property
    def receive_count(self) -> int:
        """Deliveries so far, this one included; from 1."""
        count = str(self.attributes.get("ApproximateReceiveCount", "1"))
        return max(1, int(count)) if count.isdecimal() and len(count) <= _COUNT_DIGITS else 1


def is_fifo(records: Sequence[Record]) -> bool:
    """Tell whether a batch comes from a FIFO queue: by the queue's ARN alone.

    A message group proves nothing: on standard queues it names a tenant (fair queues).
    """
    return bool(records) and records[0].queue_arn.endswith(".fifo")


def records_from_event(event: object) -> Sequence[Record]:
    """Return the records of an SQS event, in batch order.

    Raises:
        EventError: If the event is no batch of SQS records, or any record in it has no message id or body. Nothing
            has run then, so that Lambda, given the error, delivers the whole batch again.
    """
    raws = event.get("Records") if isinstance(event, Mapping) else None
    if not isinstance(raws, list):
        raise EventError(
            "the event holds no list under 'Records': is this function connected to an SQS queue by an event source "
            "mapping?"
        )
    return [_record(raw, position) for position, raw in enumerate(raws)]


def _record(raw: Any, position: int) -> Record:
    try:
        record = Record(raw)
        message_id = record.message_id
        sound = isinstance(record.body, str) and isinstance(message_id, str) and message_id
        if sound and raw["eventSource"] == "aws:sqs":
            return record
    except (KeyError, IndexError, TypeError):
        pass
    raise EventError(_fault(raw, position))


def _fault(raw: object, position: int) -> str:
    if not isinstance(raw, Mapping):
        return f"record {position} of the event is no object but {type(raw).__name__}"
    source, message_id = raw.get("eventSource"), raw.get("messageId")
    if source != "aws:sqs":
        return f"record {position} of the event comes from {source!r}, not from 'aws:sqs'"
    if not isinstance(message_id, str) or not message_id:
        return f"record {position} of the event has no messageId"
    return f"record {position} of the event (message {message_id}) has no body"
