"""The process of a replayed or measured handler: reads events from stdin, writes results to stdout.

Usage: ``python -m fanfold._replay.child MODULE:NAME``, followed by ``durations`` to record only how long each call
took instead of a timeline. The handler's own output goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from array import array
from collections.abc import Sequence
from typing import Any, TextIO

from fanfold._base import import_string
from fanfold._base.outcome import Failed, Rejected, Retrying
from fanfold._base.record import Record
from fanfold._base.sample_events import FakeContext
from fanfold._consumer.consumer import Consumer
from fanfold.errors import ConfigurationError
from fanfold.observers import BatchCallbacks, BatchEnded, CallEnded


class _Timeline:
    """An observer that records, for one batch, when and in which slot each record ran, and its outcome."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._start = time.perf_counter()
        self._free: list[int] = []
        self._slots = 0
        self.spans: list[dict[str, Any]] = []
        self.outcomes: dict[str, tuple[str, str | None]] = {}

    def batch_started(self, _records: Sequence[Record], _batch: object) -> BatchCallbacks:
        return BatchCallbacks(self._call_started, self._batch_ended)

    def _call_started(self, records: Sequence[Record]) -> CallEnded:
        slot = self._free.pop() if self._free else self._slots
        self._slots = max(self._slots, slot + 1)
        began = time.perf_counter()
        return lambda _: self._add_spans(records, slot, began)

    def _batch_ended(self, ended: BatchEnded) -> None:
        for record, outcome in zip(ended.records, ended.outcomes, strict=True):
            self.outcomes[record.receipt_handle] = (type(outcome).__name__, _reason(outcome))

    def _add_spans(self, records: Sequence[Record], slot: int, began: float) -> None:
        ended = time.perf_counter()
        self._free.append(slot)
        for record in records:
            self.spans.append(
                {
                    "handle": record.receipt_handle,
                    "slot": slot,
                    "start_ms": round((began - self._start) * 1000, 3),
                    "end_ms": round((ended - self._start) * 1000, 3),
                }
            )

    def result(self) -> dict[str, Any]:
        return {"outcomes": self.outcomes, "spans": self.spans, "most_in_flight": self._slots or None}


class _Durations:
    """An observer that records, for one batch, how long each call took; it has little overhead."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._seconds = array("d")
        self._most = 0

    def batch_started(self, _records: Sequence[Record], _batch: object) -> BatchCallbacks:
        return BatchCallbacks(self._call_started, self._batch_ended)

    def _call_started(self, _records: Sequence[Record]) -> CallEnded:
        began = time.perf_counter()
        return lambda _: self._seconds.append(time.perf_counter() - began)

    def _batch_ended(self, ended: BatchEnded) -> None:
        self._most = ended.peak_in_flight

    def result(self) -> dict[str, Any]:
        return {"durations": [round(seconds, 7) for seconds in self._seconds], "most_in_flight": self._most or None}


def _reason(outcome: Any) -> str | None:
    if isinstance(outcome, Failed):
        return f"{type(outcome.error).__name__}: {outcome.error}"
    if isinstance(outcome, Rejected):
        return outcome.reason + ("" if outcome.forwarded else " (not forwarded)")
    if isinstance(outcome, Retrying):
        return outcome.reason
    return getattr(outcome, "reason", None)


def main() -> None:
    """Load the handler, report that it is ready, and invoke it with one event after another until stdin ends."""
    name = sys.argv[1]
    with _taken_from_stdout() as replies:
        began = time.perf_counter()
        try:
            handler = import_string.load_handler(name)
        except ConfigurationError as error:
            raised = error.__cause__
            _send(replies, {"failed": str(error), "traceback": "" if raised is None else _traceback_of(raised)})
            return
        observer: _Timeline | _Durations = _Durations() if "durations" in sys.argv[2:] else _Timeline()
        consumer = _consumer_in(handler)
        if consumer is not None:
            consumer.add_observer(observer)
        concurrency = None if consumer is None else consumer.settings.concurrency
        fixed = concurrency if isinstance(concurrency, int) else None
        _send(replies, {"ready": round(time.perf_counter() - began, 6), "consumer": consumer is not None,
                        "concurrency": fixed})  # fmt: skip
        for line in sys.stdin:
            began = time.perf_counter()
            request = json.loads(line)
            decode_seconds = round(time.perf_counter() - began, 6)
            observer.begin()
            _send(replies, {**_invoke(handler, request), "decode_seconds": decode_seconds, **observer.result()})


def _taken_from_stdout() -> TextIO:
    """Return the pipe on stdout, and redirect stdout to stderr, also for child processes."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def _consumer_in(handler: Any) -> Consumer[..., Any] | None:
    """Return the consumer that a handler is, or that its decorators wrap; None if it is not a consumer."""
    for _ in range(100):
        if isinstance(handler, Consumer) or handler is None:
            return handler
        handler = getattr(handler, "__wrapped__", None)
    return None


def _invoke(handler: Any, request: dict[str, Any]) -> dict[str, Any]:
    context = FakeContext(request["seconds"], request["request_id"], memory_limit_in_mb=request["memory_mb"])
    began, cpu_began = time.perf_counter(), time.process_time()
    reply: dict[str, Any] = {"response": None, "error": None}
    try:
        reply["response"] = json.dumps(handler(request["event"], context))
    except Exception as error:  # noqa: BLE001 - a function error is a result of the invocation
        reply["error"] = f"{type(error).__name__}: {error}"
        sys.stderr.write(_traceback_of(error))
    reply["seconds"] = round(time.perf_counter() - began, 6)
    reply["cpu_seconds"] = round(time.process_time() - cpu_began, 6)
    reply["remaining_ms"] = context.get_remaining_time_in_millis()
    return reply


def _traceback_of(error: BaseException) -> str:
    """Return a traceback that starts in the user's code."""
    frames = error.__traceback__
    while frames is not None and _is_internal(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _is_internal(filename: str) -> bool:
    return filename in {__file__, import_string.__file__} or "importlib" in filename


def _send(replies: TextIO, value: dict[str, Any]) -> None:
    sys.stdout.flush()
    replies.write(json.dumps(value) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
