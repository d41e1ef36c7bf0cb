"""The timeline of a delivery as text: one line for each concurrency slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

MARKS: Final = {"Done": "=", "Failed": "x", "Retrying": "r", "Rejected": "!", "NotStarted": "-", None: "="}
_MAX_SLOTS = 20


def text_timeline(delivery: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], width: int = 80) -> str:
    """Return the slots of one delivery: a bar for each record, marked by its outcome in this delivery.

    Args:
        delivery: A delivery of the replay document.
        messages: All messages of the document.
        width: Characters in a line, at least 40.
    """
    spans = delivery["measured"]["spans"]
    if not spans:
        return "(no record ran)"
    last = max(span["end_ms"] for span in spans) or 1.0
    room = max(20, width - 10)
    slots = sorted({span["slot"] for span in spans})
    lines = []
    for slot in slots[:_MAX_SLOTS]:
        line = [" "] * room
        for span in spans:
            if span["slot"] == slot:
                first, end = int(span["start_ms"] / last * (room - 1)), int(span["end_ms"] / last * (room - 1))
                mark = MARKS.get(outcome_of(delivery, messages, span["message"]), "=")
                line[first : end + 1] = "|" + mark * (end - first)
        lines.append(f"slot {slot:>3} {''.join(line).rstrip()}")
    if len(slots) > _MAX_SLOTS:
        lines.append(f"… and {len(slots) - _MAX_SLOTS} more slots")
    lines.append(f"{'':9}0{f'{last:.1f} ms':>{room - 1}}")
    lines.append(f"{'':9}= done  x failed  r retry  ! rejected")
    return "\n".join(lines)


def durations(document: Mapping[str, Any]) -> dict[int, float]:
    """Return the measured milliseconds of the last call for each message, by message number."""
    return {
        span["message"]: span["end_ms"] - span["start_ms"]
        for delivery in document["deliveries"]
        for span in delivery["measured"]["spans"]
    }


def outcome_of(delivery: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], number: int) -> str | None:
    """Return the outcome of a message in a delivery; None if it is not known, or the handler sent the message."""
    attempts = messages[number]["attempts"] if number < len(messages) else ()
    return next((attempt["outcome"] for attempt in attempts if attempt["delivery"] == delivery["number"]), None)
