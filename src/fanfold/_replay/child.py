"""The process of a replayed or measured handler: reads events from stdin, writes results to stdout.

Usage: ``python -m fanfold._replay.child MODULE:NAME``, followed by ``durations`` to record only how long each call
took instead of a timeline. The handler's own output goes to stderr. In a replay, ``FANFOLD_REPLAY`` has the settings
that ``replayed_handler`` applies; without it, the handler runs as it is, as in a benchmark.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from fanfold._base import import_string
from fanfold._base.callables import find_layer
from fanfold._base.outcome import Failed, Rejected, Retrying
from fanfold._base.record import Record
from fanfold._base.sample_events import FakeContext
from fanfold._consumer.consumer import Consumer
from fanfold._replay import replayed_handler
from fanfold._replay.handler_settings import take_settings
from fanfold._replay.lambda_logging import LambdaLogging
from fanfold._replay.pipes import PIPE_LOST, send, take_pipes
from fanfold._replay.replayed_handler import ReplayedHandler
from fanfold.errors import ConfigurationError
from fanfold.observers import BatchCallbacks, BatchEnded, CallEnded, Observer


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
        self._limit: int | None = None

    def batch_started(self, _records: Sequence[Record], _batch: object) -> BatchCallbacks:
        return BatchCallbacks(self._call_started, self._batch_ended)

    def _call_started(self, _records: Sequence[Record]) -> CallEnded:
        began = time.perf_counter()
        return lambda _: self._seconds.append(time.perf_counter() - began)

    def _batch_ended(self, ended: BatchEnded) -> None:
        self._most = ended.peak_in_flight
        self._limit = ended.concurrency_limit

    def result(self) -> dict[str, Any]:
        return {
            "durations": [round(seconds, 7) for seconds in self._seconds],
            "most_in_flight": self._most or None,
            "concurrency_limit": self._limit,
        }


def _reason(outcome: Any) -> str | None:
    if isinstance(outcome, Failed):
        return f"{type(outcome.error).__name__}: {outcome.error}"
    if isinstance(outcome, Rejected):
        return outcome.reason + ("" if outcome.forwarded else " (not forwarded)")
    if isinstance(outcome, Retrying):
        return outcome.reason
    return getattr(outcome, "reason", None)


def main() -> None:
    """Load the handler, report that it is ready, and invoke it with one event after another until the requests end."""
    name = sys.argv[1]
    requests, replies = take_pipes()
    settings = take_settings()
    logs = None if settings is None else LambdaLogging(sys.stderr)
    observer: _Timeline | _Durations = _Durations() if "durations" in sys.argv[2:] else _Timeline()
    began = time.perf_counter()
    try:
        handler = import_string.load_handler(name)
        consumer = find_layer(handler, Consumer)
        if settings is None:
            call = _direct(handler, consumer, observer)
        else:
            call = ReplayedHandler(handler, settings, [observer])
    except ConfigurationError as error:
        raised = error.__cause__
        is_explained = raised is None or isinstance(raised, ConfigurationError)
        send(replies, {"failed": str(error), "traceback": "" if is_explained else _traceback_of(raised or error)})
        return
    concurrency = None if consumer is None else consumer.settings.concurrency
    ready = {"ready": round(time.perf_counter() - began, 6), "consumer": consumer is not None}
    send(replies, {**ready, "concurrency": concurrency if isinstance(concurrency, int) else None})
    try:
        for line in requests:
            began = time.perf_counter()
            request = json.loads(line)
            decode_seconds = round(time.perf_counter() - began, 6)
            observer.begin()
            if logs is not None:
                logs.request_id = request["request_id"]
            reply = {**_invoke(call, request), "id": request["request_id"], "decode_seconds": decode_seconds}
            send(replies, {**reply, **observer.result()})
    except OSError:
        os._exit(PIPE_LOST)  # the handler has closed a pipe


def _direct(
    handler: Callable[..., Any], consumer: Consumer[..., Any] | None, observer: Observer
) -> Callable[[Any, Any, float], Any]:
    """Return a call of the handler as it is, except that its consumer notifies an observer."""
    if consumer is not None:
        consumer.add_observer(observer)
    return lambda event, context, _now: handler(event, context)


def _invoke(call: Callable[[Any, Any, float], Any], request: dict[str, Any]) -> dict[str, Any]:
    context = FakeContext(request["seconds"], request["request_id"], memory_limit_in_mb=request["memory_mb"])
    began, cpu_began = time.perf_counter(), time.process_time()
    reply: dict[str, Any] = {"response": None, "error": None}
    try:
        reply["response"] = _marshalled(call(request["event"], context, request.get("now", 0.0)))
    except Exception as error:  # noqa: BLE001 - a function error is a result of the invocation
        reply["error"] = str(error) if isinstance(error, _MarshalError) else f"{type(error).__name__}: {error}"
        sys.stderr.write(f"[ERROR] {reply['error']}\n{_traceback_of(error)}")
    reply["seconds"] = round(time.perf_counter() - began, 6)
    reply["cpu_seconds"] = round(time.process_time() - cpu_began, 6)
    reply["remaining_ms"] = context.get_remaining_time_in_millis()
    return reply


class _MarshalError(Exception):
    """A response that is not JSON, with the message of Lambda's runtime client."""


def _marshalled(response: Any) -> str:
    try:
        return json.dumps(response, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise _MarshalError(f"Runtime.MarshalError: Unable to marshal response: {error}") from None


def _traceback_of(error: BaseException) -> str:
    """Return a traceback that starts in the user's code; empty if no frame is in it."""
    frames = error.__traceback__
    while frames is not None and _is_internal(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)) if frames is not None else ""


def _is_internal(filename: str) -> bool:
    return filename in {__file__, import_string.__file__, replayed_handler.__file__} or "importlib" in filename


if __name__ == "__main__":
    main()
