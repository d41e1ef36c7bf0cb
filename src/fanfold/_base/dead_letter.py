"""The reason of a dead letter: one message attribute that holds JSON, because a message may have at most ten."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

from fanfold._base.record import Record

ATTRIBUTE: Final = "fanfold"
"""Name of the attribute."""
PUT_BACK_ATTRIBUTE: Final = "fanfold-put-back"
"""Name of the attribute of a message that was dead-lettered without a reason and then sent to its queue once more."""
RECEIVES_VARIABLE: Final = "FANFOLD_MAX_RECEIVE_COUNT"
"""Name of the environment variable with the receive limit of the queue's redrive policy."""
REASON_CHARACTERS: Final = 2_000
"""Maximum length of a reason; a longer one is truncated."""


def configured_max_receives() -> int | None:
    """Return the maxReceiveCount of the queue's redrive policy, as configured for the function; None if it is not."""
    text = os.environ.get(RECEIVES_VARIABLE, "")
    return int(text) if text.isdecimal() else None


def reason_attribute(record: Record, reason: str, attributes: Mapping[str, Any] | None = None) -> str:
    """Return the value of the attribute: the reason, the message's id and queue, and attributes that exceed ten."""
    document: dict[str, Any] = {
        "reason": reason[:REASON_CHARACTERS],
        "message_id": record.message_id,
        "queue": record.queue_arn,
        "receive_count": record.receive_count,
    }
    if attributes:
        document["attributes"] = dict(attributes)
    return json.dumps(document)


def reason_in(record: Record) -> str | None:
    """Return the reason of a dead letter; None if SQS moved it by its redrive policy."""
    return _text_in(record, "reason")


def original_id_in(record: Record) -> str | None:
    """Return the id that a dead letter had in its source queue; None if SQS moved it by its redrive policy."""
    return _text_in(record, "message_id")


def queue_in(record: Record) -> str | None:
    """Return the ARN of a dead letter's source queue; None if SQS moved it by its redrive policy."""
    return _text_in(record, "queue")


def original_of(record: Record) -> Record:
    """Return a dead letter as it was in its source queue: without the attribute, and with those that exceeded ten."""
    attributes = {name: value for name, value in record.message_attributes.items() if name != ATTRIBUTE}
    overflow = _document_in(record).get("attributes")
    if isinstance(overflow, dict):
        attributes = {**overflow, **attributes}
    return Record({**record.raw, "messageAttributes": attributes})


def _text_in(record: Record, name: str) -> str | None:
    value = _document_in(record).get(name)
    return value if isinstance(value, str) else None


def _document_in(record: Record) -> Mapping[str, Any]:
    text = record.message_attributes.get(ATTRIBUTE, {}).get("stringValue")
    try:
        document = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
