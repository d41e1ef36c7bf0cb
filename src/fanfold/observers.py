"""Observers: objects that a consumer notifies of its batches.

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

Observers receive immutable values and cannot change an outcome: an error in an observer is logged and ignored. A
consumer calls observers on the event loop, between records and before the batch response, so they must not block.
Ready-made observers are in ``fanfold.logs``, ``fanfold.powertools``, and ``fanfold.otel``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from fanfold._base.context import BatchContext
from fanfold._base.frozen import Value, put
from fanfold._base.outcome import BatchResponse, BatchResult, Outcome
from fanfold._base.record import Record

__all__ = ["BatchCallbacks", "BatchEnded", "BreakerActivity", "CallEnded", "CallStarted", "Observer"]


CallEnded: TypeAlias = Callable[[Sequence[Outcome]], object]
"""Called once when a call of the handler has ended, with an outcome for each of its records, before any commit. If the
handler was abandoned, the outcome is ``Failed`` with ``AbandonedError``. Runs in the context variables of the call, or,
if the handler was abandoned, on the thread that returns the batch response."""

CallStarted: TypeAlias = Callable[[Sequence[Record]], CallEnded | None]
"""Called before each call of the handler, with its records: one, or several for a handler of lists. Context variables
that it sets are visible to the handler. Returns a callback for the end of the call, or None."""


class BreakerActivity(Value):
    """The activity of a breaker during one batch."""

    __slots__ = ("name", "is_open", "opened", "half_opened", "closed", "calls_saved", "held", "released")  # noqa: RUF023 - in the order of __init__

    name: str
    """Name of the breaker."""
    is_open: bool
    """True if it is open, or half-open, at the end of the batch."""
    opened: int
    """How often it was opened here: 0 or 1, rarely more."""
    half_opened: int
    """How often this execution environment began a probe."""
    closed: int
    """How often it was closed here."""
    calls_saved: int
    """Records, or calls in ``with`` blocks, that did not start."""
    held: int
    """Messages whose redelivery was delayed until the service is back."""
    released: int
    """Messages that were made visible again."""

    def __init__(
        self,
        name: str,
        is_open: bool,
        opened: int = 0,
        half_opened: int = 0,
        closed: int = 0,
        calls_saved: int = 0,
        held: int = 0,
        released: int = 0,
    ) -> None:
        put(self, "name", name)
        put(self, "is_open", is_open)
        put(self, "opened", opened)
        put(self, "half_opened", half_opened)
        put(self, "closed", closed)
        put(self, "calls_saved", calls_saved)
        put(self, "held", held)
        put(self, "released", released)


class BatchEnded(BatchResult):
    """The result of a batch, with its duration, concurrency, and memory."""

    __slots__ = (  # noqa: RUF023 - in order of __init__
        "seconds",
        "seconds_left",
        "peak_in_flight",
        "peak_memory_bytes",
        "concurrency_limit",
        "breakers",
    )

    seconds: float
    """Seconds from the start of the batch to now, just before the batch response."""
    seconds_left: float
    """Seconds from now to the Lambda timeout; infinity without a deadline."""
    peak_in_flight: int
    """Maximum number of calls of the handler that ran concurrently."""
    peak_memory_bytes: int | None
    """Peak resident memory of this process since it started, other batches included, and of its worker processes; None
    where it is unknown."""
    concurrency_limit: int | None
    """The concurrency limit at the end of the batch, if it adjusts itself; None for a fixed one."""
    breakers: Sequence[BreakerActivity]
    """The activity of each breaker that did something, or is open; empty without any."""

    def __init__(  # noqa: PLR0913, PLR0917 - the fields of a value
        self,
        records: Sequence[Record],
        outcomes: Sequence[Outcome],
        response: BatchResponse,
        seconds: float,
        seconds_left: float,
        peak_in_flight: int,
        peak_memory_bytes: int | None,
        concurrency_limit: int | None = None,
        breakers: Sequence[BreakerActivity] = (),
    ) -> None:
        super().__init__(records, outcomes, response)
        put(self, "seconds", seconds)
        put(self, "seconds_left", seconds_left)
        put(self, "peak_in_flight", peak_in_flight)
        put(self, "peak_memory_bytes", peak_memory_bytes)
        put(self, "concurrency_limit", concurrency_limit)
        put(self, "breakers", breakers)


class BatchCallbacks(Value):
    """The callbacks of an observer for one batch."""

    __slots__ = ("call_started", "batch_ended")  # noqa: RUF023 - in the order of __init__

    call_started: CallStarted | None
    """Called before each call of the handler; None for no callback, which costs less."""
    batch_ended: Callable[[BatchEnded], object] | None
    """Called when the batch has ended, just before the batch response; None for no callback."""

    def __init__(
        self,
        call_started: CallStarted | None = None,
        batch_ended: Callable[[BatchEnded], object] | None = None,
    ) -> None:
        put(self, "call_started", call_started)
        put(self, "batch_ended", batch_ended)


@runtime_checkable
class Observer(Protocol):
    """An object that a consumer notifies of each batch."""

    def batch_started(self, records: Sequence[Record], batch: BatchContext[Any]) -> BatchCallbacks | None:
        """Handle the start of a batch, and return the callbacks for it; None for none."""
        ...
