"""The order in which the records of a batch start, decided before the first one starts.

A *unit* is the input of one call of the handler: one record, or several if the handler takes lists. A *lane* is a
sequence of units that one worker processes; lanes run concurrently.

Standard queue: one lane per unit. Records with the highest receive count start first, so that a backlog that does not
fit into an invocation never sends a record that was never tried to the dead-letter queue. FIFO queue: one lane per
message group, in batch order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias

from fanfold._base.outcome import BLOCKED_IN_GROUP, Outcome, acknowledges
from fanfold._base.record import Record, Records, is_fifo

_NONE: Mapping[str, str] = {}

Unit: TypeAlias = tuple[int, ...]
"""Positions in the batch of the records of one call."""
Lane: TypeAlias = Sequence[Unit]
"""Units that are processed one after another."""


class TenantLanes(Protocol):
    """The lanes of a batch, of which only those may start whose tenant is not at its limit; used by several threads."""

    def popleft(self) -> Lane:
        """Take the next lane that may start now.

        Raises:
            IndexError: If none may.
        """
        ...

    def appendleft(self, lane: Lane, /) -> None:
        """Give back a lane, or the rest of one."""
        ...

    def __bool__(self) -> bool:
        """Return whether a lane may start now."""
        ...

    def ended(self, unit: Unit) -> None:
        """Note that the handler of a unit has ended: another one of its tenant may start."""
        ...


class Order(NamedTuple):
    """The order in which the records of a batch start."""

    lanes: Iterator[Lane]
    """The lanes; each worker takes the next one."""
    tenants: TenantLanes | None = None
    """In place of ``lanes``, if the records of each tenant are limited."""
    errors: Mapping[int, BaseException] = MappingProxyType({})
    """Errors by position, of records that are in no lane and have failed."""


def lanes(records: Sequence[Record], chunk_size: int | None) -> Iterator[Lane]:
    """Yield the lanes of a batch in the order in which they start.

    Args:
        records: The batch.
        chunk_size: Maximum number of records in a unit; None for a handler that takes one record.
    """
    size = chunk_size or 1
    if not is_fifo(records):
        positions = most_received_first(records)
        if size == 1:
            return (((position,),) for position in positions)
        return ((unit,) for unit in cut(positions, size))
    groups: dict[str, list[int]] = {}
    for position, record in enumerate(records):
        groups.setdefault(group_of(record), []).append(position)
    return (list(cut(positions, size)) for positions in groups.values())


def in_order(records: Sequence[Record], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes of a FIFO batch, with no record acknowledged after an unacknowledged one of its group.

    In each message group, the acknowledged records are a prefix.
    """
    blocked_groups: set[str] = set()
    ordered = list(outcomes)
    for position, record in enumerate(records):
        group = group_of(record)
        if group in blocked_groups and acknowledges(ordered[position]):
            ordered[position] = BLOCKED_IN_GROUP
        elif not acknowledges(ordered[position]):
            blocked_groups.add(group)
    return ordered


def group_of(record: Record) -> str:
    """Return the message group of a record; empty without one."""
    return record.attributes.get("MessageGroupId", "")


def most_received_first(records: Sequence[Record]) -> Sequence[int]:
    """Return the positions of a batch, highest receive count first, and otherwise in batch order."""
    raws = records.raws if isinstance(records, Records) else [record.raw for record in records]
    if len({(raw.get("attributes") or _NONE).get("ApproximateReceiveCount") for raw in raws}) <= 1:
        return range(len(records))  # the usual case, without parsing the counts
    counts = [record.receive_count for record in records]
    return sorted(range(len(records)), key=lambda position: -counts[position])


def cut(positions: Sequence[int], size: int) -> Iterator[Unit]:
    """Yield positions in units of a size; the last one may be smaller."""
    for first in range(0, len(positions), size):
        yield tuple(positions[first : first + size])
