"""Services that execution environments call in virtual time: a dependency with outages, a queue's calls, and a table.

Every call passes a gate of its environment: it waits while the environment is frozen, and forever once it was killed.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from fanfold._base import aws_limits
from fanfold._base.record import Record
from fanfold._ports.breakers import BreakerTable, Circuit, Held
from fanfold._ports.queue import Refusal
from fanfold.errors import ServiceError
from fanfold.inmemory.queue import InMemoryQueue
from fanfold.inmemory.settler import InMemorySettler

T = TypeVar("T")

QUEUE_CALL_SECONDS = (0.005, 0.02)
"""Shortest and longest call of a queue."""
TABLE_CALL_SECONDS = (0.004, 0.012)
"""Shortest and longest call of the table."""
TABLE_FAILURE_SECONDS = 0.05
"""Time until a call fails while the table is down."""


class ServiceDownError(ConnectionError):
    """The dependency is down."""


class SecondServiceDownError(ConnectionError):
    """The second dependency is down."""


class Gate(Protocol):
    """An execution environment, as far as a call from it needs it."""

    number: int
    """Number of the environment, from 0."""

    async def passes(self, step: str = "") -> None:
        """Return while the environment runs an invocation; never, once it was killed. A step may kill it."""


class Interval(NamedTuple):
    """An interval of virtual time, seconds."""

    start: float
    end: float

    def __contains__(self, moment: object) -> bool:
        return isinstance(moment, float | int) and self.start <= moment < self.end


class Call(NamedTuple):
    """A call of a dependency."""

    at: float
    """When it started."""
    environment: int
    """Number of the calling environment."""
    is_down: bool
    """True if the dependency was down."""


class Dependency:
    """A service that handlers call.

    Args:
        rng: Random numbers.
        down: When it is down: every call fails.
        failing: When some calls fail, and which share of them.
        hangs: Seconds until a failing call ends; 0 for as fast as one that succeeds.
        bad_environment: Number of an environment whose calls all fail; None for none.
        error: The error of a failing call.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        down: Sequence[Interval] = (),
        failing: tuple[Interval, float] | None = None,
        hangs: float = 0.0,
        bad_environment: int | None = None,
        error: type[Exception] = ServiceDownError,
    ) -> None:
        self._rng, self._down, self._failing, self._hangs = rng, down, failing, hangs
        self._bad_environment, self._error = bad_environment, error
        self.calls: list[Call] = []
        """All calls, by their start."""
        self.in_flight = 0
        """Calls that run."""
        self.in_flight_at_outage = 0
        """Calls that ran when the first outage began."""
        if down and down[0].start > 0:
            loop = asyncio.get_running_loop()
            loop.call_at(down[0].start, self._note_in_flight)

    def _note_in_flight(self) -> None:
        self.in_flight_at_outage = self.in_flight

    def is_down(self, now: float) -> bool:
        """Return whether it is down."""
        return any(now in interval for interval in self._down)

    def _fails(self, now: float, environment: int) -> bool:
        if self.is_down(now) or environment == self._bad_environment:
            return True
        return self._failing is not None and now in self._failing[0] and self._rng.random() < self._failing[1]

    async def call(self, gate: Gate) -> None:
        """Serve a call.

        Raises:
            ServiceDownError: If it fails, or the error that was specified.
        """
        await gate.passes()
        now = asyncio.get_running_loop().time()
        fails = self._fails(now, gate.number)
        self.calls.append(Call(now, gate.number, self.is_down(now)))
        self.in_flight += 1
        try:
            await asyncio.sleep((fails and self._hangs) or self._rng.uniform(0.02, 0.08))
        finally:
            self.in_flight -= 1
        await gate.passes()
        if fails:
            raise self._error("the service is down")


async def call_through(gate: Gate, name: str, seconds: float, action: Callable[[], Awaitable[T]]) -> T:
    """Make a call that takes effect at its end; the environment may be killed before and after that."""
    await gate.passes(f"before {name}")
    await asyncio.sleep(seconds)
    await gate.passes()
    result = await action()
    await gate.passes(f"after {name}")
    return result


