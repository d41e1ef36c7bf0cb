"""Changes during a simulation: planned actions, the state of the mapping, and its scaling."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

from fanfold._base.sample_events import ManualClock
from fanfold._replay.mapping import Switch, is_enabled, polls_from
from fanfold._replay.scaling import Growth, Scaling


class Schedule:
    """Planned actions, and the requests to disable and enable a mapping."""

    def __init__(self, clock: ManualClock, switch_seconds: float) -> None:
        self._clock = clock
        self._switch_seconds = switch_seconds
        self._switches: list[Switch] = []
        self._actions: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def add(self, seconds: float, action: Callable[[], object]) -> None:
        """Plan an action."""
        heapq.heappush(self._actions, (seconds, next(self._numbers), action))

    def run_actions(self) -> None:
        """Run the actions that are due, and those that they plan for now, in the order of their times."""
        while self._actions and self._actions[0][0] <= self._clock.now:
            heapq.heappop(self._actions)[2]()

    def next_action_at(self) -> float:
        """Return the time of the next action; infinity for none."""
        return self._actions[0][0] if self._actions else math.inf

    def switch(self, *, enabled: bool) -> None:
        """Request now that the mapping is enabled or disabled."""
        self._switches.append(Switch(self._clock.now, enabled, self._switch_seconds))

    def is_enabled(self) -> bool:
        """Return whether the mapping polls now."""
        return is_enabled(self._switches, self._clock.now)

    def polls_from(self, time: float) -> float:
        """Return the first time, from ``time`` on, at which the mapping polls; infinity for never."""
        return polls_from(self._switches, time)


class GrowthState:
    """How far a number of concurrent batches has grown."""

    def __init__(self, clock: ManualClock, growth: Growth) -> None:
        self._clock = clock
        self._growth = growth
        self._busy_since: float | None = None

    def note_messages(self) -> None:
        """Note that messages are available: from the first time on, the number grows."""
        self._busy_since = self._clock.now if self._busy_since is None else self._busy_since

    def note_idleness(self) -> None:
        """Scale back: the next messages find the initial number."""
        self._busy_since = None

    def slot_at(self, used: int) -> float:
        """Return the first time, from now on, at which there is a slot in addition to those that are used."""
        if used < self._growth.concurrency(self.busy_seconds()):
            return self._clock.now
        return (self._busy_since or 0.0) + self._growth.seconds_until(used + 1)

    def busy_seconds(self) -> float:
        """Return the seconds since messages became available."""
        return 0.0 if self._busy_since is None else self._clock.now - self._busy_since


class PollerState(GrowthState):
    """How far a mapping has scaled, and when its pollers can read again."""

    def __init__(self, clock: ManualClock, scaling: Scaling) -> None:
        super().__init__(clock, scaling)
        self._scaling = scaling
        self.readable_at = 0.0
        """The time at which the pollers have read the last batch."""

    def note_read(self, records: int, size_bytes: int) -> None:
        """Note that the pollers start to read a batch."""
        seconds = self._scaling.seconds_to_read(records, size_bytes, self.busy_seconds())
        self.readable_at = max(self.readable_at, self._clock.now) + seconds
