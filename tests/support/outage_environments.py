"""Execution environments in virtual time: created on demand, frozen between invocations, recycled, and killed.

An environment that is killed is never notified: whatever it was doing waits forever at its next call of a service.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeAlias

from fanfold._base.deadline import Deadline
from fanfold._consumer.consumer import Consumer
from fanfold._replay.mapping import Errored, Invocation, Returned
from fanfold.testing import make_context
from virtual_time import wait_forever

Event: TypeAlias = dict[str, Any]
Run: TypeAlias = Callable[[Event], Awaitable[Invocation]]
"""Invokes the function in an environment."""
OpenRun: TypeAlias = Callable[["VirtualEnvironment"], AbstractAsyncContextManager[Run]]
"""Starts the function in an environment; the context manager is not exited before the end of the world."""

IDLE_SECONDS: Final = 600.0
"""Time after which an environment without invocations is removed."""
START_SECONDS: Final = 0.5
"""Time of a cold start."""


class VirtualEnvironment:
    """One execution environment. It runs one invocation at a time.

    Args:
        number: Its number, from 0.
        open_run: Starts the function.
        timeout: Function timeout, seconds.
        on_step: Called with each step of a service call; returns whether the environment is killed there.
    """

    def __init__(
        self, number: int, open_run: OpenRun, timeout: float, on_step: Callable[[str], bool] = lambda _: False
    ) -> None:
        self.number = number
        self.used_at = 0.0
        """End of the last invocation."""
        self.is_killed = False
        self._open_run, self._timeout, self._on_step = open_run, timeout, on_step
        self._loop = asyncio.get_running_loop()
        self._runs = asyncio.Event()
        """Set while an invocation runs."""
        self._killed: asyncio.Future[None] = self._loop.create_future()
        self._opened: asyncio.Future[Run] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        """True while an invocation runs."""
        return self._runs.is_set()

    async def passes(self, step: str = "") -> None:
        """Return while the environment runs an invocation; never, once it was killed. A step may kill it."""
        if step and not self.is_killed and self._on_step(step):
            self.kill()
        while self.is_killed or not self._runs.is_set():
            if self.is_killed:
                await wait_forever()
            await self._runs.wait()

    def kill(self) -> None:
        """Kill the environment: nothing that it does has an effect any more."""
        self.is_killed = True
        if not self._killed.done():
            self._killed.set_result(None)

    async def invoke(self, event: Event) -> Invocation:
        """Run an invocation, and return its result; the first one takes longer by the cold start."""
        if self._opened is None:
            await asyncio.sleep(START_SECONDS)
        self._runs.set()
        running = asyncio.ensure_future(self._invoke(event))
        ending: set[asyncio.Future[Any]] = {running, self._killed}
        await asyncio.wait(ending, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        self._runs.clear()
        self.used_at = self._loop.time()
        if self.is_killed:
            return Errored("killed", "the process ended")
        if running.done():
            return running.result()
        self.kill()
        return Errored("timeout", f"the invocation took longer than {self._timeout:g} s")

    async def _invoke(self, event: Event) -> Invocation:
        if self._opened is None:
            self._opened = self._loop.create_future()
            self._task = asyncio.ensure_future(self._live())
        run = await self._opened
        return await run(json.loads(json.dumps(event)))

    async def _live(self) -> None:
        assert self._opened is not None
        try:
            async with self._open_run(self) as run:
                self._opened.set_result(run)
                await wait_forever()
        except Exception as error:  # noqa: BLE001 - reaches the invocation
            if not self._opened.done():
                self._opened.set_exception(error)


@asynccontextmanager
async def opened_consumer(consumer: Consumer[..., Any], seconds: float) -> AsyncIterator[Run]:
    """Start a consumer in an environment; its deadlines are in virtual time.

    Args:
        consumer: The consumer.
        seconds: Function timeout.
    """
    clock = asyncio.get_running_loop().time
    async with consumer.session() as session:

        async def run(event: Event) -> Invocation:
            context = make_context(seconds, clock=clock)
            deadline = Deadline.after(seconds, margin=consumer.settings.deadline_margin, clock=clock)
            try:
                result = await session(event, context, deadline=deadline)
            except Exception as error:  # noqa: BLE001 - a function error is a result of the invocation
                return Errored("error", f"{type(error).__name__}: {error}")
            return Returned(json.dumps(result.response))

        yield run
