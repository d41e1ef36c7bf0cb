"""A consumer with a breaker, and a service that is up while a file exists; its process ends at one step, once.

Environment variables: ``FOLDER`` for the files, ``BREAKER`` for its name, ``KILL_AT`` for the step; see ``STEPS`` in
``outage_on_aws``.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import fanfold
from fanfold.aws.breakers import open_breakers
from fanfold.aws.sqs import open_settler

FOLDER, STEP = Path(os.environ["FOLDER"]), os.environ["KILL_AT"]
HELD, STORED = asyncio.Event(), asyncio.Event()
"""Messages are held in their queue; their handles are stored in the table."""
RELEASE = asyncio.Lock()
OPENED = AsyncExitStack()


def is_due() -> bool:
    """Return whether no process has ended at the step so far."""
    return not (FOLDER / "killed").exists()


def kill(step: str) -> None:
    """End this process if this is the step, unless another one has ended at it."""
    if step != STEP:
        return
    try:
        (FOLDER / "killed").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class KilledTable:
    """A table of breakers whose calls end the process."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    async def change(self, name: str, before: Any, after: Any) -> bool:
        kill(f"before {after.state}")
        has_changed = await self._table.change(name, before, after)
        if has_changed:
            kill(f"after {after.state}")
        return bool(has_changed)

    async def add_page(self, name: str, held: Sequence[Any], expires_at: float) -> Any:
        if STEP == "held" and is_due():
            await HELD.wait()
            kill("held")
        circuit = await self._table.add_page(name, held, expires_at)
        STORED.set()
        if STEP == "held and stored" and is_due():
            await HELD.wait()
            kill("held and stored")
        return circuit

    async def page(self, name: str, number: int) -> Any:
        kill("tick")
        return await self._table.page(name, number)

    async def released(self, name: str, number: int) -> None:
        kill("released")
        await self._table.released(name, number)


class KilledSettler:
    """A settler whose calls end the process; it makes messages visible one call at a time."""

    def __init__(self, settler: Any) -> None:
        self._settler = settler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._settler, name)

    async def change_visibility(self, changes: Sequence[Any]) -> Any:
        if any(seconds for _, seconds in changes):
            if STEP == "stored" and is_due():
                await STORED.wait()
                kill("stored")
            refusals = await self._settler.change_visibility(changes)
            HELD.set()
            return refusals
        async with RELEASE:
            refusals = await self._settler.change_visibility(changes)
            kill("some released")
            return refusals


@asynccontextmanager
async def killed_table() -> AsyncIterator[KilledTable]:
    """Open the table."""
    async with open_breakers(os.environ["FANFOLD_BREAKER_TABLE"]) as table:
        yield KilledTable(table)


async def killed_settler(opened: list[KilledSettler] = []) -> KilledSettler:  # noqa: B006 - kept for the process
    """Return the settler, which the first call opens."""
    async with RELEASE:
        if not opened:
            opened.append(KilledSettler(await OPENED.enter_async_context(open_settler(""))))
    return opened[0]


def clock() -> float:
    """Return the time, which a test can put forward: a lease of another process ends."""
    return time.time() + float((FOLDER / "ahead").read_text() or "0")


async def call(line: str) -> None:
    """Call the service."""
    if not (FOLDER / "up").exists():
        with (FOLDER / "failed").open("a") as failed:
            failed.write(line)
        raise ConnectionError("the service is down")


async def probe() -> None:
    """Call the service without a message."""
    await call("probe\n")


breaker = fanfold.Breaker(
    os.environ["BREAKER"],
    on=ConnectionError,
    failures=3,
    probe=probe if os.environ["HAS_PROBE"] == "true" else None,
    probe_every=1,
    outage_budget=float(os.environ["BUDGET"]),
)
killed: dict[str, Any] = {}
if STEP:
    breaker = breaker.simulated(killed_table, clock, waits=True)
    killed["settler"] = killed_settler


@fanfold.consumer(breaker=breaker, **killed)
async def handler(number: int) -> None:
    """Process a message."""
    await call(f"{number}\n")
    with (FOLDER / "done").open("a") as done:
        done.write(f"{number}\n")
