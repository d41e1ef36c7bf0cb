"""Replay saved events: deliver them to a handler as an event source mapping would, with simulated queues.

The queue, the mapping, and the clock are simulated; the handler runs for real, in a separate process. For the same seed
and the same handler, the whole result is reproducible, except for the values under ``measured``.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from fanfold import __version__
from fanfold._base.dead_letter import original_id_in, reason_in
from fanfold._base.record import Record
from fanfold._replay.endpoint import serving
from fanfold._replay.events import SavedEvent
from fanfold._replay.function import InvocationResult, LocalFunction
from fanfold._replay.mapping import Invocation, Returned
from fanfold._replay.runtime_client import RuntimeClientFunction
from fanfold._replay.simulator import Delivery, Simulator
from fanfold.errors import ConfigurationError
from fanfold.inmemory.queue import QueuedMessage

DELETED: Final = "deleted"
DEAD: Final = "dead-lettered"
LEFT: Final = "in the queue"
LOST: Final = "lost"
_NOT_SIMULATED: Final = {"memory_mb", "until_empty", "runtime_client"}

Progress = Callable[[int, int, int], None]
"""Called after each delivery with the number of deliveries, of messages in the queue, and of dead-lettered messages."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The settings of a replay: of the function, its queue, and its mapping."""

    batch_size: int = 10
    """Maximum number of records in a batch."""
    window_seconds: float = 0
    """Batching window, seconds, simulated."""
    visibility_timeout: float = 30.0
    """Visibility timeout of the queue, seconds, simulated."""
    max_receive_count: int = 5
    """Receives after which a message is moved to the dead-letter queue."""
    function_timeout: float = 30.0
    """Function timeout, seconds of real time; the process is killed at the timeout."""
    memory_mb: int = 1769
    """Memory of the function, MB; the process is killed if its resident memory exceeds it."""
    maximum_concurrency: int = 5
    """Maximum number of concurrent invocations, in simulated time."""
    fifo: bool = False
    """True for a FIFO queue."""
    report_batch_item_failures: bool = True
    """True if the mapping reads which messages failed."""
    duplicates: float = 0.0
    """Share of receives after which SQS delivers the message again, 0 to 1."""
    seed: int = 0
    """Seed of all random choices."""
    until_empty: bool = True
    """True to redeliver until every message is deleted or dead-lettered; else each batch is delivered once."""
    runtime_client: bool = False
    """True to run the handler under Lambda's own runtime client."""


