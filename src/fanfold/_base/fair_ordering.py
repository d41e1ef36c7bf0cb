"""The fair order of a batch: round robin over tenants, decided before the first record starts.

A record on its last receive starts before all others: the next failure or timeout would send it to the dead-letter
queue. The others start in rounds, each with one unit of every tenant that has one left. Within a tenant, the records
with the highest receive count start first. A record without a tenant is a tenant by itself, so a batch without message
groups keeps the order of ``ordering``. FIFO queues keep theirs, too.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from fanfold._base.callables import is_coroutine_function
from fanfold._base.ordering import Lane, Unit, cut, lanes, most_received_first
from fanfold._base.record import Record, Records, is_fifo

TenantOf: TypeAlias = Callable[[Record], Any]
"""Returns the tenant of a record: a hashable value, or None if it has none."""


class Tenants(NamedTuple):
    """The tenants of the records of a batch."""

    keys: Sequence[Hashable]
    """The tenant of each record by position; None for a record that is a tenant by itself."""
    errors: dict[int, BaseException]
    """Why a record has no valid tenant, by position: it fails without being started."""


def tenants_of(records: Sequence[Record], tenant_of: TenantOf | None = None) -> Tenants:
    """Return the tenants of a batch.

    Args:
        records: The batch.
        tenant_of: The function that the user passed, or that of ``body_field``; None for the message group, which
            identifies the tenant on a standard queue (Amazon SQS fair queues).
    """
    if tenant_of is None:
        raws = records.raws if isinstance(records, Records) else [record.raw for record in records]
        return Tenants([(raw.get("attributes") or {}).get("MessageGroupId") or None for raw in raws], {})
    keys: list[Hashable] = [None] * len(records)
    errors: dict[int, BaseException] = {}
    for position, record in enumerate(records):
        try:
            keys[position] = _checked(tenant_of(record))
        except Exception as error:  # noqa: BLE001 - the function is user code: it fails only this record
            errors[position] = error
    return Tenants(keys, errors)


def body_field(name: str) -> TenantOf:
    """Return a function that reads the tenant from a field of the body; it returns None if there is no such field."""

    def field_of(record: Record) -> Any:
        try:
            body = json.loads(record.body)
        except ValueError:
            return None  # the handler or its decoder decides about this record
        return body.get(name) if isinstance(body, dict) else None

    return field_of


def is_tenant_function(value: object) -> bool:
    """Return whether a value can be called for the tenant of a record without awaiting it."""
    return callable(value) and not isinstance(value, type) and not is_coroutine_function(value)


def fair_lanes(
    records: Sequence[Record], tenants: Tenants, chunk_size: int | None, max_receives: int | None = None
) -> Iterator[Lane]:
    """Yield the lanes of a batch in the order in which they start, without records whose tenant is not valid.

    Args:
        records: The batch.
        tenants: Its tenants.
        chunk_size: Maximum number of records in a unit, all of one tenant; None for a handler that takes one record.
        max_receives: Receives after which the queue moves a message to the dead-letter queue; None if unknown.
    """
    if is_fifo(records):
        return lanes(records, chunk_size)
    keys, positions = tenants.keys, most_received_first(records)
    if tenants.errors:
        positions = [position for position in positions if position not in tenants.errors]
    last = 0
    if max_receives is not None and positions and records[positions[0]].receive_count >= max_receives:
        last = sum(records[position].receive_count >= max_receives for position in positions)
    parts = [positions[:last], positions[last:]] if last else [positions]
    if chunk_size in {None, 1}:
        return (((position,),) for part in parts for position in in_rounds(part, keys))
    return ((unit,) for part in parts for unit in _units_in_rounds(part, keys, chunk_size or 1))


def in_rounds(positions: Sequence[int], keys: Sequence[Hashable]) -> Iterable[int]:
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
