"""Why a message is where it is: one message attribute, as JSON, since a message may have ten of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

from fanfold._base.record import Record

ATTRIBUTE: Final = "fanfold"
"""Name of the attribute."""
PUT_BACK_ATTRIBUTE: Final = "fanfold-put-back"
"""Name of the attribute of a message that was dead-lettered without a word, and sent once more."""
RECEIVES_VARIABLE: Final = "FANFOLD_MAX_RECEIVE_COUNT"
"""Names the environment variable with the receive limit of the queue's redrive policy."""
REASON_CHARACTERS: Final = 2_000
"""Longest reason kept."""


def configured_max_receives() -> int | None:
    """Return how often the queue delivers a message before it dead-letters it; None where the function is not told."""
    text = os.environ.get(RECEIVES_VARIABLE, "")
    return int(text) if text.isdecimal() else None


def reason_attribute(record: Record, reason: str, attributes: Mapping[str, Any] | None = None) -> str:
    """Return the value of the attribute: the reason, the message's id and queue, and attributes that found no place."""
    why: dict[str, Any] = {
        "reason": reason[:REASON_CHARACTERS],
        "message_id": record.message_id,
        "queue": record.queue_arn,
        "receive_count": record.receive_count,
    }
    if attributes:
        why["attributes"] = dict(attributes)
    return json.dumps(why)


def reason_in(record: Record) -> str | None:
    """Return the reason a dead letter carries; None for one that SQS's own redrive has moved."""
    return _text_in(record, "reason")


def original_id_in(record: Record) -> str | None:
    """Return the id the message had in its source queue; None for one that SQS's own redrive has moved."""
    return _text_in(record, "message_id")


def _text_in(record: Record, name: str) -> str | None:
    text = record.message_attributes.get(ATTRIBUTE, {}).get("stringValue")
    try:
        document = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, str) else None
