"""An SQS message as Lambda delivers it, and the records of an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, overload

from fanfold._base.frozen import put
from fanfold.errors import EventError

Event: TypeAlias = Mapping[str, Any]
"""The event of a Lambda invocation."""


_SQS = "aws:sqs"
_COUNT_DIGITS = 18
"""Maximum digits of a receive count; a longer one is ignored."""


class Record:
    """One SQS message of a batch: an immutable view of the message in the event, without a copy."""

    __slots__ = ("body", "message_id", "raw")

    raw: Mapping[str, Any]
    """The message in the event."""
    message_id: str
    """The id of the message; a redriven message gets a new one."""
    body: str
    """The message body."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        put(self, "raw", raw)
        put(self, "message_id", raw["messageId"])
        put(self, "body", raw["body"])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Record is immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Record is immutable: {name!r} cannot be deleted")

    def __repr__(self) -> str:
        return f"Record(message_id={self.message_id!r}, receive_count={self.receive_count})"

    @property
    def receipt_handle(self) -> str:
        """The receipt handle, needed to delete the message or change its visibility timeout."""
        return str(self.raw.get("receiptHandle", ""))

    @property
    def attributes(self) -> Mapping[str, str]:
        """The system attributes that SQS sets: counts, timestamps, message group."""
        attributes: Mapping[str, str] = self.raw.get("attributes") or {}
        return attributes

    @property
    def message_attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """The message attributes that the sender set."""
        attributes: Mapping[str, Mapping[str, Any]] = self.raw.get("messageAttributes") or {}
        return attributes

    @property
    def queue_arn(self) -> str:
        """The ARN of the queue that delivered the message."""
        return str(self.raw.get("eventSourceARN", ""))

    @property
    def receive_count(self) -> int:
        """Deliveries so far, this one included; from 1."""
        count = str(self.attributes.get("ApproximateReceiveCount", "1"))
        return max(1, int(count)) if count.isdecimal() and len(count) <= _COUNT_DIGITS else 1


TenantOf: TypeAlias = Callable[[Record], Any]
"""Returns the tenant of a record: a hashable value, or None if it has none."""


class Records(Sequence[Record]):
    """The records of an event, each created when it is first read: the first handler of a large batch starts early.

    Args:
        raws: The messages in the event, checked.
    """

    __slots__ = ("_records", "raws")

    def __init__(self, raws: Sequence[Mapping[str, Any]]) -> None:
        self.raws: Sequence[Mapping[str, Any]] = raws
        """The messages in the event."""
        self._records: list[Record | None] = [None] * len(raws)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, position: int) -> Record: ...
    @overload
    def __getitem__(self, position: slice) -> list[Record]: ...
    def __getitem__(self, position: int | slice) -> Record | list[Record]:
        if isinstance(position, slice):
            return [self[index] for index in range(*position.indices(len(self)))]
        record = self._records[position]
        if record is None:
            record = self._records[position] = Record(self.raws[position])
        return record


def is_fifo(records: Sequence[Record]) -> bool:
    """Return whether a batch comes from a FIFO queue, decided only by the queue's ARN.

    A message group id is not evidence: on standard queues it identifies a tenant (fair queues).
    """
    return bool(records) and records[0].queue_arn.endswith(".fifo")


def records_from_event(event: object) -> Sequence[Record]:
    """Return the records of an SQS event, in batch order.

    Raises:
        EventError: If the event is not a batch of SQS records, or a record has no message id or body. It is raised
            before any handler runs, so that Lambda redelivers the whole batch.
    """
    raws = event.get("Records") if isinstance(event, Mapping) else None
    if not isinstance(raws, list):
        raise EventError(
            "the event has no list under 'Records': connect this function to an SQS queue with an event source mapping"
        )
    for position, raw in enumerate(raws):
        try:
            message_id = raw["messageId"]
            if (
                isinstance(raw["body"], str)
                and isinstance(message_id, str)
                and message_id
                and raw["eventSource"] == _SQS
            ):
                continue
        except (KeyError, IndexError, TypeError):
            pass
        raise EventError(_fault(raw, position))
    return Records(raws)


def _fault(raw: object, position: int) -> str:
    if not isinstance(raw, Mapping):
        return f"record {position} of the event is a {type(raw).__name__}, not an object"
    source, message_id = raw.get("eventSource"), raw.get("messageId")
    if source != "aws:sqs":
        return f"record {position} of the event comes from {source!r}, not from 'aws:sqs'"
    if not isinstance(message_id, str) or not message_id:
        return f"record {position} of the event has no messageId"
    return f"record {position} of the event (message {message_id}) has no body"
