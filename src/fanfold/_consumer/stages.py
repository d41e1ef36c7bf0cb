"""The stages of a handler call: each takes a list of records and returns a value for each, by position.

A stage can end a record early, for example because its body is invalid. It then also ends the records behind it in its
FIFO group, and passes the others to the next stage. ``compose`` defines the stages and their order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from fanfold._base.outcome import BLOCKED_IN_GROUP, NotStarted
from fanfold._base.record import Record, is_fifo

T = TypeVar("T")

CallOne: TypeAlias = Callable[[Record], Awaitable[Any]]
"""Calls the handler for one record, and returns its value or raises its error. Raises DecodeError before the handler
starts if the body cannot be decoded."""

Stage: TypeAlias = Callable[[Sequence[Record]], Awaitable[list[Any]]]
"""Processes the records of one call, which belong to one message group if they come from a FIFO queue. Returns a value
for each by position: an error or an outcome if the record did not succeed. An exception applies to all of them."""


class HandlerCall(NamedTuple):
    """How to call the handler of a batch."""

    call: Callable[[Any], Awaitable[Any]]
    """A ``Stage``, or a ``CallOne``: the fast path for a handler of one body without other stages."""
    takes_list: bool
    """True if ``call`` is a ``Stage``."""
    on_thread: Callable[[Record], Any] | None = None
    """Calls a ``def`` handler for one record, and returns its value; None if only ``call`` can."""

    def as_stage(self) -> Stage:
        """Return ``call`` as a stage."""
        if self.takes_list:
            return self.call
        call_one = self.call

        async def call_with_list(records: Sequence[Record]) -> list[Any]:
            (record,) = records
            return [await call_one(record)]

        return call_with_list


class EarlyResult(NamedTuple):
    """The result of a record that does not reach the next stage."""

    value: Any
    """The record's value; an error if the record could not start."""


def stop_group_at_failure(records: Sequence[Record], inputs: Sequence[T | EarlyResult]) -> Sequence[T | EarlyResult]:
    """Return the inputs of the next stage; on a FIFO queue, all records behind one that could not start end here.

    No other function ends the rest of a FIFO group within a list.

    Args:
        records: The records of one call, of one message group if they come from a FIFO queue.
        inputs: The next stage's input for each record, by position, or the early result of the record.
    """
    if not any(isinstance(item, EarlyResult) for item in inputs) or not is_fifo(records):
        return inputs
    failed = (position for position, item in enumerate(inputs) if _could_not_start(item))
    first = next(failed, len(inputs))
    behind = [item if isinstance(item, EarlyResult) else EarlyResult(BLOCKED_IN_GROUP) for item in inputs[first:]]
    return [*inputs[:first], *behind]


async def run_stage(
    inputs: Sequence[T | EarlyResult], stage: Callable[[list[T]], Awaitable[Sequence[Any]]]
) -> list[Any]:
    """Call a stage with a new list of the inputs that are not early results, and return a value for each position.

    Raises:
        ValueError: If the stage returned a different number of values than it was called with.
        BaseException: Any error that the stage raises.
    """
    values = [item.value if isinstance(item, EarlyResult) else None for item in inputs]
    remaining = {position: item for position, item in enumerate(inputs) if not isinstance(item, EarlyResult)}
    returned = await stage(list(remaining.values())) if remaining else ()
    if len(returned) != len(remaining):  # not the length of the list: a handler may have changed it
        raise ValueError(f"a stage returned {len(returned)} values for {len(remaining)} records")
    for position, value in zip(remaining, returned, strict=True):
        values[position] = value
    return values


def _could_not_start(item: object) -> bool:
    return isinstance(item, EarlyResult) and isinstance(item.value, BaseException | NotStarted)
