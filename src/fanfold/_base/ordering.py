"""In which order the records of a batch start, decided before any does.

A *lane* is what one worker does one after another; lanes run at once. A *unit* is what one call of the handler gets:
one record, or several when the handler takes lists.

Standard queue: a lane for each unit, those delivered most often first, so that a backlog that does not fit into an
invocation never makes a dead letter of what was never tried. FIFO queue: a lane for each message group, in batch order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from fanfold._base.outcome import BLOCKED_IN_GROUP, Outcome, acknowledges
from fanfold._base.record import Record, is_fifo

_NONE: Mapping[str, str] = {}

Unit: TypeAlias = tuple[int, ...]
"""Positions in the batch that are handled by one call."""
Lane: TypeAlias = Sequence[Unit]
"""Units that are handled one after another."""


def lanes(records: Sequence[Record], chunk_size: int | None) -> Iterator[Lane]:
    """Yield the lanes of a batch in the order in which they start.

    Args:
        records: The batch.
        chunk_size: Most records in a unit; None for one, given alone.
    """
    size = chunk_size or 1
    if not is_fifo(records):
        positions = _most_received_first(records)
        if size == 1:
            return (((position,),) for position in positions)
        return ((unit,) for unit in _cut(positions, size))
    groups: dict[str, list[int]] = {}
    for position, record in enumerate(records):
        groups.setdefault(group_of(record), []).append(position)
    return (list(_cut(positions, size)) for positions in groups.values())


def in_order(records: Sequence[Record], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes of a FIFO batch with nothing acknowledged behind what is not.

    Whatever ended how: in each message group, what may be deleted is a prefix.
    """
    stopped: set[str] = set()
    kept = list(outcomes)
    for position, record in enumerate(records):
        group = group_of(record)
        if group in stopped and acknowledges(kept[position]):
            kept[position] = BLOCKED_IN_GROUP
        elif not acknowledges(kept[position]):
            stopped.add(group)
    return kept


def group_of(record: Record) -> str:
    """Return the message group of a record; empty without one."""
    return record.attributes.get("MessageGroupId", "")


def _most_received_first(records: Sequence[Record]) -> Sequence[int]:
    if len({(record.raw.get("attributes") or _NONE).get("ApproximateReceiveCount") for record in records}) <= 1:
        return range(len(records))  # as nearly always: one look, no counting
    counts = [record.receive_count for record in records]
    return sorted(range(len(records)), key=lambda position: -counts[position])


def _cut(positions: Sequence[int], size: int) -> Iterator[Unit]:
    for first in range(0, len(positions), size):
        yield tuple(positions[first : first + size])
