"""Faults of a simulated trial: each fault is a wrapper of a backend port, and one seed determines all of them.

An execution environment dies at one of its calls: later calls have no effect, and its response is lost, which is all
that other processes notice of a killed one.
"""

import inspect
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from fanfold._ports.queue import Message, Refusal
from fanfold.errors import ServiceError

MOST_SKEW_SECONDS: Final = 3_600.0
"""Maximum deviation of an execution environment's clock, in both directions."""
_USUAL_CALL_SECONDS, _SLOW_CALL_SECONDS = 0.05, 50.0
_MOST_CALLS = 25
"""An execution environment dies within this number of calls, or before its response."""


@dataclass(frozen=True, slots=True)
class Troubles:
    """The rates of faults, from 0 to 1."""

    duplicates: float = 0.0
    """Share of receives with a duplicate delivery, immediately or after the deletion."""
    throttled: float = 0.0
    """Share of calls that are throttled, without effect."""
    half_failed: float = 0.0
    """Share of calls that take effect, but raise an error."""
    partly_sent: float = 0.0
    """Share of sends of several messages of which only some are accepted."""
    slow: float = 0.0
    """Share of calls that take up to 50 s, most of an invocation's time."""
    dying: float = 0.0
    """Share of execution environments that die during an invocation."""
    skewed: float = 0.0
    """Share of execution environments whose clock is off by up to an hour, and jumps during an invocation."""
    jumps: float = 0.0
    """Share of batches after which all clocks jump forward by up to an hour."""
    reordered: bool = False
    """True if the queues deliver messages out of order."""


NOTHING: Final = Troubles()
SOME: Final = Troubles(
    duplicates=0.01,
    throttled=0.01,
    half_failed=0.01,
    partly_sent=0.01,
    slow=0.001,
    dying=0.01,
    skewed=0.01,
    jumps=0.001,
    reordered=True,
)
"""One percent of most faults."""
MANY: Final = Troubles(
    duplicates=0.1,
    throttled=0.03,
    half_failed=0.03,
    partly_sent=0.2,
    slow=0.01,
    dying=0.1,
    skewed=0.2,
    jumps=0.02,
    reordered=True,
)
"""Rates that disturb every second invocation."""


class Chance:
    """Random decisions about faults, deterministic for a seed, with counts."""

    def __init__(self, seed: int, troubles: Troubles) -> None:
        self.troubles = troubles
        """The rates of faults."""
        self.random = random.Random(seed)
        self.injected: Counter[str] = Counter()
        """Number of injected faults, by kind."""

    def strikes(self, kind: str, share: float) -> bool:
        """Decide whether to inject a fault."""
        injected = self.random.random() < share
        if injected:
            self.injected[kind] += 1
        return injected


@dataclass(slots=True)
class ExecutionEnvironment:
    """The faults of one invocation."""

    dies_at: int | None = None
    """Number of the call at which it dies; None if it does not die."""
    skew: float = 0.0
    """Seconds that its clock is ahead after the jump."""
    skews_at: int = 0
    """Number of the call at which its clock jumps."""
    calls: int = 0
    """Number of calls so far."""
    died: anyio.Event = field(default_factory=anyio.Event)
    """Set when it dies."""

    @property
    def skew_now(self) -> float:
        """Seconds that its clock is ahead now; before the jump, it is behind by as much."""
        return self.skew if self.calls >= self.skews_at else -self.skew


HERE: ContextVar[ExecutionEnvironment] = ContextVar("HERE")
"""The execution environment of the current call."""


def new_execution_environment(chance: Chance) -> ExecutionEnvironment:
    """Return an execution environment with random faults."""
    environment, troubles = ExecutionEnvironment(), chance.troubles
    if chance.strikes("execution environments that die", troubles.dying):
        environment.dies_at = chance.random.randrange(_MOST_CALLS)
    if chance.strikes("clocks that are wrong", troubles.skewed):
        environment.skew = chance.random.uniform(-MOST_SKEW_SECONDS, MOST_SKEW_SECONDS)
        environment.skews_at = chance.random.randrange(_MOST_CALLS)
    return environment


class Around:
    """A wrapper of a backend port with hooks before and after each operation."""

    def __init__(self, port: Any, chance: Chance) -> None:
        self.port = port
        self.chance = chance

    async def before(self) -> None:
        """Called before an operation; an exception prevents it."""

    async def after(self) -> None:
        """Called after an operation; an exception replaces its result."""

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self.port, name)
        if inspect.isasyncgenfunction(operation):

            async def yielding(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                await self.before()
                async with aclosing(operation(*args, **kwargs)) as items:
                    async for item in items:
                        yield item
                await self.after()

            return yielding

        async def called(*args: Any, **kwargs: Any) -> Any:
            await self.before()
            result = await operation(*args, **kwargs)
            await self.after()
            return result

        return called if inspect.iscoroutinefunction(operation) else operation


class Slow(Around):
    """Calls that take time, some of them very long."""

    async def before(self) -> None:
        """Wait."""
        slow = self.chance.strikes("calls that take long", self.chance.troubles.slow)
        await anyio.sleep(self.chance.random.uniform(0, _SLOW_CALL_SECONDS if slow else _USUAL_CALL_SECONDS))


class Throttling(Around):
    """Calls that may be throttled."""

    async def before(self) -> None:
        """Raise a throttling error for some calls."""
        if self.chance.strikes("throttled calls", self.chance.troubles.throttled):
            raise ServiceError("slow down", code="ThrottlingException", transient=True)


class HalfFailing(Around):
    """Calls that may take effect and still raise an error."""

    async def after(self) -> None:
        """Raise an error for some calls."""
        if self.chance.strikes("half-failed calls", self.chance.troubles.half_failed):
            raise ServiceError("the connection was lost", code="InternalError", transient=True)


class PartlySending(Around):
    """A queue that may accept only some messages of a batch."""

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send all messages, or some of them."""
        if len(messages) < 2 or not self.chance.strikes("sends accepted in part", self.chance.troubles.partly_sent):
            refused: Sequence[Refusal] = await self.port.send(messages)
            return refused
        accepted = sorted(self.chance.random.sample(range(len(messages)), self.chance.random.randrange(len(messages))))
        if accepted:
            await self.port.send([messages[position] for position in accepted])
        return [
            Refusal(position, "InternalError", final=False)
            for position in range(len(messages))
            if position not in accepted
        ]


class Mortal(Around):
    """Calls during which the execution environment may die; later calls fail."""

    async def before(self) -> None:
        """Let the execution environment die if this is its last call."""
        environment = HERE.get()
        environment.calls += 1
        if environment.dies_at is not None and environment.calls > environment.dies_at:
            environment.died.set()
        self._raise_if_dead()

    async def after(self) -> None:
        """Discard the result of a call during which the execution environment died."""
        self._raise_if_dead()

    @staticmethod
    def _raise_if_dead() -> None:
        if HERE.get().died.is_set():
            raise ServiceError("this execution environment is dead", code="Killed", transient=True)


def with_faults(port: Any, chance: Chance) -> Any:
    """Return a port with all faults."""
    return Mortal(Slow(Throttling(HalfFailing(PartlySending(port, chance), chance), chance), chance), chance)
