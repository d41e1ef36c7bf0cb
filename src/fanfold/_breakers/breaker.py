"""The setting of a breaker."""

from __future__ import annotations

import asyncio
import copy
import math
import os
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, TypeAlias

from fanfold._base.callables import is_coroutine_function
from fanfold._base.log import logger
from fanfold._base.threads import served_loop
from fanfold.errors import ConfigurationError

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._ports.breakers import BreakerTable

FailureOn: TypeAlias = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], object]
"""Errors that mean that a service is down: a type, a tuple of types, or a predicate."""
OpenTable: TypeAlias = Callable[[], "AbstractAsyncContextManager[BreakerTable]"]
"""Opens the table: at the first batch, and for the lifetime of the execution environment."""

_BLOCKS: Final[ContextVar[tuple[Block | None, ...]]] = ContextVar("fanfold_breaker_blocks", default=())
"""The ``with`` blocks that the current task or thread is in, the innermost first."""
_ENVIRONMENTS: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Callable[[Breaker], Block | None]]] = (
    weakref.WeakKeyDictionary()
)
"""Functions that create a ``with`` block in an execution environment, by the event loop of its consumer."""
_BY_NAME: Final[weakref.WeakValueDictionary[str, Breaker]] = weakref.WeakValueDictionary()
TABLE_VARIABLE: Final = "FANFOLD_BREAKER_TABLE"
QUEUE_VARIABLE: Final = "FANFOLD_BREAKER_QUEUE_URL"
MOST_BREAKERS: Final = 10
_HOUR: Final = 3_600


class Block(Protocol):
    """One execution of a ``with`` block; see ``blocks``."""

    async def enter(self) -> None: ...
    def enter_here(self) -> None: ...
    def exit(self, error: BaseException | None) -> None: ...


class Breaker:
    """Stops calling a service that is down, without using up the receives of the messages that need it. Immutable.

        payments = fanfold.Breaker("payments", on=(ConnectionError, TimeoutError))

        @fanfold.consumer(concurrency=100, breaker=payments)
        async def handler(order: dict) -> None:
            await pay(order)

    While it is open, no record starts, except single probes. The messages are held in their queue, and become visible
    again when a probe succeeds. See docs/outages.md.

    Args:
        name: Identifies the service. All execution environments, and all functions, with a breaker of this name and
            this table share its state.
        on: Errors that mean that the service is down, not that a message is bad: an exception type, a tuple of types,
            or a predicate. Other errors do not count.
        failures: Failures of all execution environments from which it opens, at least 2.
        share: Share of the last 20 results of an execution environment that must be failures for it to open, over 0
            and at most 1. Two failures at least 30 s apart, with no success in between, are also enough.
        probe: Function without arguments that calls the service, ``def`` or ``async def``: it returns if the service is
            back, and raises if it is not. None to process one message as the probe.
        probe_every: Seconds between probes, over 0; in a long outage a thirtieth of its time, up to 300 s.
        outage_budget: Longest outage that messages are meant to survive, in seconds, over 0. The retention of the queue
            must be longer.
        last: What happens to a message on its last receive while the breaker is open: ``"try"`` processes it
            nevertheless, late in the invocation; ``"copy"`` sends a copy to its queue (standard queues only).
        table: Name of the DynamoDB table that holds the state; None for ``FANFOLD_BREAKER_TABLE`` from the environment.
            Without a table, each execution environment decides alone.

    Raises:
        ConfigurationError: If an argument is invalid.
    """

    def __init__(  # noqa: PLR0913 - all but the first by keyword
        self,
        name: str,
        *,
        on: FailureOn,
        failures: int = 5,
        share: float = 0.8,
        probe: Callable[[], Any] | None = None,
        probe_every: float = 30.0,
        outage_budget: float = 12 * _HOUR,
        last: Literal["try", "copy"] = "try",
        table: str | None = None,
    ) -> None:
        self.name = name
        self.on: FailureOn = on
        self.failures = failures
        self.share = share
        self.probe = probe
        self.probe_every = probe_every
        self.outage_budget = outage_budget
        self.last: Literal["try", "copy"] = last
        self.open_table: OpenTable | None = None
        """Opens another table, for tests and simulations; None for DynamoDB."""
        self.clock: Callable[[], float] = time.time
        """Returns the time, in seconds since 1970."""
        self.waits: bool = True
        """False in a simulation whose time stands still during an invocation: waiting there would change nothing."""
        self.max_receives: int | None = None
        """In a simulation, the receives after which a message is moved to the dead-letter queue."""
        self._table = table
        self._has_raised = False
        self._check()
        _BY_NAME[name] = self

    def __repr__(self) -> str:
        return f"Breaker({self.name!r}, on={self.on!r})"

    @property
    def table(self) -> str:
        """Name of the DynamoDB table; empty for none."""
        return os.environ.get(TABLE_VARIABLE, "") if self._table is None else self._table

    def simulated(
        self, open_table: OpenTable, clock: Callable[[], float], *, max_receives: int | None = None, waits: bool = False
    ) -> Breaker:
        """Return a copy with another table and another clock, for a simulation; see the attributes."""
        changed = copy.copy(self)
        changed.open_table, changed.clock = open_table, clock
        changed.max_receives, changed.waits = max_receives, waits
        return changed

    def counts(self, error: BaseException) -> bool:
        """Return whether an error means that the service is down; False if the predicate raises."""
        try:
            return isinstance(error, self.on) if isinstance(self.on, type | tuple) else bool(self.on(error))
        except Exception:
            if not self._has_raised:
                logger.exception("breaker %r: its predicate `on` failed; the error does not count", self.name)
            self._has_raised = True
            return False

    def __enter__(self) -> Self:
        """Begin a call of the service.

        Raises:
            BreakerOpenError: If the breaker is open: the message is redelivered later.
        """
        if (block := self._block()) is not None:
            block.enter_here()
        _BLOCKS.set((block, *_BLOCKS.get()))
        return self

    async def __aenter__(self) -> Self:
        """Begin a call of the service, as ``with`` does."""
        if (block := self._block()) is not None:
            await block.enter()
        _BLOCKS.set((block, *_BLOCKS.get()))
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        block, *others = _BLOCKS.get()
        _BLOCKS.set(tuple(others))
        if block is not None:
            block.exit(error)

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        self.__exit__(_type, error, _traceback)

    def _block(self) -> Block | None:
        """Return a block in the execution environment of the current thread; None outside of consumers."""
        loop = served_loop()
        create = None if loop is None else _ENVIRONMENTS.get(loop)
        return None if create is None else create(self)

    def _check(self) -> None:
        if not isinstance(self.name, str) or not self.name or "#" in self.name:
            raise ConfigurationError(f"Breaker: name must be a string without '#', and not empty, not {self.name!r}")
        checks = {
            "on": (
                _are_failures(self.on),
                "an exception type, a tuple of exception types, or a predicate (a def, not an async def)",
            ),
            "failures": (_is_number(self.failures, 2) and isinstance(self.failures, int), "an integer of at least 2"),
            "share": (_is_number(self.share, 0) and 0 < self.share <= 1, "a number over 0 and at most 1"),
            "probe": (self.probe is None or callable(self.probe), "a function without arguments, or None"),
            "probe_every": (_is_number(self.probe_every, 0) and self.probe_every > 0, "a number of seconds over 0"),
            "outage_budget": (
                _is_number(self.outage_budget, 0) and self.outage_budget > 0,
                "a number of seconds over 0",
            ),
            "last": (self.last in ("try", "copy"), "'try' or 'copy'"),
            "table": (self._table is None or isinstance(self._table, str), "the name of a DynamoDB table, or None"),
        }
        for name, (is_valid, expected) in checks.items():
            if not is_valid:
                value = self._table if name == "table" else getattr(self, name)
                raise ConfigurationError(f"Breaker {self.name!r}: {name} must be {expected}, not {value!r}")


