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

    def push(self, tenant: str, entry: Entry) -> None:
        """Add the current entry of a message."""
        heapq.heappush(self._waiting.setdefault(tenant, []), entry)

    def pop(self, most: int, now: float, noisy: Mapping[str, int]) -> list[int]:
        """Return the numbers of the next messages: those of quiet tenants first, by the time they became visible.

        If only noisy tenants have visible messages, the next one is of the tenant with the fewest messages in flight.

        Args:
            most: Maximum number of messages.
            now: The time.
            noisy: The noisy tenants with their messages in flight.
        """
        heads = [(head, tenant) for tenant in list(self._waiting) if (head := self._head(tenant, now)) is not None]
        quiet = [(head, tenant) for head, tenant in heads if tenant not in noisy]
        numbers: list[int] = []
        heapq.heapify(quiet)
        while quiet and len(numbers) < most:
            _, tenant = heapq.heappop(quiet)
            numbers.append(self._take(tenant))
            if (head := self._head(tenant, now)) is not None:
                heapq.heappush(quiet, (head, tenant))
        rest = [(noisy[tenant], head, tenant) for head, tenant in heads if tenant in noisy]
        heapq.heapify(rest)
        while rest and len(numbers) < most:
            in_flight, _, tenant = heapq.heappop(rest)
            numbers.append(self._take(tenant))
            if (head := self._head(tenant, now)) is not None:
                heapq.heappush(rest, (in_flight + 1, head, tenant))
        return numbers

    def _take(self, tenant: str) -> int:
        waiting = self._waiting[tenant]
        entry = heapq.heappop(waiting)
        while waiting and waiting[0] == entry:  # its visibility was set to the same time again
            heapq.heappop(waiting)
        return entry[1]

    def _head(self, tenant: str, now: float) -> Entry | None:
        """Return the first entry of a tenant that is visible; forget entries that are not current."""
        waiting = self._waiting[tenant]
        while waiting and not self._is_current(waiting[0]):
            heapq.heappop(waiting)
        if not waiting:
            del self._waiting[tenant]
            return None
        return waiting[0] if waiting[0][0] <= now else None
