"""Consumers in virtual time, which call a service as often as a concurrency limit allows."""

import math
from collections.abc import Callable
from typing import Protocol

from fanfold._consumer.auto import Auto
from fanfold._consumer.auto_limit import AutoLimit
from virtual_services import Refusal, Service, World


class TooManyRequestsError(Exception):
    """An error of overload, as an HTTP client raises it."""

    status = 429

    def __init__(self, retry_after: float | None) -> None:
        super().__init__("too many requests")
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


class Limit(Protocol):
    """A concurrency limit, as a simulated consumer uses it; see ``AutoLimit``."""

    workers: int

    def batch_starts(self) -> None:
        """Note that a batch starts."""

    def wait(self, now: float, running: int) -> float:
        """Return the seconds until the next record may start."""

    def started(self, now: float, running: int) -> float:
        """Note that a record starts, and return until when others may start unasked."""

    def ended(self, started_at: float, now: float, value: object, running: int) -> bool:
        """Note that a record has ended, and return whether anything has changed."""


class FixedLimit:
    """A limit that never changes."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def batch_starts(self) -> None:
        """Do nothing."""

    def wait(self, now: float, running: int) -> float:
        """Return 0."""
        return 0.0

    def started(self, now: float, running: int) -> float:
        """Let others start unasked."""
        return math.inf

    def ended(self, started_at: float, now: float, value: object, running: int) -> bool:
        """Change nothing."""
        return False


def auto_limit(world: World) -> AutoLimit:
    """Return fanfold's self-adjusting limit. The wall clock starts at a random moment, the same in all processes."""
    return AutoLimit(Auto(), clock=lambda: world.now, wall=lambda: world.now + 1e6 + world.offset)


class Consumer:
    """Processes a number of records, in batches that follow one another, and counts what happens.

    Args:
        world: The time.
        service: What each record calls.
        limit: The concurrency limit.
        records: Number of records.
        start_at: Seconds until the first one starts.
        batch_size: Records in a batch; None for one batch.
        other_errors: Share of the records that fail quickly, and not because of overload.
    """

    def __init__(
        self,
        world: World,
        service: Service,
        limit: Limit,
        records: int,
        *,
        start_at: float = 0.0,
        batch_size: int | None = None,
        other_errors: float = 0.0,
    ) -> None:
        self.world, self.service, self.limit, self.records = world, service, limit, records
        self.running = 0
        self.done = self.refused = self.failed = 0
        self.refused_early = 0
        """Refused among the first 1,000 records that ended."""
        self.done_at = start_at
        """Moment of the last success."""
        self.too_early = 0
        """Starts before the time that a refusal had stated."""
        self.reached: dict[int, int] = {}
        """Records that had ended when the limit first had a value."""
        self._to_start, self._left = 0, records
        self._batch_size, self._other_errors = batch_size or records, other_errors
        self._free_until = -math.inf
        self._not_before = -math.inf
        self._waits = False
        world.after(start_at, self._start_batch)

    @property
    def ended(self) -> int:
        """Records that have ended."""
        return self.done + self.refused + self.failed

    def _start_batch(self) -> None:
        self._to_start = min(self._batch_size, self._left)
        self._left -= self._to_start
        self.limit.batch_starts()
        self._free_until = -math.inf
        self._pump()

    def _pump(self) -> None:
        world, limit = self.world, self.limit
        while self._to_start and self.running < limit.workers:
            if world.now >= self._free_until:
                if seconds := limit.wait(world.now, self.running):
                    if not self._waits:
                        self._waits = True
                        world.after(seconds + 1e-9, self._resume)
                    return
                self._free_until = limit.started(world.now, self.running)
            self.too_early += world.now < self._not_before
            self.running += 1
            self._to_start -= 1
            if self._other_errors and world.random.random() < self._other_errors:
                world.after(0.001, self._end, world.now, ValueError("not an overload"))
            else:
                self.service.call(self._ending(world.now))

    def _resume(self) -> None:
        self._waits = False
        self._pump()

    def _ending(self, started_at: float) -> Callable[[Refusal | None], None]:
        return lambda refusal: self._end(started_at, refusal and TooManyRequestsError(refusal.retry_after))

    def _end(self, started_at: float, error: Exception | None) -> None:
        now = self.world.now
        if error is None:
            self.done += 1
            self.done_at = now
        elif isinstance(error, TooManyRequestsError):
            self.refused += 1
            self.refused_early += self.ended <= 1_000
            if wait := error.headers.get("Retry-After"):
                self._not_before = max(self._not_before, now + float(wait))
        else:
            self.failed += 1
        if self.limit.ended(started_at, now, error, self.running):
            self._free_until = -math.inf
        self.running -= 1
        self.reached.setdefault(self.limit.workers, self.ended)
        if self._left and not self._to_start and not self.running:
            self._start_batch()
        self._pump()
