"""Fair queues: which tenants of a standard queue are noisy neighbors.

The rules are from the SQS developer guide, "How Amazon SQS fair queues work", as of November 2026. A tenant is a
message group of a standard queue; a message without a group is a separate tenant, and never noisy. AWS calls the
thresholds approximate, and does not publish for how long processing time is recent: here it is ``RECENT_SECONDS``.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fanfold._base.aws_limits import SQS_NOISY_IN_FLIGHT, SQS_NOISY_SHARE, SQS_QUIET_AFTER_SECONDS

RECENT_SECONDS: Final = SQS_QUIET_AFTER_SECONDS
"""Seconds for which processing time counts after its end; assumed, because AWS does not publish it."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one tenant on a queue, or of all tenants together."""

    in_flight: int
    """Messages that are received and not deleted, and whose visibility timeout has not ended."""
    processing_seconds: float
    """Recent seconds between the receives of messages and their deletion or the end of their visibility timeout."""
    quiet_seconds: float = 0.0
    """Seconds since the tenant has sent its last message."""


def is_noisy(tenant: Load, queue: Load) -> bool:
    """Return whether a tenant with waiting messages is a noisy neighbor.

    It is noisy with more than 10 % of the queue's messages in flight and at least 30 of them, or with more than 10 % of
    the queue's recent processing time. A tenant that has sent nothing for five minutes is not noisy.
    """
    if tenant.quiet_seconds >= SQS_QUIET_AFTER_SECONDS:
        return False
    has_many = tenant.in_flight >= SQS_NOISY_IN_FLIGHT and tenant.in_flight > SQS_NOISY_SHARE * queue.in_flight
    return has_many or tenant.processing_seconds > SQS_NOISY_SHARE * queue.processing_seconds


class TenantLoads:
    """The loads of the tenants of a queue. The time of each call depends on what has changed since the last one."""

    def __init__(self) -> None:
        self.in_flight: Counter[str] = Counter()
        """Messages in flight by tenant, as of the last call."""
        self._flights: dict[int, tuple[str, float, float]] = {}
        self._ends: list[tuple[float, int]] = []
        self._received_at: Counter[str] = Counter()
        self._recent: deque[tuple[float, str, float]] = deque()
        self._processed: Counter[str] = Counter()
        self._sent_at: dict[str, float] = {}

    def sent(self, tenant: str, now: float) -> None:
        """Note that a tenant has sent a message."""
        self._sent_at[tenant] = now

    def received(self, number: int, tenant: str, now: float, until: float) -> None:
        """Note that a message was received, and until when it is in flight."""
        self.ended(number, now)
        self._flights[number] = tenant, now, until
        heapq.heappush(self._ends, (until, number))
        self.in_flight[tenant] += 1
        self._received_at[tenant] += now  # type: ignore[assignment] # a sum of times

    def changed(self, number: int, until: float) -> None:
        """Note a changed visibility timeout of a message in flight; ignore other messages."""
        if number in self._flights:
            tenant, received_at, _ = self._flights[number]
            self._flights[number] = tenant, received_at, until
            heapq.heappush(self._ends, (until, number))

    def ended(self, number: int, now: float) -> None:
        """Note that a message is not in flight anymore; ignore messages that are not in flight."""
        if number not in self._flights:
            return
        tenant, received_at, until = self._flights.pop(number)
        self.in_flight[tenant] -= 1
        self._received_at[tenant] -= received_at  # type: ignore[assignment] # a sum of times
        seconds = min(now, until) - received_at
        self._recent.append((min(now, until), tenant, seconds))
        self._processed[tenant] += seconds  # type: ignore[assignment] # a sum of seconds
        if not self.in_flight[tenant]:
            del self.in_flight[tenant], self._received_at[tenant]

    def noisy(self, now: float) -> Mapping[str, int]:
        """Return the noisy tenants with their messages in flight; tenants without messages in the queue included."""
        self._expire(now)
        in_flight = sum(self.in_flight.values())
        seconds = sum(self._processed.values()) + in_flight * now - sum(self._received_at.values())
        queue = Load(in_flight, seconds)
        names = self.in_flight.keys() | {
            name for name, processed in self._processed.items() if processed > SQS_NOISY_SHARE * seconds
        }
        loads = {name: self._load(name, now) for name in names if name}
        return {name: load.in_flight for name, load in loads.items() if is_noisy(load, queue)}

    def _load(self, tenant: str, now: float) -> Load:
        in_flight = self.in_flight[tenant]
        running = in_flight * now - self._received_at[tenant]
        return Load(in_flight, self._processed[tenant] + running, now - self._sent_at.get(tenant, now))

    def _expire(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            until, number = heapq.heappop(self._ends)
            if number in self._flights and self._flights[number][2] == until:
                self.ended(number, until)
        while self._recent and self._recent[0][0] <= now - RECENT_SECONDS:
            _, tenant, seconds = self._recent.popleft()
            self._processed[tenant] -= seconds  # type: ignore[assignment] # a sum of seconds
            if self._processed[tenant] <= 0:
                del self._processed[tenant]
