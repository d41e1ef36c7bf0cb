"""The result of a replay as one JSON document; the same for the same seed, except for the values under ``measured``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from fanfold import __version__
from fanfold._base.dead_letter import original_id_in, reason_in
from fanfold._base.record import Record
from fanfold._replay.delivery import Delivery
from fanfold._replay.function import InvocationResult
from fanfold._replay.mapping import Errored, Returned
from fanfold._replay.wording import label_of
from fanfold.inmemory.queue import QueuedMessage

DELETED: Final = "deleted"
DEAD: Final = "dead-lettered"
LEFT: Final = "in the queue"
LOST: Final = "lost"
FILTERED: Final = "filtered out"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message of a replay."""

    source: str
    """The file or line that it was read from."""
    message_id: str
    body: str
    queued: QueuedMessage | None
    """The message in the simulated queue; None if the filters of the mapping remove it."""


@dataclass(frozen=True, slots=True)
class Run:
    """The deliveries of a replay, and the messages in its queues at the end."""

    deliveries: Sequence[Delivery]
    results: Sequence[InvocationResult]
    """The results of the invocations, in order; a throttled delivery has none."""
    left: Sequence[QueuedMessage]
    """The messages in the queue."""
    dead_letters: Sequence[QueuedMessage]


def document_of(
    handler: str,
    settings: Mapping[str, Any],
    sent: Sequence[Sent],
    run: Run,
    *,
    is_consumer: bool,
    seconds: float,
) -> dict[str, Any]:
    """Return the document of a replay.

    Args:
        handler: ``MODULE:NAME``.
        settings: The settings of the replay.
        sent: The messages, in order.
        run: What was delivered, and what is left.
        is_consumer: Whether the handler is a fanfold consumer, which reports the outcomes of single records.
        seconds: Duration of the replay.
    """
    deliveries = list(zip(run.deliveries, _with_throttled(run.deliveries, run.results), strict=True))
    rows = [_row(number, message) for number, message in enumerate(sent)]
    by_number = {message.queued.number: row for message, row in zip(sent, rows, strict=True) if message.queued}
    for delivery, result in deliveries:
        _add_attempts(by_number, delivery, result)
    by_id = {row["id"]: row for row in reversed(rows)}  # of several with one id, the first
    dead_letters = sorted((_dead_letter(message, by_id, by_number) for message in run.dead_letters), key=_order)
    left = {id(by_number[message.number]) for message in run.left if message.number in by_number}
    dead = {letter["number"] for letter in dead_letters}
    for row in rows:
        row["end"] = row["end"] or _end(row, left=id(row) in left, dead=row["number"] in dead)
    ends = Counter(row["end"] for row in rows)
    peaks = [peak for _, result in deliveries if (peak := result.measured["peak_memory_mb"]) is not None]
    return {
        "version": __version__,
        "handler": handler,
        "consumer": is_consumer,
        "settings": dict(settings),
        "summary": {
            "messages": len(rows),
            "deliveries": len(deliveries),
            "receives": sum(row["receives"] for row in rows),
            "deleted": ends[DELETED],
            "dead_lettered": ends[DEAD],
            "left": ends[LEFT],
            "lost": ends[LOST],
            "filtered": ends[FILTERED],
        },
        "messages": rows,
        "deliveries": [_delivery(delivery, result, by_number) for delivery, result in deliveries],
        "dead_letters": dead_letters,
        "measured": {"seconds": round(seconds, 3), "peak_memory_mb": max(peaks, default=None)},
    }


def _with_throttled(deliveries: Sequence[Delivery], results: Sequence[InvocationResult]) -> list[InvocationResult]:
    """Return the result of each delivery; a throttled one has invoked nothing."""
    invoked = iter(results)
    return [
        InvocationResult(delivery.invocation, {}, 0.0, None) if _is_throttled(delivery) else next(invoked)
        for delivery in deliveries
    ]