class GatedSettler:
    """The settler of one environment; its calls take time.

    Args:
        gate: The environment.
        rng: Random numbers.
        queues: The queues, each with its dead-letter queue, by their ARNs.
        counts: Number of calls.
    """

    def __init__(
        self,
        gate: Gate,
        rng: random.Random,
        queues: Mapping[str, tuple[InMemoryQueue, InMemoryQueue]],
        counts: Counter[str],
    ) -> None:
        self._gate, self._rng, self._counts = gate, rng, counts
        self._settlers = {arn: InMemorySettler(*both) for arn, both in queues.items()}

    async def __call__(self) -> "GatedSettler":
        """Return this settler."""
        return self

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Set visibility timeouts: a release, if all are 0."""
        name = "hold" if any(seconds for _, seconds in changes) else "release"
        settler = self._settler(changes)
        return await self._call(name, lambda: settler.change_visibility(changes))

    async def send_copies(self, copies: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Send copies of messages to their queue."""
        self._counts["copies"] += len(copies)
        settler = self._settler(copies)
        return await self._call("send_copies", lambda: settler.send_copies(copies))

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        """Send messages to the dead-letter queue."""
        settler = self._settler(rejects)
        return await self._call("send_dead_letters", lambda: settler.send_dead_letters(rejects))

    def _settler(self, entries: Sequence[tuple[Record, object]]) -> InMemorySettler:
        (arn,) = {record.queue_arn for record, _ in entries}
        assert len(entries) <= aws_limits.SQS_BATCH_ENTRIES
        return self._settlers[arn]

    async def _call(self, name: str, action: Callable[[], Awaitable[T]]) -> T:
        self._counts[name] += 1
        return await call_through(self._gate, name, self._rng.uniform(*QUEUE_CALL_SECONDS), action)


class GatedTable:
    """The table of the breakers, as one environment calls it: calls take time, are counted, and fail while it is down.

    Args:
        gate: The environment.
        rng: Random numbers.
        table: The table of all environments.
        down: When it is down.
        counts: Number of reads and writes.
        on_change: Called when a circuit was changed, with its name, and as it was before and after.
    """

    def __init__(
        self,
        gate: Gate,
        rng: random.Random,
        table: BreakerTable,
        down: Sequence[Interval],
        counts: Counter[str],
        on_change: Callable[[str, Circuit, Circuit], object],
    ) -> None:
        self._gate, self._rng, self._table, self._down = gate, rng, table, down
        self._counts, self._on_change = counts, on_change

    async def read(self, names: Sequence[str]) -> Sequence[Circuit]:
        """Return circuits."""
        return await self._call("reads", "read", lambda: self._table.read(names))

    async def change(self, name: str, before: Circuit, after: Circuit) -> bool:
        """Replace the state of a circuit."""

        async def change() -> bool:
            is_changed = await self._table.change(name, before, after)
            if is_changed:
                self._on_change(name, before, after)
            return is_changed

        return await self._call("writes", f"change to {after.state}", change)

    async def count_failures(self, name: str, failures: int, now: float) -> Circuit:
        """Add failures."""
        return await self._call("writes", "count_failures", lambda: self._table.count_failures(name, failures, now))

    async def add_page(self, name: str, held: Sequence[Held], expires_at: float) -> Circuit:
        """Store held messages."""
        return await self._call("writes", "add_page", lambda: self._table.add_page(name, held, expires_at))

    async def page(self, name: str, number: int) -> Sequence[Held]:
        """Return the messages of a page."""
        return await self._call("reads", "page", lambda: self._table.page(name, number))

    async def released(self, name: str, number: int) -> None:
        """Note that a page is released."""
        await self._call("writes", "released", lambda: self._table.released(name, number))

    async def _call(self, kind: str, name: str, action: Callable[[], Awaitable[T]]) -> T:
        self._counts[kind] += 1
        if any(asyncio.get_running_loop().time() in interval for interval in self._down):
            await self._gate.passes()
            await asyncio.sleep(TABLE_FAILURE_SECONDS)
            await self._gate.passes()
            raise ServiceError("the table is down", code="InternalServerError", transient=True)
        return await call_through(self._gate, name, self._rng.uniform(*TABLE_CALL_SECONDS), action)
