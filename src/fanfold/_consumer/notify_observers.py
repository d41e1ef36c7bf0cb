"""What the observers of one batch are told: each in its turn, once, and none of them able to change an outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from fanfold._base.context import BatchContext
from fanfold._base.operating_system import peak_resident_bytes
from fanfold._base.outcome import DONE, BatchResult, Failed
from fanfold._base.record import Record
from fanfold._consumer.classify import outcome_of
from fanfold.errors import AbandonedError
from fanfold.observers import BatchCallbacks, BatchEnded, CallEnded, Observer

logger = logging.getLogger("fanfold")

_Open: TypeAlias = tuple[int, list[CallEnded]]
"""How many records a call has, and who is told of its end."""
_Stage: TypeAlias = Callable[[Sequence[Record]], Awaitable[list[Any]]]
"""As ``stages.Stage``."""

_ABANDONED: Final = Failed(AbandonedError())


class Observation:
    """Tells the observers of one batch what happens in it; made when it starts.

    Args:
        observers: Whom to tell.
        records: The batch.
        batch: What its records share.
        reject_on: Which errors are permanent.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        records: Sequence[Record],
        batch: BatchContext[Any],
        reject_on: Callable[[BaseException], bool],
    ) -> None:
        records = tuple(records)  # what observers do to it changes nothing
        self._deadline = batch.deadline
        self._reject_on = reject_on
        self._faults = 0
        self._in_flight = 0
        self._peak = 0
        self._open: dict[object, _Open] = {}
        """Calls that have not ended. What takes one out tells of its end: so that is told once, whoever comes first."""
        self._began = self._deadline.clock()
        watches = [watch for each in observers if (watch := self._told(_watch, each, records, batch)) is not None]
        self._on_start = [watch.call_started for watch in watches if watch.call_started is not None]
        self._on_end = [watch.batch_ended for watch in watches if watch.batch_ended is not None]

    def around(self, stage: _Stage) -> _Stage:
        """Return a stage that does the same and is told of."""

        async def observed(records: Sequence[Record]) -> list[Any]:
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)
            key = self._start(records) if self._on_start else None
            try:
                values = await stage(records)
            except GeneratorExit:
                raise  # the loop is closed under a call that was abandoned, and whose end was told
            except BaseException as error:
                if key is not None:
                    self._close(key, [error] * len(records))
                raise
            finally:
                self._in_flight -= 1
            if key is not None:
                self._close(key, _as_cancelled(values))
            return values

        return observed

    def end(self, result: BatchResult) -> None:
        """Tell how the batch ended, and before that of the calls that the answer does not wait for.

        May be called from another thread than the event loop's.
        """
        for key in list(self._open):
            self._close(key, None)
        ended = BatchEnded(
            tuple(result.records),
            tuple(result.outcomes),
            {"batchItemFailures": [{**failure} for failure in result.response["batchItemFailures"]]},
            seconds=self._deadline.clock() - self._began,
            seconds_left=self._deadline.remaining(),
            peak_in_flight=self._peak,
            peak_memory_bytes=peak_resident_bytes(),
        )
        for tell in self._on_end:
            self._told(tell, ended)
        if self._faults > 1:
            logger.error("observers failed %d times in this batch; the first is logged above", self._faults)

    def _start(self, given: Sequence[Record]) -> object:
        records = tuple(given)
        endings: list[CallEnded] = []
        for tell in self._on_start:
            try:  # as in _told, which costs as much again
                if (ended := tell(records)) is not None:
                    endings.append(ended)
            except BaseException as error:  # noqa: BLE001
                self._failed(error)
        key = object()
        self._open[key] = (len(records), endings)
        return key

    def _close(self, key: object, values: Sequence[object] | None) -> None:
        if (opened := self._open.pop(key, None)) is None:
            return
        records, endings = opened
        ended = [_ABANDONED] * records if values is None else values
        outcomes = [DONE if value is None else outcome_of(value, self._reject_on) for value in ended]
        for tell in reversed(endings):  # what was begun last ends first
            try:
                tell(outcomes)
            except BaseException as error:  # noqa: BLE001
                self._failed(error)

    def _told(self, tell: Callable[..., Any], *what: object) -> Any:
        """Call what an observer has; None if it raises."""
        try:
            return tell(*what)
        except BaseException as error:  # noqa: BLE001 - whatever it is, no record may end otherwise for it
            self._failed(error)
            return None

    def _failed(self, error: BaseException) -> None:
        """Log what an observer raised, the first time with its traceback."""
        if isinstance(error, KeyboardInterrupt):
            raise error
        self._faults += 1
        if self._faults == 1:
            logger.error("an observer failed; the batch is not disturbed by it", exc_info=error)


def _as_cancelled(values: Sequence[object]) -> Sequence[object]:
    """Return what a call returned; if its task was cancelled, that does not count."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return values
    return [asyncio.CancelledError("the handler's task was cancelled")] * len(values)


def _watch(observer: Observer, records: Sequence[Record], batch: BatchContext[Any]) -> BatchCallbacks | None:
    watch = observer.batch_started(records, batch)
    if not (watch is None or isinstance(watch, BatchCallbacks)):
        raise TypeError(f"batch_started of {observer!r} returned {watch!r}, not BatchCallbacks or None")
    return watch
