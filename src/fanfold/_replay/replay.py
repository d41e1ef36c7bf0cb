"""Replay: saved events delivered to a handler as the event source mapping would, on simulated queues.

The queue, the mapping and the clock are simulated; the handler runs for real, in a process of its own. Of the result,
everything is the same each time for the same seed and the same handler, but what stands under ``measured``.
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
_NOT_OF_THE_QUEUE: Final = {"memory_mb", "until_empty", "runtime_client"}

Progress = Callable[[int, int, int], None]
"""Told after each delivery: deliveries, messages still in the queue, dead letters."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to replay: the settings of the function, its queue and its mapping."""

    batch_size: int = 10
    """Most records in a batch."""
    window_seconds: float = 0
    """Batching window."""
    visibility_timeout: float = 30.0
    """Seconds a received message stays hidden, simulated."""
    max_receive_count: int = 5
    """Receives after which a message is a dead letter."""
    function_timeout: float = 30.0
    """Seconds an invocation may take, real: the handler is killed then."""
    memory_mb: int = 1769
    """Memory of the function, MB, as resident memory: the handler is killed when it is over."""
    maximum_concurrency: int = 5
    """Invocations at once, in simulated time."""
    fifo: bool = False
    """Whether the queue is a FIFO queue."""
    report_batch_item_failures: bool = True
    """Whether the mapping reads which items failed."""
    duplicates: float = 0.0
    """Share of receives that SQS forgets."""
    seed: int = 0
    """Of all chance."""
    until_empty: bool = True
    """Whether what comes back is delivered again, until it is deleted or a dead letter."""
    runtime_client: bool = False
    """Whether the handler runs under Lambda's own runtime client."""


