"""Consumers with breakers in the virtual world of an outage: what runs in its execution environments."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Final

import fanfold
from fanfold import Backoff, Breaker, Record
from fanfold._breakers import breaker as breaker_module
from fanfold._consumer.environment import ExecutionEnvironment
from fanfold._ports.breakers import BreakerTable
from fanfold._ports.queue import Message, Refusal
from fanfold.inmemory.breakers import InMemoryBreakers
from outage_environments import OpenRun, Run, VirtualEnvironment, opened_consumer
from outage_report import Report, Scenario
from outage_services import (
    QUEUE_CALL_SECONDS,
    Dependency,
    GatedSettler,
    GatedTable,
    SecondServiceDownError,
    ServiceDownError,
    call_through,
)
from outage_world import TICK_URL, OutageWorld, run_world

CURRENT: Final[ContextVar[tuple[OutageWorld, VirtualEnvironment]]] = ContextVar("outage_environment")
"""The world and the environment in which code runs."""


def settler_of(world: OutageWorld, environment: VirtualEnvironment) -> GatedSettler:
    """Return the settler of an environment."""
    queues = {mapping.arn: (mapping.queue, mapping.dead_letters) for mapping in (world.mapping, world.ticks)}
    return GatedSettler(environment, random.Random(world.rng.random()), queues, world.counts)


class TickSender:
    """Sends messages to the tick queue, as one environment does."""

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send messages."""
        world, environment = CURRENT.get()
        seconds = world.rng.uniform(*QUEUE_CALL_SECONDS)
        return await call_through(environment, "send tick", seconds, lambda: world.send_ticks(messages))


async def _open_tick_queue() -> TickSender:
    return TickSender()


class _BlocksOfEnvironments(dict[int, Any]):
    """Functions that create ``with`` blocks, by environment: in the world, all environments share one event loop."""

    def __setitem__(self, _loop: Any, create: Any) -> None:
        super().__setitem__(CURRENT.get()[1].number, create)

    def get(self, _loop: Any, default: Any = None) -> Any:
        """Return what creates the blocks of the current environment."""
        return super().get(CURRENT.get()[1].number, default)


class _BreakersOfEnvironments(dict[tuple[int, str], Breaker]):
    """Breakers by name, in each environment; those that follow the virtual time."""

    def __setitem__(self, _name: Any, _breaker: Any) -> None:
        """Ignore a breaker that does not follow the virtual time yet."""

    def keep(self, breakers: Sequence[Breaker]) -> None:
        """Note the breakers of the current environment."""
        number = CURRENT.get()[1].number
        self.update({(number, breaker.name): breaker for breaker in breakers})

    def get(self, name: Any, default: Any = None) -> Any:
        """Return the breaker with a name in the current environment."""
        return super().get((CURRENT.get()[1].number, name), default)


@contextmanager
def many_environments() -> Iterator[None]:
    """Open the tick queue of the world in place of one on AWS, and keep environments of one event loop apart."""
    original, blocks = ExecutionEnvironment.open_queue, breaker_module._ENVIRONMENTS

    def open_queue(_self: ExecutionEnvironment, url: str) -> Callable[[], Awaitable[Any]]:
        assert url == TICK_URL
        return _open_tick_queue

    module: Any = breaker_module
    by_name = module._BY_NAME
    module._ENVIRONMENTS, module._BY_NAME = _BlocksOfEnvironments(), _BreakersOfEnvironments()
    setattr(ExecutionEnvironment, "open_queue", open_queue)  # noqa: B010 - mypy refuses to assign to a method
    try:
        yield
    finally:
        module._ENVIRONMENTS, module._BY_NAME = blocks, by_name
        setattr(ExecutionEnvironment, "open_queue", original)  # noqa: B010 - as above


def _breakers_of(world: OutageWorld, environment: VirtualEnvironment, table: BreakerTable) -> Sequence[Breaker]:
    scenario = world.scenario
    gated = GatedTable(
        environment,
        random.Random(world.rng.random()),
        table,
        scenario.table_down,
        world.counts,
        lambda name, before, after: world.note_state(name, before.state, after.state),
    )

    @asynccontextmanager
    async def open_table() -> AsyncIterator[BreakerTable]:
        yield gated

    def breaker(name: str, on: type[Exception], dependency: Dependency) -> Breaker:
        async def probe() -> None:
            await dependency.call(environment)

        setting = Breaker(
            name,
            on=on,
            last="copy" if scenario.last == "copy" else "try",
            outage_budget=scenario.outage_budget,
            probe=probe if scenario.probe else None,
        )
        return setting.simulated(open_table, world.loop.wall, max_receives=scenario.receives, waits=True)

    payments = breaker("payments", ServiceDownError, world.dependency)
    return [payments, breaker("shipping", SecondServiceDownError, world.second)] if scenario.second_down else [payments]


def with_backoff(world: OutageWorld) -> OpenRun:
    """Return what starts a consumer with a backoff, and without a breaker."""

    def open_run(environment: VirtualEnvironment) -> AbstractAsyncContextManager[Run]:
        @fanfold.consumer(
            concurrency=world.scenario.concurrency,
            backoff=Backoff(),
            memory_share=None,
            settler=settler_of(world, environment),
        )
        async def handler(record: Record) -> None:
            await world.handle(record.body, environment)

        return opened_consumer(handler, world.scenario.timeout)

    return open_run


def with_breaker(world: OutageWorld) -> OpenRun:
    """Return what starts a consumer with a backoff and a breaker for each dependency."""
    table = InMemoryBreakers()
    return lambda environment: _opened(world, environment, table)


@asynccontextmanager
async def _opened(world: OutageWorld, environment: VirtualEnvironment, table: InMemoryBreakers) -> AsyncIterator[Run]:
    CURRENT.set((world, environment))
    scenario = world.scenario
    payments, *others = breakers = _breakers_of(world, environment, table)
    known: Any = breaker_module._BY_NAME  # that of ``many_environments``
    known.keep(breakers)

    @fanfold.consumer(
        concurrency=scenario.concurrency,
        backoff=Backoff(),
        memory_share=None,
        settler=settler_of(world, environment),
        breaker=None if scenario.blocks else [payments, *others],
    )
    async def handler(record: Record) -> None:
        if not scenario.blocks:
            await world.handle(record.body, environment)
            return
        needs_second = world.report.messages[record.body].needs_second
        async with others[0] if needs_second else payments:
            await world.handle(record.body, environment)

    opened: AbstractAsyncContextManager[Run] = opened_consumer(handler, scenario.timeout)
    async with opened as run:

        async def run_here(event: dict[str, Any]) -> Any:
            CURRENT.set((world, environment))
            return await run(event)

        yield run_here


def run_with_breaker(scenario: Scenario, seed: int) -> Report:
    """Run a world whose consumer has a breaker, and return what happened."""
    with many_environments():
        return run_world(scenario, seed, with_breaker)
