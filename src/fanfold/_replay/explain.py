"""Explain what happened to one message of a replay."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fanfold._base.readable import printable
from fanfold.errors import ConfigurationError

_RESULT: Final = re.compile(r"delivery (\d+): (.*?) \(")
"""A line of a message's history with the result of a delivery."""


def explain(document: Mapping[str, Any], message_id: str) -> str:
    """Return an explanation of what happened to a message in each delivery.

    Args:
        document: The document of the replay.
        message_id: The id, or the start of an id that no other message has.

    Raises:
        ConfigurationError: If no message has this id, or several have an id that starts with it.
    """
    all_messages = document["messages"]
    messages = [message for message in all_messages if message["id"] == message_id] or [
        message for message in all_messages if message["id"].startswith(message_id)
    ]
    ids = list(dict.fromkeys(message["id"] for message in messages))
    if not messages or not message_id:
        raise ConfigurationError(f"no message of this replay has the id {message_id!r}")
    if len(ids) > 1:
        raise ConfigurationError(
            f"{len(ids)} messages have an id that starts with {message_id!r}: {', '.join(ids[:3])}…"
        )
    lines = (line for message in messages for line in _lines(message, document["deliveries"]))
    return printable("\n".join(lines))


def _lines(message: Mapping[str, Any], deliveries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"message {message['id']} ({message['label']}) from {message['source']}: {message['end']}"
    events = iter(message["history"])
    previous = None
    for attempt in message["attempts"]:
        delivery = deliveries[attempt["delivery"]]
        when = f"receive {attempt['receive_count']} at {delivery['began_at']:g} s"
        outcome = ": ".join(text for text in (attempt["outcome"], attempt["error"]) if text)
        same = "the same" if outcome and outcome == previous else outcome
        yield f"  {when}: {same or 'the outcome of single records is not known'}"
        previous = outcome
        result = "kept for redelivery" if attempt["retried"] else "deleted"
        for event in events:
            if (match := _RESULT.match(event)) is not None and int(match[1]) == attempt["delivery"]:
                result = match[2]
                break
            yield f"    {event}"
        stated = f": {attempt['error']}"  # the verdict ends with an error of the whole invocation
        yield f"    {result}: {delivery['verdict']['reason'].removesuffix(stated)}"
    yield from (f"  {event}" for event in events)