def replay(
    handler: str, events: Sequence[SavedEvent], options: ReplayOptions, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Deliver saved events to a handler, and return what happened as one JSON document.

    Args:
        handler: ``MODULE:NAME``, found from the current folder. Its calls to SQS with the replayed receipt handles
            reach the simulated queue; any other call it makes is real.
        events: What was saved.
        options: How to replay.
        progress: Told after each delivery.

    Raises:
        HandlerError: If the handler's module cannot be imported.
        ConfigurationError: If AWS would refuse the settings.
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
        self._invoked: list[InvocationResult] = []
        settings = {name: value for name, value in asdict(options).items() if name not in _NOT_OF_THE_QUEUE}
        seconds = min(1.0, options.function_timeout) if options.until_empty else 0.0
        self._simulator = Simulator(invoke=self._invoke, invocation_seconds=seconds, **settings)
        sources = [(event.name, record) for event in events for record in event.records]
        name = _queue_name(sources[0][1], fifo=options.fifo)
        arn = f"arn:aws:sqs:eu-west-1:123456789012:{name}"
        self._name, self._sources = name, [source for source, _ in sources]
        self._messages = [self._simulator.queue.put({**record, "eventSourceARN": arn}) for _, record in sources]
        self._is_consumer = False

    def deliver(self) -> None:
        """Deliver until nothing is left, or each batch once."""
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
                # Delivered once is all that happens before anything that came back can be received again.
                self._simulator.run(until=math.inf if self._options.until_empty else self._options.window_seconds)

    @property
    def _dead_name(self) -> str:
        return f"{self._name.removesuffix('.fifo')}-dead-letters{'.fifo' if self._options.fifo else ''}"

    def _invoke(self, event: dict[str, Any]) -> Invocation:
        assert self._function is not None  # noqa: S101 - while it is open
        invoked = self._function.invoke(event)
        self._invoked.append(invoked)
        if self._progress is not None:
            queue, dead = self._simulator.queue, self._simulator.dead_letter_queue
            self._progress(len(self._invoked), len(queue), len(dead))
        return invoked.invocation

    def document(self, seconds: float) -> dict[str, Any]:
        """Return what happened."""
        simulator = self._simulator
        told = [self._told(message, source) for message, source in zip(self._messages, self._sources, strict=True)]
        for delivery, invoked in zip(simulator.deliveries, self._invoked, strict=True):
            _note_attempts(told, delivery, invoked)
        left = {message.number for message in simulator.queue.messages()}
        letters = [_letter(message, told) for message in simulator.dead_letter_queue.messages()]
        dead = {letter["number"] for letter in letters}
        for message in told:
            message["end"] = _end(message, left=message["number"] in left, dead=message["number"] in dead)
        ends = Counter(message["end"] for message in told)
        peaks = [peak for invoked in self._invoked if (peak := invoked.measured["peak_memory_mb"]) is not None]
        return {
            "version": __version__,
            "handler": self._handler,
            "consumer": self._is_consumer,
            "settings": asdict(self._options),
            "summary": {
                "messages": len(told),
                "deliveries": len(simulator.deliveries),
                "receives": sum(message["receives"] for message in told),
                "deleted": ends[DELETED],
                "dead_lettered": ends[DEAD],
                "left": ends[LEFT],
                "lost": ends[LOST],
            },
            "messages": told,
            "deliveries": [_delivery(*each) for each in zip(simulator.deliveries, self._invoked, strict=True)],
            "dead_letters": letters,
            "measured": {"seconds": round(seconds, 3), "peak_memory_mb": max(peaks, default=None)},
        }

    def _told(self, message: QueuedMessage, source: str) -> dict[str, Any]:
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


def _letter(message: QueuedMessage, told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a dead letter: its id, the number of the message it was, and why it is one."""
    record = Record(message.record)
    number, original = message.moved_from, original_id_in(record)
    if number is None and original is not None:
        number = next((each["number"] for each in told if each["id"] == original), None)
    moved = message.history[-1] if message.history else "sent by the handler"
    return {"id": message.message_id, "number": number, "reason": reason_in(record) or moved}


def _note_attempts(told: Sequence[dict[str, Any]], delivery: Delivery, invoked: InvocationResult) -> None:
    for message, handle, count in zip(delivery.messages, delivery.handles, delivery.receive_counts, strict=True):
        if message.number >= len(told):
            continue  # one that the handler itself has sent
        outcome, error = invoked.outcomes.get(handle, (None, None))
        if not isinstance(delivery.invocation, Returned):
            error = delivery.invocation.reason
        row = told[message.number]
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
    """Say how a message ended; lost is what was deleted although a fanfold consumer says that it did not succeed."""
    if left:
        return LEFT
    outcomes = {attempt["outcome"] for attempt in message["attempts"]}
    if dead or message["outcome"] == "Rejected":
        return DEAD  # by the queue, or by the handler, whose message there has an id of its own
    return LOST if outcomes.isdisjoint({"Done", None}) else DELETED


def _delivery(delivery: Delivery, invoked: InvocationResult) -> dict[str, Any]:
    numbers = {handle: message.number for handle, message in zip(delivery.handles, delivery.messages, strict=True)}
    spans = [
        {"message": numbers[span["handle"]], **{name: span[name] for name in ("slot", "start_ms", "end_ms")}}
        for span in invoked.measured["spans"]
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
        "measured": {**invoked.measured, "spans": spans},
    }


def explain(document: Mapping[str, Any], message_id: str) -> str:
    """Say in words why a message came back, or did not.

    Raises:
        ConfigurationError: If no message has this id.
    """
    found = [message for message in document["messages"] if message["id"] == message_id]
    if not found:
        raise ConfigurationError(f"no message of this replay has the id {message_id!r}")
    lines = []
    for message in found:
        lines.append(f"message {message['id']} from {message['source']}: {message['end']}")
        for attempt in message["attempts"]:
            delivery = document["deliveries"][attempt["delivery"]]
            words = [word for word in (attempt["outcome"], attempt["error"]) if word]
            lines.append(
                f"  receive {attempt['receive_count']}, delivery {delivery['number']} at {delivery['began_at']:g} s: "
                f"{' - '.join(words) or 'the handler says nothing of single records'}; "
                f"{'came back' if attempt['retried'] else 'not reported'} ({delivery['verdict']['reason']})"
            )
        lines.extend(f"  · {line}" for line in message["history"])
    return "\n".join(lines)


def _queue_name(record: Mapping[str, Any], *, fifo: bool) -> str:
    name = str(record.get("eventSourceARN") or "replayed").rsplit(":", 1)[-1].removesuffix(".fifo")
    return f"{name}.fifo" if fifo else name
