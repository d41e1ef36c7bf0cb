"""The order in which a fair queue delivers its messages; the rules are those of ``inmemory.fairness``."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import TypeAlias

from fanfold.inmemory.fairness import TenantLoads

Entry: TypeAlias = tuple[float, int]
"""The time from which a message is visible, and its number."""


class FairOrder:
    """The waiting messages of a fair queue by tenant.

    Args:
        is_current: Returns whether an entry is still the current one of its message.
    """

    def __init__(self, is_current: Callable[[Entry], bool]) -> None:
        self.loads = TenantLoads()
        """The loads of the tenants."""
        self._is_current = is_current
        self._waiting: dict[str, list[Entry]] = {}
        self._heads: list[tuple[Entry, str]] = []
        self._head_of: dict[str, Entry] = {}

    def push(self, tenant: str, entry: Entry) -> None:
        """Add the current entry of a message."""
        waiting = self._waiting.setdefault(tenant, [])
        heapq.heappush(waiting, entry)
        if waiting[0] == entry:
            self._register(tenant, entry)

    def pop(self, most: int, now: float, noisy: Mapping[str, int]) -> list[int]:
        """Return the numbers of the next messages: those of quiet tenants first, by the time they became visible.

        If only noisy tenants have visible messages, the next one is of the tenant with the fewest messages in flight.

        Args:
            most: Maximum number of messages.
            now: The time.
            noisy: The noisy tenants with their messages in flight.
        """
        numbers: list[int] = []
        rest: list[tuple[int, Entry, str]] = []
        while len(numbers) < most and (head := self._pop_head(now)) is not None:
            entry, tenant = head
            if tenant in noisy:
                rest.append((noisy[tenant], entry, tenant))
            else:
                numbers.append(self._take(tenant))
        skipped = [tenant for _, _, tenant in rest]
        heapq.heapify(rest)
        while rest and len(numbers) < most:
            in_flight, _, tenant = heapq.heappop(rest)
            numbers.append(self._pop_first(tenant))
            if (next_entry := self._current(tenant)) is not None and next_entry[0] <= now:
                heapq.heappush(rest, (in_flight + 1, next_entry, tenant))
        for tenant in skipped:
            self._register(tenant, self._current(tenant))
        return numbers

    def _pop_head(self, now: float) -> tuple[Entry, str] | None:
        """Return the first visible entry of all tenants that are registered; unregister its tenant."""
        while self._heads and self._heads[0][0][0] <= now:
            entry, tenant = heapq.heappop(self._heads)
            if self._head_of.get(tenant) != entry:
                continue  # an earlier entry of the tenant was registered later
            del self._head_of[tenant]
            if (current := self._current(tenant)) == entry:
                return entry, tenant
            self._register(tenant, current)
        return None

    def _take(self, tenant: str) -> int:
        """Remove and return the first message of a tenant, and register the next one."""
        number = self._pop_first(tenant)
        self._register(tenant, self._current(tenant))
        return number

    def _pop_first(self, tenant: str) -> int:
        waiting = self._waiting[tenant]
        entry = heapq.heappop(waiting)
        while waiting and waiting[0] == entry:  # its visibility was set to the same time again
            heapq.heappop(waiting)
        return entry[1]

    def _register(self, tenant: str, entry: Entry | None) -> None:
        if entry is not None and self._head_of.get(tenant) != entry:
            self._head_of[tenant] = entry
            heapq.heappush(self._heads, (entry, tenant))

    def _current(self, tenant: str) -> Entry | None:
        """Return the first entry of a tenant; forget entries that are not current."""
        waiting = self._waiting.get(tenant, [])
        while waiting and not self._is_current(waiting[0]):
            heapq.heappop(waiting)
        if not waiting:
            self._waiting.pop(tenant, None)
            return None
        return waiting[0]
