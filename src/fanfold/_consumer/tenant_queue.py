"""The lanes of a batch if each tenant has a limit: the next one is the first whose tenant may start another record."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Iterator

from fanfold._base.fair_ordering import FairOrder
from fanfold._base.ordering import Lane, Unit


class TenantQueue:
    """Lanes that workers take, at most ``limit`` of a tenant at the same time. Any thread may call its methods.

    A lane whose tenant is at its limit is held. If a record of that tenant ends, its place goes to the first lane held,
    which is the next to start: the worker whose record has ended takes it. So a worker that finds nothing to start can
    end, and each operation takes constant time.

    Args:
        order: The lanes in their order, of one unit each, and the tenants of the records. No limit applies to a record
            without a tenant.
        limit: Maximum number of units of one tenant in flight, at least 1.
    """

    def __init__(self, order: FairOrder, limit: int) -> None:
        self._order: deque[Lane] = deque(order.lanes)
        self._tenants = order.tenants
        self._lock = threading.Lock()
        self._ready: deque[Lane] = deque()
        """Lanes whose tenant has a place for them."""
        self._held: dict[Hashable, deque[Lane]] = {}
        """Lanes by their tenant, which is at its limit; each deque has at least one."""
        self._places: dict[Hashable, int] = dict.fromkeys(order.tenants, limit)
        """Free places by tenant. Units in flight and ready lanes take one each."""

    def __bool__(self) -> bool:
        """Return whether a lane may start now."""
        with self._lock:
            if not self._ready and (lane := self._next_of_order()) is not None:
                self._ready.append(lane)
            return bool(self._ready)

    @property
    def has_lanes(self) -> bool:
        """True if lanes are left, including those that may not start now."""
        return bool(self._order or self._ready or self._held)

    def __iter__(self) -> Iterator[Lane]:
        """Return this queue; it ends when no lane may start, and may go on after an end of a record."""
        return self

    def __next__(self) -> Lane:
        """Return the next lane that may start; see ``popleft``.

        Raises:
            StopIteration: If none may.
        """
        try:
            return self.popleft()
        except IndexError:
            raise StopIteration from None

    def popleft(self) -> Lane:
        """Return the next lane that may start, which takes a place of its tenant until ``ended`` or ``appendleft``.

        Raises:
            IndexError: If no lane may start now.
        """
        with self._lock:
            lane = self._ready.popleft() if self._ready else self._next_of_order()
        if lane is None:
            raise IndexError("no lane may start now")
        return lane

    def appendleft(self, lane: Lane) -> None:
        """Return a lane that did not start. It keeps its place, and is the next to start."""
        with self._lock:
            self._ready.appendleft(lane)

    def ended(self, unit: Unit) -> None:
        """Note that the records of a unit have ended: its place goes to a lane of its tenant, if one is held."""
        tenant = self._tenants[unit[0]]
        if tenant is None:
            return
        with self._lock:
            if tenant not in self._held:
                self._places[tenant] += 1
                return
            held = self._held[tenant]
            self._ready.append(held.popleft())
            if not held:
                del self._held[tenant]

    def _next_of_order(self) -> Lane | None:
        """Take the first lane whose tenant has a free place, and the place, and hold the lanes before it."""
        order, tenants, places = self._order, self._tenants, self._places
        while order:
            lane = order.popleft()
            tenant = tenants[lane[0][0]]
            if tenant is None:
                return lane
            if free := places[tenant]:
                places[tenant] = free - 1
                return lane
            if tenant in self._held:
                self._held[tenant].append(lane)
            else:
                self._held[tenant] = deque((lane,))
        return None
