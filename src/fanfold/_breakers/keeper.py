"""The reading and writing of one breaker in one execution environment, on the consumer's event loop.

One task does it, a step at a time, so the calls of an execution environment never compete with each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from fanfold._base import aws_limits
from fanfold._base.log import logger
from fanfold._breakers.breaker_state import BreakerState, Work
from fanfold._breakers.hold_times import tick_seconds
from fanfold._breakers.mapping_pause import MappingPause
from fanfold._breakers.releases import PAGES, OpenSettler, Releases
from fanfold._breakers.shared_table import SharedTable
from fanfold._breakers.transitions import (
    claimed,
    closed,
    given_back,
    may_probe,
    may_release,
    opened,
    probe_interval,
    released_by,
    reopened,
)
from fanfold._ports.breakers import OPEN, PAGE_HANDLES, Circuit, Held
from fanfold.errors import FanfoldError
from fanfold.observers import BreakerActivity

SendTick: TypeAlias = Callable[[str], Awaitable[object]]
"""Sends the tick message of a breaker, given its name."""
RunBlocking: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function on a worker thread."""

LEASE_SECONDS: Final = 25.0
"""Time after which another execution environment may probe, if this one was ended in a probe."""
PROBE_SECONDS: Final = 10.0
"""Longest time of a probe function."""
TICK_LOST_SECONDS: Final = 900.0
"""Time without a tick after which another tick message is sent: three of its longest intervals."""
_ATTEMPTS: Final = 5
_RELEASE_SECONDS: Final = 5.0
"""Seconds until the next tick, if there are still held messages."""
_RETENTION: Final = aws_limits.SQS_MAX_VISIBILITY_SECONDS
_LEAST_TICK_SECONDS: Final = 1.0
_FEWEST_RECEIVES: Final = 2
"""Receives that a message must have left to become the probe of a tick."""