def breaker_named(name: str) -> Breaker | None:
    """Return the breaker with a name that this process has created last; None if there is none."""
    return _BY_NAME.get(name)


def register(loop: asyncio.AbstractEventLoop, create: Callable[[Breaker], Block | None]) -> None:
    """Note which execution environment has this event loop, and what creates its ``with`` blocks."""
    _ENVIRONMENTS[loop] = create


def breakers_of(setting: object) -> Sequence[Breaker]:
    """Return the breakers of a consumer's setting: one, several, or None.

    Raises:
        ConfigurationError: If it is something else, or an error could count for two of them.
    """
    if setting is None:
        return ()
    if (simulated := getattr(setting, "of_consumer", None)) is not None:
        return simulated  # type: ignore[no-any-return] # see ``SimulatedBreakers``
    breakers: list[Breaker] = []
    for breaker in setting if isinstance(setting, list | tuple) else [setting]:
        if not isinstance(breaker, Breaker):
            raise ConfigurationError(
                f"breaker must be a fanfold.Breaker, a list of them, or None, not {breaker!r}"
                + ("; create one with fanfold.Breaker(name, on=…)" if isinstance(breaker, str | type) else "")
            )
        breakers.append(breaker)
    if len(breakers) > MOST_BREAKERS:
        raise ConfigurationError(f"a consumer can have at most {MOST_BREAKERS} breakers, not {len(breakers)}")
    for index, first in enumerate(breakers):
        for second in breakers[index + 1 :]:
            _check_distinct(first, second)
    return breakers


def _check_distinct(first: Breaker, second: Breaker) -> None:
    if first.name == second.name:
        raise ConfigurationError(f"two breakers have the name {first.name!r}: use one breaker for each service")
    for one in _types(first.on):
        for other in _types(second.on):
            if issubclass(one, other) or issubclass(other, one):
                raise ConfigurationError(
                    f"breakers {first.name!r} and {second.name!r}: {one.__name__} counts for both; use distinct "
                    "errors, or `with breaker:` around the call of each service instead of consumer(breaker=…)"
                )


def _types(on: FailureOn) -> Sequence[type[BaseException]]:
    if isinstance(on, tuple):
        return on
    return (on,) if isinstance(on, type) else ()


def _are_failures(value: object) -> bool:
    types = value if isinstance(value, tuple) else (value,)
    if all(isinstance(item, type) and issubclass(item, BaseException) for item in types):
        return bool(types)
    return callable(value) and not isinstance(value, type) and not is_coroutine_function(value)


def _is_number(value: object, minimum: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and minimum <= value < math.inf
