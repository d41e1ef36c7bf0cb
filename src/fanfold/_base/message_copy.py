"""A copy of a message that replaces it in its queue, with all its receives: what it keeps, and what it adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fanfold._base.dead_letter import DELIVERIES_ATTRIBUTE, deliveries_of
from fanfold._base.record import Record, is_fifo

FIRST_SENT_ATTRIBUTE: Final = "fanfold-first-sent"
"""Name of the attribute with the time when the first message that this one replaces was sent; milliseconds since 1970.
"""
_ADDED: Final = (DELIVERIES_ATTRIBUTE, FIRST_SENT_ATTRIBUTE)
_MAX_ATTRIBUTES: Final = 10


def first_sent(record: Record) -> float | None:
    """Return when a message, or the first one that it replaces, was sent, seconds since 1970; None if it is unknown."""
    text = record.message_attributes.get(FIRST_SENT_ATTRIBUTE, {}).get("stringValue")
    text = text or record.attributes.get("SentTimestamp")
    return int(text) / 1_000 if isinstance(text, str) and text.isdecimal() else None


def may_be_copied(record: Record, now: float, longest: float) -> bool:
    """Return whether a copy may replace a message.

    Args:
        record: The message.
        now: Current time, seconds since 1970.
        longest: Seconds after the first sending for which copies are sent.
    """
    sent = first_sent(record)
    kept = record.message_attributes.keys() - set(_ADDED)
    has_room = len(kept) + len(_ADDED) <= _MAX_ATTRIBUTES
    return sent is not None and has_room and now < sent + longest and not is_fifo([record])


def attributes_of_copy(record: Record) -> Mapping[str, Mapping[str, Any]]:
    """Return the message attributes of a copy, in the format of a Lambda event."""
    return {
        **record.message_attributes,
        DELIVERIES_ATTRIBUTE: _string(str(deliveries_of(record))),
        FIRST_SENT_ATTRIBUTE: _string(str(round((first_sent(record) or 0) * 1_000))),
    }


def _string(value: str) -> Mapping[str, Any]:
    return {"dataType": "String", "stringValue": value}