def _is_throttled(delivery: Delivery) -> bool:
    return isinstance(delivery.invocation, Errored) and delivery.invocation.kind == "throttled"


def _row(number: int, message: Sent) -> dict[str, Any]:
    """Return the row of a message in the document, without its deliveries."""
    return {
        "number": number,
        "id": message.message_id,
        "label": label_of(message.body),
        "source": message.source,
        "end": "" if message.queued else FILTERED,
        "receives": 0,
        "outcome": None,
        "error": None,
        "attempts": [],
        "history": message.queued.history if message.queued else ["it matches none of the filters of the mapping"],
    }


def _dead_letter(
    message: QueuedMessage, by_id: Mapping[str, Mapping[str, Any]], by_number: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a dead letter: the number and the id of the message that it was, and the reason."""
    record = Record(message.record)
    original = original_id_in(record)
    row = by_number.get(message.moved_from) if message.moved_from is not None else None
    if row is None and original is not None:
        row = by_id.get(original)
    last_event = message.history[-1] if message.history else "sent by the handler"
    return {
        "id": message.message_id if row is None else row["id"],
        "number": None if row is None else row["number"],
        "label": label_of(message.body),
        "reason": reason_in(record) or last_event,
    }


def _order(letter: Mapping[str, Any]) -> tuple[float, str, str]:
    """Return a key that orders dead letters as the messages; those that the handler wrote itself come last."""
    return math.inf if letter["number"] is None else letter["number"], letter["id"], letter["reason"]


def _add_attempts(rows: Mapping[int, dict[str, Any]], delivery: Delivery, result: InvocationResult) -> None:
    for message, handle, count in zip(delivery.messages, delivery.handles, delivery.receive_counts, strict=True):
        if message.number not in rows:
            continue  # the handler has sent this message
        outcome, error = result.outcomes.get(handle, (None, None))
        if not isinstance(delivery.invocation, Returned):
            error = delivery.invocation.reason
        row = rows[message.number]
        row["receives"] += 1
        row["outcome"], row["error"] = outcome, error
        row["attempts"].append(
            {
                "delivery": delivery.number,
                "receive_count": count,
                "outcome": outcome,
                "error": error,
                "retried": message.message_id in delivery.verdict.failed,
            }
        )


def _end(message: Mapping[str, Any], *, left: bool, dead: bool) -> str:
    """Return the final state of a message; it is lost if it was deleted although a fanfold consumer failed it."""
    if left:
        return LEFT
    outcomes = {attempt["outcome"] for attempt in message["attempts"]}
    if dead or message["outcome"] == "Rejected":
        return DEAD  # by the queue, or by the handler, which sends it under a new id
    return LOST if outcomes.isdisjoint({"Done", None}) else DELETED


def _delivery(delivery: Delivery, result: InvocationResult, rows: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    numbers = {
        handle: _number(message, rows) for handle, message in zip(delivery.handles, delivery.messages, strict=True)
    }
    spans = [
        {"message": numbers[span["handle"]], **{name: span[name] for name in ("slot", "start_ms", "end_ms")}}
        for span in result.measured["spans"]
    ]
    returned = isinstance(delivery.invocation, Returned)
    return {
        "number": delivery.number,
        "began_at": delivery.began_at,
        "ended_at": delivery.ended_at,
        "messages": list(numbers.values()),
        "response": delivery.invocation.text if isinstance(delivery.invocation, Returned) else None,
        "error": None if returned else asdict(delivery.invocation),
        "verdict": {"kind": delivery.verdict.kind, "reason": delivery.verdict.reason},
        "measured": {**result.measured, "spans": spans},
    }


def _number(message: QueuedMessage, rows: Mapping[int, Mapping[str, Any]]) -> int:
    """Return the number of a message in the document; those that the handler sent follow the rows."""
    row = rows.get(message.number)
    if row is not None:
        return int(row["number"])
    return max((row["number"] for row in rows.values()), default=-1) + 1 + message.number - len(rows)
