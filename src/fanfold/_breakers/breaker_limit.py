"""Breakers as a policy of admission: nothing starts while one is open, and few records start at first, and after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Protocol

from fanfold._base.outcome import Failed
from fanfold._breakers.breaker_state import POLL_SECONDS, BreakerState
from fanfold._breakers.counted import counted_by

_SLOWLY: Final = "after an outage, records start slowly"


class InnerLimit(Protocol):
    """A limit that applies in addition; see ``AdaptiveLimit``."""

    workers: int

    @property
    def reason(self) -> str: ...
    @property
    def delays_messages(self) -> bool: ...
    def batch_starts(self) -> None: ...
    def wait(self, now: float, running: int) -> float: ...
    def started(self, now: float, running: int) -> float: ...
    def ended(self, started_at: float, now: float, value: object, running: int) -> bool: ...
    def delay_after(self, error: BaseException) -> float | None: ...


class BreakerLimit:
    """The breakers of a consumer in one execution environment, as a limit that adjusts itself.

    Args:
        states: The breakers.
        inner: A limit that adjusts itself besides; None for a fixed one.
        workers: The fixed limit.
    """

    held: int = 0

    def __init__(self, states: Sequence[BreakerState], inner: InnerLimit | None, workers: int) -> None:
        self.states: Sequence[BreakerState] = states
        """The breakers."""
        self.holding: BreakerState | None = None
        """The breaker that asked for the last wait; None if none did."""
        self._inner = inner
        self._most = workers
        self.is_quiet: bool = False
        """True if a record whose handler returned None changes nothing."""
        self.workers: int = self._allowed()
        """Maximum number of records in flight."""

    @property
    def reason(self) -> str:
        """Why records were not started."""
        if self.holding is None:
            return _SLOWLY if self._inner is None else self._inner.reason
        return f"breaker {self.holding.breaker.name!r} is open"

    @property
    def delays_messages(self) -> bool:
        """True if the inner limit asked for the last wait, and delays messages; the breakers hold theirs themselves."""
        return self.holding is None and self._inner is not None and self._inner.delays_messages

    def batch_starts(self) -> None:
        """Have the circuits read that are not known to be closed."""
        for state in self.states:
            state.batch_starts()
        if self._inner is not None:
            self._inner.batch_starts()

    def wait(self, now: float, running: int) -> float:
        """Return the seconds until the next record may start; infinity while a circuit is open."""
        for state in self.states:
            if seconds := state.wait(now):
                self.holding = state
                return seconds
        self.holding = None
        if running >= self.workers:  # workers that waited while a circuit was open
            return POLL_SECONDS
        return 0.0 if self._inner is None else self._inner.wait(now, running)

    def started(self, now: float, running: int) -> float:
        """Note that a record starts; return until when others may start unasked."""
        free_until = math.inf if self._inner is None else self._inner.started(now, running)
        for state in self.states:
            free_until = min(free_until, state.started())
        return free_until

    def ended(self, started_at: float, now: float, value: object, running: int) -> bool:
        """Note that a record has ended; return whether the limit or the policy has changed."""
        errors = errors_in(value)
        counting = [self._counting(error) for error in errors]
        has_changed = False
        for state in self.states:
            failed = None if errors else False
            has_changed |= state.ended(started_at, now, True if state in counting else failed)
        return self.adjust() | self._ended_inside(started_at, now, value, running) | has_changed

    def delay_after(self, error: BaseException) -> float | None:
        """Return the seconds after which an overloaded service asks to be called again; None if it does not."""
        return None if self._inner is None else self._inner.delay_after(error)

    def adjust(self) -> bool:
        """Take over the limits of the breakers; return whether the limit has changed."""
        before, self.workers = self.workers, self._allowed()
        self.is_quiet = self._inner is None and all(state.is_quiet for state in self.states)
        return self.workers != before

    def _counting(self, error: BaseException) -> BreakerState | None:
        """Return the breaker for which an error counts; None for none, and for an error that a block has counted."""
        if counted_by(error) is not None:
            return None
        return next((state for state in self.states if state.breaker.counts(error)), None)

    def _ended_inside(self, started_at: float, now: float, value: object, running: int) -> bool:
        if self._inner is None or not self._inner.ended(started_at, now, value, running):
            return False
        self.workers = self._allowed()
        return True

    def _allowed(self) -> int:
        inner = self._most if self._inner is None else self._inner.workers
        closed = [state.workers for state in self.states if not state.is_open]
        return min([inner, *closed])


def errors_in(value: Any) -> Sequence[BaseException]:
    """Return the errors in what a handler returned or raised: one, or several of a handler of lists."""
    values = value if issubclass(type(value), list) else [value]  # isinstance asks an error for its class
    errors = [item.error if issubclass(type(item), Failed) else item for item in values]
    return [error for error in errors if issubclass(type(error), BaseException)]
