"""Notify the observers of one batch: of each event once, in order. An observer cannot change an outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from fanfold._base.context import BatchContext
from fanfold._base.log import logger
from fanfold._base.operating_system import peak_resident_bytes
from fanfold._base.outcome import DONE, BatchResult, Failed, Outcome
from fanfold._base.record import Record
from fanfold._consumer.classify import outcome_of
from fanfold.errors import AbandonedError
from fanfold.observers import BatchCallbacks, BatchEnded, BreakerActivity, CallEnded, Observer

_Open: TypeAlias = tuple[int, list[CallEnded]]
"""Number of records of a call, and the callbacks for its end."""
_Stage: TypeAlias = Callable[[Sequence[Record]], Awaitable[list[Any]]]
"""Same as ``stages.Stage``."""

_ABANDONED: Final = Failed(AbandonedError())


class Observation:
    """Notifies the observers of one batch; create it when the batch starts.

    Args:
        observers: The observers to notify.
        records: The records of the batch.
        batch: Context that the records share.
        reject_on: Returns whether an error is permanent.
        peak_memory: Returns the peak memory of what runs the handlers, in bytes; None if it is unknown.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        records: Sequence[Record],
        batch: BatchContext[Any],
        reject_on: Callable[[BaseException], bool],
        peak_memory: Callable[[], int | None] = peak_resident_bytes,
    ) -> None:
        self._peak_memory = peak_memory
        records = tuple(records)  # a copy: observers cannot change the batch
        self._deadline = batch.deadline
        self._reject_on = reject_on
        self._observer_errors = 0
        self._in_flight = 0
        self._peak = 0
        self._open: dict[object, _Open] = {}
        """Calls that have not ended. A call is removed before observers are notified of its end: only once."""
        self._started_at = self._deadline.clock()
        callbacks = [
            wanted
            for observer in observers
            if (wanted := self._notify(_callbacks_of, observer, records, batch)) is not None
        ]
        self._on_call_started = [wanted.call_started for wanted in callbacks if wanted.call_started is not None]
        self._on_batch_ended = [wanted.batch_ended for wanted in callbacks if wanted.batch_ended is not None]

    @property
    def reads_outcomes(self) -> bool:
        """True if an observer is notified of the end of the batch, with all outcomes."""
        return bool(self._on_batch_ended)

    def around(self, stage: _Stage) -> _Stage:
        """Return a stage that calls the given one and notifies the observers of its start and end."""

        async def observed(records: Sequence[Record]) -> list[Any]:
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)
            key = self._call_started(records) if self._on_call_started else None
            try:
                values = await stage(records)
            except GeneratorExit:
                raise  # the loop is closed under an abandoned call; the observers were notified before
            except BaseException as error:
                if key is not None:
                    self._call_ended(key, [error] * len(records))
                raise
            finally:
                self._in_flight -= 1
            if key is not None:
                self._call_ended(key, _unless_cancelled(values))
            return values

        return observed

    def end(self, result: BatchResult, concurrency_limit: int | None, breakers: Sequence[BreakerActivity] = ()) -> None:
        """Notify the observers of the calls that were abandoned, and then of the end of the batch.

        Can be called from a thread other than the event loop's.

        Args:
            result: The result of the batch.
            concurrency_limit: The concurrency limit, if it adjusts itself; None for a fixed one.
            breakers: The activity of breakers.
        """
        for key in list(self._open):
            self._call_ended(key, None)
        ended = BatchEnded(
            tuple(result.records),
            tuple(result.outcomes),
            {"batchItemFailures": [{**failure} for failure in result.response["batchItemFailures"]]},
            seconds=self._deadline.clock() - self._started_at,
            seconds_left=self._deadline.remaining(),
            peak_in_flight=self._peak,
            peak_memory_bytes=self._peak_memory(),
            concurrency_limit=concurrency_limit,
            breakers=tuple(breakers),
        )
        for callback in self._on_batch_ended:
            self._notify(callback, ended)
        if self._observer_errors > 1:
            logger.error(
                "observers failed %d times in this batch; only the first failure is logged", self._observer_errors
            )

    def _call_started(self, call_records: Sequence[Record]) -> object:
        records = tuple(call_records)
        on_end: list[CallEnded] = []
        for callback in self._on_call_started:
            try:  # as _notify, which would double the cost
                if (ended := callback(records)) is not None:
                    on_end.append(ended)
            except BaseException as error:  # noqa: BLE001
                self._observer_failed(error)
        key = object()
        self._open[key] = (len(records), on_end)
        return key

    def _call_ended(self, key: object, values: Sequence[object] | None) -> None:
        if (opened := self._open.pop(key, None)) is None:
            return
        records, on_end = opened
        results = [_ABANDONED] * records if values is None else values
        outcomes = [DONE if value is None else self._outcome_of(value) for value in results]
        for callback in reversed(on_end):  # as nested: the first to start ends last
            try:
                callback(outcomes)
            except BaseException as error:  # noqa: BLE001
                self._observer_failed(error)

    def _outcome_of(self, value: object) -> Outcome:
        try:
            return outcome_of(value, self._reject_on)
        except BaseException as error:  # noqa: BLE001 - a value whose class cannot be read
            return Failed(error)

    def _notify(self, callback: Callable[..., Any], *args: object) -> Any:
        """Call an observer, and return what it returns; None if it raises."""
        try:
            return callback(*args)
        except BaseException as error:  # noqa: BLE001 - an observer's error must not change an outcome
            self._observer_failed(error)
            return None

    def _observer_failed(self, error: BaseException) -> None:
        """Log an observer's error, with its traceback if it is the first of the batch."""
        if isinstance(error, KeyboardInterrupt):
            raise error
        self._observer_errors += 1
        if self._observer_errors == 1:
            logger.error("an observer failed; the batch is not affected", exc_info=error)


def _unless_cancelled(values: Sequence[object]) -> Sequence[object]:
    """Return the values that a call returned; if its task was cancelled, return that error for each instead."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return values
    return [asyncio.CancelledError("the handler's task was cancelled")] * len(values)


def _callbacks_of(observer: Observer, records: Sequence[Record], batch: BatchContext[Any]) -> BatchCallbacks | None:
    callbacks = observer.batch_started(records, batch)
    if not (callbacks is None or isinstance(callbacks, BatchCallbacks)):
        raise TypeError(f"batch_started of {observer!r} returned {callbacks!r}, not BatchCallbacks or None")
    return callbacks
