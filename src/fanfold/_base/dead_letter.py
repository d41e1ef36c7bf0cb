"""The reason of a dead letter: one message attribute that holds JSON, because a message may have at most ten."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from typing import Any, Final

from fanfold._base.record import Record

ATTRIBUTE: Final = "fanfold"
"""Name of the attribute."""
PUT_BACK_ATTRIBUTE: Final = "fanfold-put-back"
"""Name of the attribute of a message that was dead-lettered without a reason and then sent to its queue once more."""
DELIVERIES_ATTRIBUTE: Final = "fanfold-deliveries"
"""Name of the attribute of a message that replaces another one: how often its content was delivered before."""
RECEIVES_VARIABLE: Final = "FANFOLD_MAX_RECEIVE_COUNT"
"""Name of the environment variable with the receive limit of the queue's redrive policy."""
_COUNT_DIGITS: Final = 6
_TAGS: Final = 2**24 - 1
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
    overflow = _field_in(record, "attributes")
    if isinstance(overflow, dict):
        attributes = {**overflow, **attributes}
    return Record({**record.raw, "messageAttributes": attributes})


def deliveries_of(record: Record) -> int:
    """Return how often the content of a message was delivered so far, also in messages that it replaces; from 1."""
    return record.receive_count + earlier_deliveries(record)


def tag_of(record: Record) -> int:
    """Return a number from 1 below 2**24 that identifies a message among the few with the same content."""
    return zlib.crc32(record.message_id.encode(errors="surrogatepass")) % _TAGS + 1


def deliveries_before(record: Record) -> int:
    """Return how often the content of a dead letter was delivered from its source queue; from 1."""
    receives = _field_in(record, "receive_count")
    if not isinstance(receives, int) or isinstance(receives, bool):
        # SQS moves a message after as many receives as its redrive policy states.
        receives = configured_max_receives() or record.receive_count
    return max(1, receives) + earlier_deliveries(record)


def earlier_deliveries(record: Record) -> int:
    """Return how often the content of a message was delivered in messages that it replaces."""
    text = str(record.message_attributes.get(DELIVERIES_ATTRIBUTE, {}).get("stringValue", ""))
    return int(text) if text.isdecimal() and len(text) <= _COUNT_DIGITS else 0


def _text_in(record: Record, name: str) -> str | None:
    value = _field_in(record, name)
    return value if isinstance(value, str) else None


def _field_in(record: Record, name: str) -> Any:
    text = record.message_attributes.get(ATTRIBUTE, {}).get("stringValue")
    try:
        document = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return document.get(name) if isinstance(document, dict) else None
