"""The process a replayed or measured handler runs in: events in on stdin, answers out on stdout.

Run as ``python -m fanfold._replay.child MODULE:NAME``, with ``durations`` behind it where who ran when is not asked
for, only how long. What the handler prints goes to stderr.
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


class _Seen:
    """Notes, for the batch under way, which record ran when in which slot, and how each ended."""

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
        return lambda _: self._note(records, slot, began)

    def _batch_ended(self, ended: BatchEnded) -> None:
        for record, outcome in zip(ended.records, ended.outcomes, strict=True):
            self.outcomes[record.receipt_handle] = (type(outcome).__name__, _words(outcome))

    def _note(self, records: Sequence[Record], slot: int, began: float) -> None:
        now = time.perf_counter()
        self._free.append(slot)
        for record in records:
            self.spans.append(
                {
                    "handle": record.receipt_handle,
                    "slot": slot,
                    "start_ms": round((began - self._start) * 1000, 3),
                    "end_ms": round((now - self._start) * 1000, 3),
                }
            )

    def told(self) -> dict[str, Any]:
        return {"outcomes": self.outcomes, "spans": self.spans, "most_in_flight": self._slots or None}


class _Durations:
    """Notes, for the batch under way, how long each call took, at little cost."""

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

    def told(self) -> dict[str, Any]:
        return {"durations": [round(each, 7) for each in self._seconds], "most_in_flight": self._most or None}


def _words(outcome: Any) -> str | None:
    if isinstance(outcome, Failed):
        return f"{type(outcome.error).__name__}: {outcome.error}"
    if isinstance(outcome, Rejected):
        return outcome.reason + ("" if outcome.forwarded else " (not forwarded)")
    if isinstance(outcome, Retrying):
        return outcome.reason
    return getattr(outcome, "reason", None)


def main() -> None:
    """Load the handler, say so, and answer event after event until stdin ends."""
    name = sys.argv[1]
    with _taken_from_stdout() as replies:
        began = time.perf_counter()
        try:
            handler = import_string.load_handler(name)
        except ConfigurationError as error:
            raised = error.__cause__
            _say(replies, {"failed": str(error), "traceback": "" if raised is None else _told(raised)})
            return
        seen: _Seen | _Durations = _Durations() if "durations" in sys.argv[2:] else _Seen()
        consumer = _consumer_in(handler)
        if consumer is not None:
            consumer.add_observer(seen)
        own = None if consumer is None else consumer.settings.concurrency
        _say(replies, {"ready": round(time.perf_counter() - began, 6), "consumer": consumer is not None,
                       "concurrency": own})  # fmt: skip
        for line in sys.stdin:
            began = time.perf_counter()
            asked = json.loads(line)
            decoded = round(time.perf_counter() - began, 6)
            seen.begin()
            _say(replies, {**_invoked(handler, asked), "decode_seconds": decoded, **seen.told()})


def _taken_from_stdout() -> TextIO:
    """Return the pipe on stdout, and redirect stdout to stderr, also for child processes."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def _consumer_in(handler: Any) -> Consumer[..., Any] | None:
    """Return the consumer under a handler's decorators, if there is one."""
    for _ in range(100):
        if isinstance(handler, Consumer) or handler is None:
            return handler
        handler = getattr(handler, "__wrapped__", None)
    return None


def _invoked(handler: Any, asked: dict[str, Any]) -> dict[str, Any]:
    context = FakeContext(asked["seconds"], asked["request_id"], memory_limit_in_mb=asked["memory_mb"])
    began, busy = time.perf_counter(), time.process_time()
    answer: dict[str, Any] = {"response": None, "error": None}
    try:
        answer["response"] = json.dumps(handler(asked["event"], context))
    except Exception as error:  # noqa: BLE001 - a function error is an answer here
        answer["error"] = f"{type(error).__name__}: {error}"
        sys.stderr.write(_told(error))
    answer["seconds"] = round(time.perf_counter() - began, 6)
    answer["cpu_seconds"] = round(time.process_time() - busy, 6)
    answer["remaining_ms"] = context.get_remaining_time_in_millis()
    return answer


def _told(error: BaseException) -> str:
    """Return a traceback that begins in the user's code."""
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _is_ours(filename: str) -> bool:
    return filename in {__file__, import_string.__file__} or "importlib" in filename


def _say(replies: TextIO, value: dict[str, Any]) -> None:
    sys.stdout.flush()
    replies.write(json.dumps(value) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