class Keeper:
    """Keeps the state of a breaker in its table.

    Args:
        state: What this execution environment knows.
        table: The table.
        open_settler: Opens what makes messages visible.
        loop: The consumer's event loop.
        run_blocking: Runs a ``def`` probe on a thread.
        send_tick: Sends the tick message; None without a queue for it.
        mapping_pause: Pauses mappings; None for not.
        is_of_blocks: Whether only ``with`` blocks use it; otherwise admission asks it before each record.
    """

    def __init__(
        self,
        state: BreakerState,
        table: SharedTable,
        open_settler: OpenSettler,
        loop: asyncio.AbstractEventLoop,
        run_blocking: RunBlocking,
        send_tick: SendTick | None = None,
        mapping_pause: MappingPause | None = None,
        *,
        is_of_blocks: bool = False,
    ) -> None:
        self.state = state
        self.is_of_blocks: bool = is_of_blocks
        """True if only ``with`` blocks use it."""
        self._breaker = state.breaker
        self._table = table
        self.releases: Releases = Releases(state.breaker.name, table, open_settler, state.breaker.clock)
        """Makes messages visible."""
        self.mapping_pause: MappingPause | None = mapping_pause
        """Pauses the mappings while the circuit is open; None to leave them enabled."""
        self._loop = loop
        self._run_blocking = run_blocking
        self._send_tick = send_tick
        self._stored = Circuit()
        """The circuit as it was last read or written; ``state.circuit`` may be ahead of it."""
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._counts: Counter[str] = Counter()
        """The activity since it was taken last."""
        self._counted: Counter[str] = Counter()
        """The activity that was taken."""
        state.wakes = self._wake

    @property
    def is_idle(self) -> bool:
        """True if nothing has to be read, written, or made visible."""
        releases = self.state.circuit.is_closed and self._table.holds_alone
        return self.state.is_idle and not releases and (self._task is None or self._task.done())

    def take_activity(self) -> BreakerActivity | None:
        """Return what the breaker has done since the last call; None for nothing, while it is closed."""
        self._counts["calls_saved"] = self.state.calls_saved - self._counted["calls_saved"]
        self._counts["released"] = self.releases.count - self._counted["released"]
        counts, self._counts = +self._counts, Counter()
        self._counted.update(counts)
        is_open = self.state.is_open
        return BreakerActivity(self._breaker.name, is_open, **counts) if counts or is_open else None

    @property
    def age(self) -> float:
        """Seconds since the outage began."""
        return max(0.0, self._now() - self.state.circuit.since)

    @property
    def has_tick(self) -> bool:
        """True while a tick message probes."""
        return self._send_tick is not None and self._now() - self.state.circuit.tick_at < TICK_LOST_SECONDS

    @property
    def is_alone(self) -> bool:
        """True while this execution environment decides alone, because there is no table that can be used."""
        return self._table.is_alone

    def _now(self) -> float:
        return self._breaker.clock()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self.state.has_work and (self._task is None or self._task.done()):
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        async with self._lock:
            while self.state.has_work:
                work = self.state.take_work()
                try:
                    with self._safely():
                        await self._do(work)
                finally:
                    if work.reads:
                        self.state.has_read()

    @contextlib.contextmanager
    def _safely(self) -> Iterator[None]:
        """Log an error in the code of the breaker, and go on as without it."""
        try:
            yield
        except Exception:
            logger.exception("breaker %r failed; messages are processed as without it", self._breaker.name)
            self.state.forget()

    async def _do(self, work: Work) -> None:
        if work.opens:
            await self._open()
        elif work.failures:
            self._adopt(await self._table.count_failures(work.failures, self.state.circuit))
        if work.is_back is not None:
            await self._conclude(is_back=work.is_back)
        if work.reads:
            await self._read()

    def _adopt(self, circuit: Circuit) -> None:
        self._stored = circuit
        self.state.adopt(circuit)

    async def _change(self, decide: Callable[[Circuit], Circuit | None], attempts: int = _ATTEMPTS) -> bool:
        """Write what ``decide`` returns for the stored circuit, unless that is None; read again if it has changed."""
        circuit, has_changed = self._stored, False
        for attempt in range(attempts):
            if (after := decide(circuit)) is None:
                break
            if has_changed := await self._table.change(circuit, after):
                circuit = after._replace(version=circuit.version + 1)
                break
            if attempt < attempts - 1:
                circuit = await self._table.read(self.state.circuit)
        self._adopt(circuit)
        return has_changed

    # --- The life of an outage.

    async def _open(self) -> None:
        tick_at = await self._tick_sent()
        now, every = self._now(), self._breaker.probe_every
        if await self._change(
            lambda circuit: (
                opened(circuit, now, probe_every=every)._replace(tick_at=tick_at) if circuit.is_closed else None
            )
        ):
            self._counts["opened"] += 1
            await self._switch_mappings()

    async def _switch_mappings(self) -> None:
        """Pause the mappings of an open circuit, or enable those of a closed one; the next reader tries again."""
        if self.mapping_pause is None or (not self._stored.paused and self._stored.is_closed):
            return
        mappings = self.mapping_pause
        if self._stored.is_closed:
            if await mappings.apply(self._stored):
                await self._change(lambda circuit: circuit._replace(paused="") if circuit.is_closed else None)
        elif self._breaker.probe is not None and await self._change(mappings.wanted):  # before they are disabled
            await mappings.apply(self._stored)

    async def _tick_sent(self) -> float:
        """Send the tick message before the circuit is opened: a tick without an outage is harmless."""
        if self._send_tick is None:
            return 0.0
        try:
            await self._send_tick(self._breaker.name)
        except FanfoldError as error:
            logger.warning("breaker %r: the tick message could not be sent: %s", self._breaker.name, error)
            return 0.0
        return self._now()

    async def _read(self, *, claims: bool = True) -> None:
        known = self.state.circuit
        circuit = self._stored = await self._table.read(known)
        if not known.is_closed and circuit.is_closed and circuit.closed_at < known.opened_at:
            # It was opened while the table could not be used.
            await self._change(lambda stored: known if stored.closed_at < known.opened_at else None)
        else:
            self._adopt(circuit)
        now, owner = self._now(), self.state.owner
        await self._switch_mappings()
        if self._stored.is_closed:
            if may_release(self._stored, now, owner):
                await self._change(lambda circuit: released_by(circuit, now, owner), attempts=1)
            return
        if claims and may_probe(self._stored, now):
            is_mine = await self._change(lambda circuit: claimed(circuit, now, owner, LEASE_SECONDS), attempts=1)
            self._counts["half_opened"] += is_mine
            if is_mine and self._breaker.probe is not None:
                await self._conclude(is_back=await self._probe_succeeds())
        if self._send_tick is not None and now - self._stored.tick_at > TICK_LOST_SECONDS and self.state.is_open:
            tick_at = await self._tick_sent()
            await self._change(lambda circuit: circuit._replace(tick_at=tick_at), attempts=1)

    async def _probe_succeeds(self) -> bool:
        probe = self._breaker.probe
        assert probe is not None  # noqa: S101 - called only with one
        limit = asyncio.timeout(PROBE_SECONDS)
        try:
            async with limit:
                if inspect.iscoroutinefunction(probe):
                    await probe()
                elif inspect.isawaitable(result := await self._run_blocking(probe)):
                    await result
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the service is still down
            if limit.expired():
                logger.warning("breaker %r: its probe did not end within %.0f s", self._breaker.name, PROBE_SECONDS)
            else:
                logger.info("breaker %r: its probe failed: %r", self._breaker.name, error)
        else:
            return True
        return False

    async def _conclude(self, *, is_back: bool) -> None:
        now, owner, every = self._now(), self.state.owner, self._breaker.probe_every

        def decide(circuit: Circuit) -> Circuit | None:
            if circuit.is_closed or circuit.forced:
                return None
            if is_back:
                return closed(circuit, now, owner)
            return reopened(circuit, now, probe_every=every) if circuit.owner == owner else None

        if await self._change(decide) and is_back:
            self._counts["closed"] += 1
            self._adopt(await self._table.read(self.state.circuit))  # the pages that there are by now
            await self._switch_mappings()

    # --- At the end of a batch.

    async def finish(self, within_seconds: float | None) -> None:
        """End what has begun, within a time, and give back a probe that showed nothing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                while self._task is not None and not self._task.done():
                    await asyncio.wait({self._task})
                async with self._lock:
                    with self._safely():
                        if self.state.is_probing:
                            await self._change(self._given_back)

    async def release(self, within_seconds: float | None) -> None:
        """Make held messages visible, within a time, if the circuit is closed; another batch continues."""
        if self.state.is_open or not (self.state.circuit.has_held or self._table.holds_alone):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds), self._lock:
                with self._safely():
                    await self._release()

    def _given_back(self, circuit: Circuit) -> Circuit | None:
        return given_back(circuit) if circuit.owner == self.state.owner and not circuit.is_closed else None

    async def store(self, held: Sequence[Held]) -> int:
        """Store messages that are about to be held: the environment that closes the circuit makes them visible.

        Returns:
            The number of their last page; 0 if they could not be stored.
        """
        self._counts["held"] += len(held)
        expires_at, last_page = self._now() + self._breaker.outage_budget + _RETENTION, 0
        async with self._lock:
            with self._safely():
                for page in _pages(held):
                    self._adopt(await self._table.add_page(page, expires_at, self.state.circuit))
                last_page = self._stored.pages
        return last_page

    async def release_if_closed(self, held: Sequence[Held], last_page: int) -> None:
        """Make messages visible that have just been held, if the circuit was closed since they were stored.

        Args:
            held: The messages.
            last_page: The number of their last page, as ``store`` returned it.
        """
        async with self._lock:
            with self._safely():
                self._adopt(await self._table.read(self.state.circuit))
                if not self._stored.is_closed:
                    return
                first = last_page - len([*_pages(held)])
                if (self._stored.released, self._stored.pages) == (first, last_page):  # the closer has finished
                    while self._stored.has_held and await self._release_pages():
                        pass
                else:  # the closer is at it, or has released them before they were held
                    await self.releases.messages(held)

    async def _release(self) -> None:
        """Make the messages of all pages visible, as long as this execution environment has the right to.

        Pages with messages that a later attempt may make visible stay for another batch.
        """
        if self._stored.is_closed and not (await self.releases.messages(await self._table.held_alone())).are_left:
            await self._table.forget_alone()
        while may_release(self._stored, self._now(), self.state.owner) and await self._release_pages():
            pass

    async def _release_pages(self) -> bool:
        """Make the messages of the next pages visible; return False if some of them are left for a later attempt."""
        last = min(self._stored.released + PAGES, self._stored.pages)
        if not await self.releases.pages(self._stored.released + 1, last, self._stored):
            return False
        self._adopt(self._stored._replace(released=last))
        return True

    # --- The tick.

    async def tick(self, ticker: str) -> float | None:
        """Handle a tick message: probe if it is time, and make messages visible.

        Args:
            ticker: Id of the message; empty for the rule that watches breakers.

        Returns:
            Seconds until the next tick; None if this message is not needed any more.
        """
        async with self._lock:
            await self._read(claims=self._breaker.probe is not None)
            if self._stored.is_closed:
                await self._release()
                return _RELEASE_SECONDS if self._stored.has_held or self._stored.paused else None
            now = self._now()
            interval = probe_interval(now - self._stored.since, self._breaker.probe_every)
            if ticker and self._stored.ticker not in {"", ticker} and now - self._stored.tick_at < interval / 2:
                return None  # another tick message does the same
            is_due = self._stored.state == OPEN and may_probe(self._stored, now)
            if is_due:
                fewest = 1 if self._breaker.last == "copy" else _FEWEST_RECEIVES
                probes = await self.releases.one_probe(self._stored, fewest)
                interval = max(interval, tick_seconds(probes, self._breaker.outage_budget, now - self._stored.since))
            if ticker:
                await self._change(lambda circuit: circuit._replace(tick_at=now, ticker=ticker), attempts=1)
            due = self._stored.probe_due if self._stored.state == OPEN else self._stored.lease_until
            return interval if is_due else max(_LEAST_TICK_SECONDS, due - now)


def _pages(held: Sequence[Held]) -> Iterable[Sequence[Held]]:
    return (held[first : first + PAGE_HANDLES] for first in range(0, len(held), PAGE_HANDLES))
