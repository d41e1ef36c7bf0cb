"""What the stages of a handler call have in common: lists of records in, a value for each by position out.

A stage that finds that a record goes no further ends it, cuts what is behind it in its FIFO group, and passes the rest
on. ``compose`` names the stages and their order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from fanfold._base.outcome import BLOCKED_IN_GROUP, NotStarted
from fanfold._base.record import Record, is_fifo

T = TypeVar("T")

CallOne: TypeAlias = Callable[[Record], Awaitable[Any]]
"""Calls the handler for one record: its value, or whatever it raises. A body that cannot be decoded raises DecodeError
before the handler starts."""

Stage: TypeAlias = Callable[[Sequence[Record]], Awaitable[list[Any]]]
"""Works on records that are handled by one call, of one message group if they come from a FIFO queue: a value for each
by position, an error or an outcome where it did not succeed. What it raises holds for all of them."""


class HandlerCall(NamedTuple):
    """How the handler of a batch is called."""

    call: Callable[[Any], Awaitable[Any]]
    """A ``Stage``, or a ``CallOne``: the fast path of handlers of one body, with no stage before them."""
    takes_list: bool
    """Whether it is a ``Stage``."""

    def as_stage(self) -> Stage:
        """Return the call as a stage."""
        if self.takes_list:
            return self.call
        call_one = self.call

        async def alone(records: Sequence[Record]) -> list[Any]:
            (record,) = records
            return [await call_one(record)]

        return alone


class EndedEarly(NamedTuple):
    """A record that goes no further than the stage that ended it."""

    value: Any
    """Its value, an error for one that could not start."""


def cut(records: Sequence[Record], items: Sequence[T | EndedEarly]) -> Sequence[T | EndedEarly]:
    """Return what goes on of the records of one call; the only place where a list of a FIFO group is cut.

    Args:
        records: The records, of one message group if they come from a FIFO queue.
        items: By position what the next stage is given, or why the record ended. On a FIFO queue nothing goes on that
            is behind the first one that could not start.
    """
    if not any(isinstance(item, EndedEarly) for item in items) or not is_fifo(records):
        return items
    failed = (position for position, item in enumerate(items) if _could_not_start(item))
    first = next(failed, len(items))
    behind = [item if isinstance(item, EndedEarly) else EndedEarly(BLOCKED_IN_GROUP) for item in items[first:]]
    return [*items[:first], *behind]


async def run_stage(items: Sequence[T | EndedEarly], stage: Callable[[list[T]], Awaitable[Sequence[Any]]]) -> list[Any]:
    """Give a stage what goes on, in a list of its own, and return a value for each position.

    Raises:
        ValueError: If the stage returned another number of values.
        BaseException: Whatever the stage raises.
    """
    values = [item.value if isinstance(item, EndedEarly) else None for item in items]
    going = {position: item for position, item in enumerate(items) if not isinstance(item, EndedEarly)}
    returned = await stage(list(going.values())) if going else ()
    if len(returned) != len(going):  # counted by what was given, whatever a handler has done to its list
        raise ValueError(f"a stage returned {len(returned)} values for {len(going)} records")
    for position, value in zip(going, returned, strict=True):
        values[position] = value
    return values


def _could_not_start(item: object) -> bool:
    return isinstance(item, EndedEarly) and isinstance(item.value, BaseException | NotStarted)