def replay(
    handler: str, events: Sequence[SavedEvent], options: ReplayOptions, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Deliver saved events to a handler, and return the result as one JSON document.

    Args:
        handler: ``MODULE:NAME``, imported from the current folder. Its SQS calls for the replayed messages reach the
            simulated queues; all its other calls are real.
        events: The saved events.
        options: The settings of the replay.
        progress: Called after each delivery.

    Raises:
        HandlerError: If the handler's module cannot be imported.
        ConfigurationError: If AWS would reject the settings.
    """
    began = time.perf_counter()
    run = _Run(handler, events, options, progress)
    run.deliver()
    return run.document(time.perf_counter() - began)


class _Run:
    def __init__(
        self, handler: str, events: Sequence[SavedEvent], options: ReplayOptions, progress: Progress | None
    ) -> None:
        self._handler = handler
        self._options = options
        self._progress = progress
        self._function: LocalFunction | RuntimeClientFunction | None = None
        self._results: list[InvocationResult] = []
        settings = {name: value for name, value in asdict(options).items() if name not in _NOT_SIMULATED}
        seconds = min(1.0, options.function_timeout) if options.until_empty else 0.0
        self._simulator = Simulator(invoke=self._invoke, invocation_seconds=seconds, **settings)
        sources = [(event.name, record) for event in events for record in event.records]
        name = _queue_name(sources[0][1], fifo=options.fifo)
        arn = f"arn:aws:sqs:eu-west-1:123456789012:{name}"
        self._name, self._sources = name, [source for source, _ in sources]
        self._messages = [self._simulator.queue.put({**record, "eventSourceARN": arn}) for _, record in sources]
        self._is_consumer = False

    def deliver(self) -> None:
        """Deliver until the queue is empty, or each batch once."""
        queues = {self._name: self._simulator.queue, self._dead_name: self._simulator.dead_letter_queue}
        with serving(queues) as endpoint:
            environment = endpoint.environment(self._name, self._dead_name)
            run = RuntimeClientFunction if self._options.runtime_client else LocalFunction
            function = run(
                self._handler,
                timeout_seconds=self._options.function_timeout,
                memory_mb=self._options.memory_mb,
                environment=environment,
            )
            with function as self._function:
                self._is_consumer = function.is_consumer
                # Within the batching window, each batch is delivered once, and no message is redelivered yet.
                self._simulator.run(until=math.inf if self._options.until_empty else self._options.window_seconds)

    @property
    def _dead_name(self) -> str:
        return f"{self._name.removesuffix('.fifo')}-dead-letters{'.fifo' if self._options.fifo else ''}"

    def _invoke(self, event: dict[str, Any]) -> Invocation:
        assert self._function is not None  # noqa: S101 - deliver has started it
        result = self._function.invoke(event)
        self._results.append(result)
        if self._progress is not None:
            queue, dead = self._simulator.queue, self._simulator.dead_letter_queue
            self._progress(len(self._results), len(queue), len(dead))
        return result.invocation

    def document(self, seconds: float) -> dict[str, Any]:
        """Return the result as one JSON document."""
        simulator = self._simulator
        rows = [_row(message, source) for message, source in zip(self._messages, self._sources, strict=True)]
        for delivery, result in zip(simulator.deliveries, self._results, strict=True):
            _add_attempts(rows, delivery, result)
        left = {message.number for message in simulator.queue.messages()}
        dead_letters = [_dead_letter(message, rows) for message in simulator.dead_letter_queue.messages()]
        dead = {dead_letter["number"] for dead_letter in dead_letters}
        for row in rows:
            row["end"] = _end(row, left=row["number"] in left, dead=row["number"] in dead)
        ends = Counter(row["end"] for row in rows)
        peaks = [peak for result in self._results if (peak := result.measured["peak_memory_mb"]) is not None]
        return {
            "version": __version__,
            "handler": self._handler,
            "consumer": self._is_consumer,
            "settings": asdict(self._options),
            "summary": {
                "messages": len(rows),
                "deliveries": len(simulator.deliveries),
                "receives": sum(row["receives"] for row in rows),
                "deleted": ends[DELETED],
                "dead_lettered": ends[DEAD],
                "left": ends[LEFT],
                "lost": ends[LOST],
            },
            "messages": rows,
            "deliveries": [
                _delivery(delivery, result)
                for delivery, result in zip(simulator.deliveries, self._results, strict=True)
            ],
            "dead_letters": dead_letters,
            "measured": {"seconds": round(seconds, 3), "peak_memory_mb": max(peaks, default=None)},
        }


def _row(message: QueuedMessage, source: str) -> dict[str, Any]:
    """Return the row of a message in the document, without its deliveries."""
    return {
        "number": message.number,
        "id": message.message_id,
        "source": source,
        "end": LEFT,
        "receives": 0,
        "outcome": None,
        "error": None,
        "attempts": [],
        "history": message.history,
    }


def _dead_letter(message: QueuedMessage, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a message of the dead-letter queue: its id, the number of the original message, and the reason."""
    record = Record(message.record)
    number, original = message.moved_from, original_id_in(record)
    if number is None and original is not None:
        number = next((row["number"] for row in rows if row["id"] == original), None)
    last_event = message.history[-1] if message.history else "sent by the handler"
    return {"id": message.message_id, "number": number, "reason": reason_in(record) or last_event}


def _add_attempts(rows: Sequence[dict[str, Any]], delivery: Delivery, result: InvocationResult) -> None:
    for message, handle, count in zip(delivery.messages, delivery.handles, delivery.receive_counts, strict=True):
        if message.number >= len(rows):
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


def _delivery(delivery: Delivery, result: InvocationResult) -> dict[str, Any]:
    numbers = {handle: message.number for handle, message in zip(delivery.handles, delivery.messages, strict=True)}
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


def explain(document: Mapping[str, Any], message_id: str) -> str:
    """Return an explanation of what happened to a message in each delivery.

    Raises:
        ConfigurationError: If no message has this id.
    """
    messages = [message for message in document["messages"] if message["id"] == message_id]
    if not messages:
        raise ConfigurationError(f"no message of this replay has the id {message_id!r}")
    lines = []
    for message in messages:
        lines.append(f"message {message['id']} from {message['source']}: {message['end']}")
        for attempt in message["attempts"]:
            delivery = document["deliveries"][attempt["delivery"]]
            outcome = " - ".join(text for text in (attempt["outcome"], attempt["error"]) if text)
            lines.append(
                f"  receive {attempt['receive_count']}, delivery {delivery['number']} at {delivery['began_at']:g} s: "
                f"{outcome or 'the outcome of single records is not known'}; "
                f"{'kept for redelivery' if attempt['retried'] else 'not reported as failed'} "
                f"({delivery['verdict']['reason']})"
            )
        lines.extend(f"  · {line}" for line in message["history"])
    return "\n".join(lines)


def _queue_name(record: Mapping[str, Any], *, fifo: bool) -> str:
    name = str(record.get("eventSourceARN") or "replayed").rsplit(":", 1)[-1].removesuffix(".fifo")
    return f"{name}.fifo" if fifo else name
