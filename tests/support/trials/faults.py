"""What goes wrong in a simulated trial: each fault a backend around another one, and all chance from one seed.

An execution environment that dies does so at one of its calls: nothing it asks for from then on takes effect, and
nothing that it answers is read, which is all that the rest of the world sees of a process that is killed.
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
"""How far an execution environment's clock is off at most, either way."""
_USUAL_CALL_SECONDS, _SLOW_CALL_SECONDS = 0.05, 50.0
_MOST_CALLS = 25
"""An execution environment that is to die does so within this many calls, or just before its response."""


@dataclass(frozen=True, slots=True)
class Troubles:
    """How much goes wrong: shares from 0 to 1."""

    duplicates: float = 0.0
    """Of receives: the message is there once more although it was received, or deleted."""
    throttled: float = 0.0
    """Of calls: refused, and without effect."""
    half_failed: float = 0.0
    """Of calls: they took effect, and the caller is told that they failed."""
    partly_sent: float = 0.0
    """Of sends of several messages: some are accepted, the others not."""
    slow: float = 0.0
    """Of calls: they take up to 50 s, most of an invocation's time."""
    dying: float = 0.0
    """Of execution environments: they die in the middle of an invocation."""
    skewed: float = 0.0
    """Of execution environments: their clock is off by up to an hour, and from one call on by another one."""
    jumps: float = 0.0
    """Of batches: after them all clocks jump forward by up to an hour, as if the world had stood still."""
    reordered: bool = False
    """Whether the queues give messages out of order."""


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
"""One in a hundred of all."""
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
"""So many that every second invocation is disturbed."""


class Chance:
    """Decides what goes wrong, the same way for the same seed, and counts it."""

    def __init__(self, seed: int, troubles: Troubles) -> None:
        self.troubles = troubles
        """How much goes wrong."""
        self.random = random.Random(seed)
        self.injected: Counter[str] = Counter()
        """Faults so far, by kind."""

    def strikes(self, kind: str, share: float) -> bool:
        """Decide whether a fault happens here."""
        struck = self.random.random() < share
        if struck:
            self.injected[kind] += 1
        return struck


@dataclass(slots=True)
class ExecutionEnvironment:
    """One invocation, as far as chance has to do with it."""

    dies_at: int | None = None
    """At which of its calls it dies; None for not at all."""
    skew: float = 0.0
    """Seconds its clock is ahead."""
    skews_at: int = 0
    """From which of its calls on."""
    calls: int = 0
    """Calls so far."""
    died: anyio.Event = field(default_factory=anyio.Event)
    """Set when it has died."""

    @property
    def skew_now(self) -> float:
        """Seconds its clock is ahead now; before its jump it was as much behind."""
        return self.skew if self.calls >= self.skews_at else -self.skew


HERE: ContextVar[ExecutionEnvironment] = ContextVar("HERE")
"""The execution environment that a call comes from."""


def new_execution_environment(chance: Chance) -> ExecutionEnvironment:
    """Return an execution environment, and decide what will befall it."""
    environment, troubles = ExecutionEnvironment(), chance.troubles
    if chance.strikes("execution environments that die", troubles.dying):
        environment.dies_at = chance.random.randrange(_MOST_CALLS)
    if chance.strikes("clocks that are wrong", troubles.skewed):
        environment.skew = chance.random.uniform(-MOST_SKEW_SECONDS, MOST_SKEW_SECONDS)
        environment.skews_at = chance.random.randrange(_MOST_CALLS)
    return environment


class Around:
    """A backend port around another: something before each operation, and after it took effect."""

    def __init__(self, port: Any, chance: Chance) -> None:
        self.port = port
        self.chance = chance

    async def before(self) -> None:
        """Do what is done before an operation; raise for it not to happen."""

    async def after(self) -> None:
        """Do what is done after an operation; raise for its caller not to know."""

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self.port, name)
        if inspect.isasyncgenfunction(operation):

            async def yielding(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                await self.before()
                async with aclosing(operation(*args, **kwargs)) as found:
                    async for each in found:
                        yield each
                await self.after()

            return yielding

        async def called(*args: Any, **kwargs: Any) -> Any:
            await self.before()
            answer = await operation(*args, **kwargs)
            await self.after()
            return answer

        return called if inspect.iscoroutinefunction(operation) else operation


class Slow(Around):
    """Each call takes time, and now and then very long."""

    async def before(self) -> None:
        """Take it."""
        slow = self.chance.strikes("calls that take long", self.chance.troubles.slow)
        await anyio.sleep(self.chance.random.uniform(0, _SLOW_CALL_SECONDS if slow else _USUAL_CALL_SECONDS))


class Throttling(Around):
    """Refuses calls as too many."""

    async def before(self) -> None:
        """Refuse this one, perhaps."""
        if self.chance.strikes("throttled calls", self.chance.troubles.throttled):
            raise ServiceError("slow down", code="ThrottlingException", transient=True)


class HalfFailing(Around):
    """Does what it was asked for, and says that it failed."""

    async def after(self) -> None:
        """Say so of this call, perhaps."""
        if self.chance.strikes("half-failed calls", self.chance.troubles.half_failed):
            raise ServiceError("the connection was lost", code="InternalError", transient=True)


class PartlySending(Around):
    """A queue that accepts some messages of a batch, and others not."""

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send them, or some."""
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
    """Takes no call from an execution environment that has died, and has it die where that is its lot."""

    async def before(self) -> None:
        """Let the execution environment die before the call."""
        environment = HERE.get()
        environment.calls += 1
        if environment.dies_at is not None and environment.calls > environment.dies_at:
            environment.died.set()
        self._refuse_the_dead()

    async def after(self) -> None:
        """Let the execution environment not hear of a call during which it died."""
        self._refuse_the_dead()

    @staticmethod
    def _refuse_the_dead() -> None:
        if HERE.get().died.is_set():
            raise ServiceError("this execution environment is dead", code="Killed", transient=True)


def troubled(port: Any, chance: Chance) -> Any:
    """Return a port that everything can befall."""
    return Mortal(Slow(Throttling(HalfFailing(PartlySending(port, chance), chance), chance), chance), chance)
