"""Services in virtual time, which a simulated consumer calls: they queue, slow down, and refuse as real ones do.

A refusal takes a tenth of the latency. Latencies vary by 10 % in either direction, unless the service states otherwise.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias


class Refusal(NamedTuple):
    """A request that the service refused because of overload."""

    retry_after: float | None = None
    """Seconds until it may be called; None if it did not state them."""


Done: TypeAlias = Callable[[Refusal | None], None]
"""Called when a request ends; with the refusal if there was one."""


class Service(Protocol):
    """A service that a consumer calls."""

    def call(self, done: Done) -> None:
        """Accept a request."""


class World:
    """Virtual time, and the events in it."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.offset = 5 * self.random.random()
        """Seconds by which the wall clock is ahead of a multiple of 5 s at the start."""
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call a function after a time."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), call, arguments))

    def run(self, until: Callable[[], bool]) -> None:
        """Run the events in their order, until a condition holds or none is left."""
        while self._events and not until():
            self.now, _, call, arguments = heapq.heappop(self._events)
            call(*arguments)

    def jitter(self) -> float:
        """Return a factor from 0.9 to 1.1."""
        return 0.9 + 0.2 * self.random.random()


class Room:
    """Serves a number of requests concurrently, queues the others, and refuses above five times that number.

    Args:
        world: The time.
        room: Requests that it serves concurrently, constant or a function of the time.
        seconds: Duration of a request, constant or a function of the time.
        factor: Draws a factor of the duration for each request.
    """

    def __init__(
        self,
        world: World,
        room: float | Callable[[float], float] = math.inf,
        seconds: float | Callable[[float], float] = 0.02,
        factor: Callable[[random.Random], float] | None = None,
    ) -> None:
        self.world = world
        self._room = room if callable(room) else lambda _: room
        self._seconds = seconds if callable(seconds) else lambda _: seconds
        self._factor = factor
        self._queue: deque[Done] = deque()
        self._served = 0

    def call(self, done: Done) -> None:
        """Accept a request."""
        if self._served + len(self._queue) >= 5 * self._room(self.world.now):
            self.world.after(0.1 * self._seconds(self.world.now), done, Refusal())
            return
        self._queue.append(done)
        self._serve()

    def _serve(self) -> None:
        world = self.world
        while self._queue and self._served < self._room(world.now):
            self._served += 1
            factor = world.jitter() if self._factor is None else self._factor(world.random)
            world.after(self._seconds(world.now) * factor, self._end, self._queue.popleft())

    def _end(self, done: Done) -> None:
        self._served -= 1
        done(None)
        self._serve()


class Quota:
    """Serves any number of requests concurrently, as many per second as a quota allows.

    Args:
        world: The time.
        rate: Requests per second.
        burst: Requests that a token bucket stores; None for a quota of ``rate`` requests in each window of a second.
        retry_after: Seconds that a refusal states; infinite for the rest of the window; None if it states nothing.
        seconds: Duration of a request.
    """

    def __init__(
        self, world: World, rate: float, burst: float | None, retry_after: float | None, seconds: float = 0.02
    ) -> None:
        self.world = world
        self._rate, self._burst, self._retry_after, self._seconds = rate, burst, retry_after, seconds
        self._tokens = rate if burst is None else burst
        self._phase = world.random.random() if burst is None else 0.0
        self._filled = world.now
        self._allowed_at = -math.inf
        self.too_early = 0
        """Requests before the time that a refusal had stated."""

    def call(self, done: Done) -> None:
        """Accept a request."""
        now = self.world.now
        self.too_early += now < self._allowed_at - 1e-9
        self._fill(now)
        if self._tokens >= 1:
            self._tokens -= 1
            self.world.after(self._seconds * self.world.jitter(), done, None)
            return
        wait = self._retry_after
        if wait is not None:
            wait = 1 - (now + self._phase) % 1 if math.isinf(wait) else wait
        self.world.after(0.1 * self._seconds, self._refuse, done, wait)

    def _refuse(self, done: Done, wait: float | None) -> None:
        if wait is not None:
            self._allowed_at = self.world.now + wait
        done(Refusal(wait))

    def _fill(self, now: float) -> None:
        if self._burst is None:
            if int(now + self._phase) > int(self._filled + self._phase):
                self._tokens = self._rate
        else:
            self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now


class Cores:
    """Runs handlers that compute, on a number of cores that they share equally, after a time of I/O each."""

    def __init__(self, world: World, cores: int, seconds: float = 0.005, io_seconds: float = 0.0) -> None:
        self.world = world
        self._cores, self._seconds, self._io_seconds = cores, seconds, io_seconds
        self._work = 0.0
        """Seconds of work that each handler has received since the start."""
        self._at = 0.0
        self._running: list[tuple[float, int, Done]] = []
        self._numbers = itertools.count()
        self._turn = 0

    def call(self, done: Done) -> None:
        """Start a handler."""
        if self._io_seconds:
            self.world.after(self._io_seconds * self.world.jitter(), self._compute, done)
        else:
            self._compute(done)

    def _compute(self, done: Done) -> None:
        self._advance()
        work = self._seconds * self.world.jitter()
        heapq.heappush(self._running, (self._work + work, next(self._numbers), done))
        self._schedule()

    def _share(self) -> float:
        return min(1.0, self._cores / len(self._running)) if self._running else 0.0

    def _advance(self) -> None:
        self._work += (self.world.now - self._at) * self._share()
        self._at = self.world.now

    def _schedule(self) -> None:
        self._turn += 1
        if self._running:
            left = max(0.0, self._running[0][0] - self._work)
            self.world.after(left / self._share(), self._end, self._turn)

    def _end(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._advance()
        done = heapq.heappop(self._running)[2]
        self._schedule()
        done(None)
