"""Observers: plain objects that are told what a consumer does with its batches.

::

    from fanfold.observers import BatchCallbacks

    class SlowBatches:
        def batch_started(self, records, batch):
            return BatchCallbacks(batch_ended=self.look)

        def look(self, ended):
            if ended.seconds > 60:
                print(f"{len(ended.records)} records took {ended.seconds:.0f} s")

    @fanfold.consumer(observers=[SlowBatches()])
    async def handler(order: dict) -> None: ...

They are given values that are not to be changed, and they change nothing: what an observer raises is logged and
ignored. It is told between the records, on the event loop and before the answer, so it must not wait. Ready ones:
``fanfold.logs``, ``fanfold.powertools`` and ``fanfold.otel``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from fanfold._base.context import BatchContext
from fanfold._base.frozen import Value, put
from fanfold._base.outcome import BatchResponse, BatchResult, Outcome
from fanfold._base.record import Record

__all__ = ["BatchCallbacks", "BatchEnded", "CallEnded", "CallStarted", "Observer"]


CallEnded: TypeAlias = Callable[[Sequence[Outcome]], object]
"""Told how one call of the handler ended: an outcome for each of its records, before any commit; ``Failed`` with
``AbandonedError`` if the answer could not wait for it. Told once, in the context variables of the call if it ended, or
on the thread that answers if it was abandoned."""

CallStarted: TypeAlias = Callable[[Sequence[Record]], CallEnded | None]
"""Told the records of one call of the handler, before it: one record, or several of a handler of lists. The context
variables it sets are those of the handler. Returns what is told of the call's end, or None."""


class BatchEnded(BatchResult):
    """How a batch ended, and what it took."""

    __slots__ = ("seconds", "seconds_left", "peak_in_flight", "peak_memory_bytes")  # noqa: RUF023 - in order of __init__

    seconds: float
    """Seconds from its start to now, when the answer is given."""
    seconds_left: float
    """Seconds from now to when Lambda would have ended the invocation; infinity without a deadline."""
    peak_in_flight: int
    """Most calls of the handler that ran at once."""
    peak_memory_bytes: int | None
    """Most memory this process has had resident since it started, other batches included; None where that is not told.
    """

    def __init__(
        self,
        records: Sequence[Record],
        outcomes: Sequence[Outcome],
        response: BatchResponse,
        seconds: float,
        seconds_left: float,
        peak_in_flight: int,
        peak_memory_bytes: int | None,
    ) -> None:
        super().__init__(records, outcomes, response)
        put(self, "seconds", seconds)
        put(self, "seconds_left", seconds_left)
        put(self, "peak_in_flight", peak_in_flight)
        put(self, "peak_memory_bytes", peak_memory_bytes)


class BatchCallbacks(Value):
    """What an observer wants to be told of one batch."""

    __slots__ = ("call_started", "batch_ended")  # noqa: RUF023 - in the order of __init__

    call_started: CallStarted | None
    """Told of each call of the handler; None if nothing is wanted of them, which costs less."""
    batch_ended: Callable[[BatchEnded], object] | None
    """Told how the batch ended, right before the answer; None if nothing is wanted of it."""

    def __init__(
        self,
        call_started: CallStarted | None = None,
        batch_ended: Callable[[BatchEnded], object] | None = None,
    ) -> None:
        put(self, "call_started", call_started)
        put(self, "batch_ended", batch_ended)


@runtime_checkable
class Observer(Protocol):
    """Is told of each batch of a consumer."""

    def batch_started(self, records: Sequence[Record], batch: BatchContext[Any]) -> BatchCallbacks | None:
        """Take note that a batch starts, and return what is wanted of it; None for nothing."""
        ...
