"""Tick messages, and the event of the rule that watches breakers: they let a breaker probe without other messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fanfold._base.record import Record

TICK: Final = "breaker-tick"
WATCH: Final = "breaker-watch"
_WATCH_ARN: Final = "arn:aws:sqs:::fanfold-breaker-watch"
"""In place of a queue's ARN, in the record that stands for the rule's event."""


def tick_body(name: str) -> str:
    """Return the body of the tick message of a breaker."""
    return json.dumps({"fanfold": TICK, "breaker": name})


def breaker_of_tick(body: str) -> str | None:
    """Return the name of the breaker in a tick message; None if it is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    name = document.get("breaker") if isinstance(document, dict) and document.get("fanfold") == TICK else None
    return name if isinstance(name, str) else None


def with_watch(event: Any) -> Any:
    """Return an event of a queue that stands for the rule's event; any other event unchanged."""
    if not isinstance(event, Mapping) or event.get("fanfold") != WATCH:
        return event
    record = {"messageId": WATCH, "receiptHandle": "", "body": "", "eventSource": "aws:sqs"}
    return {"Records": [{**record, "eventSourceARN": _WATCH_ARN}]}


def is_watch(records: Sequence[Record]) -> bool:
    """Return whether a batch stands for the rule's event."""
    return bool(records) and records[0].queue_arn == _WATCH_ARN


def is_of_queue(records: Sequence[Record], url: str) -> bool:
    """Return whether a batch comes from the queue with a URL."""
    return bool(url and records) and url.rsplit("/", 2)[1:] == records[0].queue_arn.split(":")[4:6]
