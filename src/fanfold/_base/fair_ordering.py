"""The fair order of a batch: round robin over tenants, decided before the first record starts.

A record on its last receive starts before all others: the next failure or timeout would send it to the dead-letter
queue. The others start in rounds, each with one unit of every tenant that has one left. Within a tenant, the records
with the highest receive count start first. A record without a tenant is a tenant by itself, so a batch without message
groups keeps the order of ``ordering``. FIFO queues keep theirs, too.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fanfold._base.ordering import Lane, Unit, cut, lanes, most_received_first
from fanfold._base.record import Record, Records, TenantOf, is_fifo


class FairOrder(NamedTuple):
    """The order in which the records of a batch start, and their tenants."""

    lanes: Iterator[Lane]
    """The lanes in their order, without records whose tenant is not valid."""
    tenants: Sequence[Hashable]
    """The tenant of each record by position; None for a record that is a tenant by itself."""
    errors: Mapping[int, BaseException]
    """Why a record has no valid tenant, by position: it fails without being started."""


def fair_order(
    records: Sequence[Record],
    chunk_size: int | None,
    tenant_of: TenantOf | None = None,
    max_receives: int | None = None,
) -> FairOrder:
    """Return the order of a batch.

    Args:
        records: The batch.
        chunk_size: Maximum number of records in a unit, all of one tenant; None for a handler that takes one record.
        tenant_of: The function that the user passed, or that of ``body_field``; None for the message group, which
            identifies the tenant on a standard queue (Amazon SQS fair queues).
        max_receives: Receives after which the queue moves a message to the dead-letter queue; None if unknown.
    """
    if is_fifo(records):
        return FairOrder(lanes(records, chunk_size), [None] * len(records), {})
    tenants, errors = _tenants(records, tenant_of)
    positions = most_received_first(records)
    if errors:
        positions = [position for position in positions if position not in errors]
    parts = [part for part in _by_last_receive(records, positions, max_receives) if part]
    if chunk_size in {None, 1}:
        ordered: Iterator[Lane] = (((position,),) for part in parts for position in _in_rounds(part, tenants))
    else:
        ordered = ((unit,) for part in parts for unit in _units_in_rounds(part, tenants, chunk_size or 1))
    return FairOrder(ordered, tenants, errors)


def body_field(name: str) -> TenantOf:
    """Return a function that reads the tenant from a field of the body; it returns None if there is no such field."""

    def field_of(record: Record) -> Any:
        try:
            body = json.loads(record.body)
        except ValueError:
            return None  # the handler or its decoder decides about this record
        return body.get(name) if isinstance(body, dict) else None

    return field_of


def _tenants(records: Sequence[Record], tenant_of: TenantOf | None) -> tuple[list[Hashable], dict[int, BaseException]]:
    if tenant_of is None:
        raws = records.raws if isinstance(records, Records) else [record.raw for record in records]
        return [(raw.get("attributes") or {}).get("MessageGroupId") or None for raw in raws], {}
    tenants: list[Hashable] = [None] * len(records)
    errors: dict[int, BaseException] = {}
    for position, record in enumerate(records):
        try:
            tenants[position] = _checked(tenant_of(record))
        except Exception as error:  # noqa: BLE001 - the function is user code: it fails only this record
            errors[position] = error
    return tenants, errors


def _by_last_receive(
    records: Sequence[Record], positions: Sequence[int], max_receives: int | None
) -> tuple[Sequence[int], Sequence[int]]:
    """Return the positions of the records on their last receive, and the others."""
    last = 0
    if max_receives is not None and positions and records[positions[0]].receive_count >= max_receives:
        last = sum(records[position].receive_count >= max_receives for position in positions)
    return positions[:last], positions[last:]


def _in_rounds(positions: Sequence[int], keys: Sequence[Hashable]) -> Iterable[int]:
    """Return positions in rounds: in each, the next position of every tenant that has one left."""
    if len(set(keys)) <= 1:
        return positions  # one tenant, or none
    rounds: list[list[int]] = [[]]
    started: dict[Hashable, int] = {}
    for position in positions:
        if (key := keys[position]) is None:
            rounds[0].append(position)
            continue
        number = started.get(key, 0)
        started[key] = number + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(position)
    return [position for positions_of_round in rounds for position in positions_of_round]


def _units_in_rounds(positions: Sequence[int], keys: Sequence[Hashable], size: int) -> Iterator[Unit]:
    """Yield units of one tenant each, in rounds. Records without a tenant share units: nothing limits them together."""
    groups: dict[Hashable, list[int]] = {}
    for position in positions:
        groups.setdefault(keys[position], []).append(position)
    rounds: dict[int, list[Unit]] = {}
    for key, group in groups.items():
        for number, unit in enumerate(cut(group, size)):
            rounds.setdefault(0 if key is None else number, []).append(unit)
    for number in sorted(rounds):
        yield from rounds[number]


def _checked(key: Any) -> Hashable:
    """Return a tenant that is valid.

    Raises:
        TypeError: If it is not hashable, or has to be awaited.
    """
    if inspect.isawaitable(key):
        if inspect.iscoroutine(key):
            key.close()  # prevents Python's warning "was never awaited"
        raise TypeError("tenant must return a value, not an awaitable: it cannot be an async def")
    try:
        hash(key)
    except TypeError:
        raise TypeError(f"tenant must return a hashable value, such as a string, not {type(key).__name__}") from None
    valid: Hashable = key
    return valid
