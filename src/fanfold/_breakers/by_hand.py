"""How a person opens a breaker, closes it, and makes its held messages visible. Each step can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from fanfold._base import aws_limits
from fanfold._base.concurrency import for_each
from fanfold._base.retry import Sleep
from fanfold._breakers import releases
from fanfold._breakers.transitions import closed, given_back, opened, released_by
from fanfold._ports.breakers import UNREADABLE, BreakerTable, Circuit, Held
from fanfold.errors import FanfoldError, ServiceError

if TYPE_CHECKING:
    from fanfold._ports.queue import Settler

_ATTEMPTS: Final = 5
"""Attempts of a change; functions may change the circuit at the same time."""
_PROBE_EVERY: Final = 30.0
"""Interval of probes that a circuit starts with: no probe runs while it is open by hand."""
_CALLS: Final = 10
"""Concurrent calls that make messages visible."""


@dataclass(slots=True)
class Released:
    """The result of making messages visible so far."""

    visible: int = 0
    """Messages that were made visible."""
    gone: int = 0
    """Messages whose handles are not valid any more: they were received again or deleted, or are visible anyway."""
    pages: int = 0
    """Pages whose messages are all visible or gone."""
    unreadable: int = 0
    """Pages that could not be read; their messages become visible when their visibility timeouts end."""

    def count(self, visible: int) -> None:
        """Add messages that were made visible."""
        self.visible += visible


async def open_by_hand(table: BreakerTable, name: str, now: float) -> Circuit:
    """Open a circuit, so that no probe closes it; return it.

    Raises:
        FanfoldError: If the table cannot be used, or the circuit keeps changing.
    """

    def decide(circuit: Circuit) -> Circuit | None:
        if circuit.is_closed:  # a new outage, even if the last one has just ended
            return opened(circuit._replace(closed_at=0.0), now, probe_every=_PROBE_EVERY, forced=True)
        return None if circuit.forced else given_back(circuit)._replace(forced=True)

    return await _change(table, name, decide)


async def close_by_hand(table: BreakerTable, name: str, now: float, owner: str) -> Circuit:
    """Close a circuit; return it. Only ``owner`` makes its held messages visible from now on.

    Raises:
        FanfoldError: If the table cannot be used, or the circuit keeps changing.
    """

    def decide(circuit: Circuit) -> Circuit | None:
        if not circuit.is_closed:
            return closed(circuit, now, owner)
        return released_by(circuit, now, owner) if circuit.has_held else None

    return await _change(table, name, decide)


async def make_visible(
    table: BreakerTable,
    name: str,
    settler: Settler,
    *,
    now: Callable[[], float],
    owner: str,
    released: Released,
    progress: Callable[[], object] = bool,
    sleep: Sleep = anyio.sleep,
) -> Circuit:
    """Make the held messages of a closed circuit visible; return the circuit as it is after that.

    Args:
        table: The table.
        name: Name of the breaker.
        settler: Makes the messages visible.
        now: Returns the time.
        owner: The owner that the circuit was closed with.
        released: The result, which is updated with each call of the settler.
        progress: Called after each update of the result.
        sleep: Waits for some seconds.

    Raises:
        FanfoldError: If a service fails; what was not made visible stays in its page.
    """
    (circuit,) = await table.read([name])
    while circuit.is_closed and circuit.has_held:
        number = circuit.released + 1
        page = await _page(table, name, number, released)
        # The others are visible again, and may have been received: SQS may still accept their handles.
        waiting = sorted((one for one in page if one.until > now()), key=lambda message: message.queue)
        released.gone += len(page) - len(waiting)

        async def release(messages: Sequence[Held]) -> None:
            visible = await releases.make_visible(settler, messages, sleep, released.count)
            released.gone += len(messages) - visible
            progress()

        size = aws_limits.SQS_BATCH_ENTRIES
        calls = [waiting[first : first + size] for first in range(0, len(waiting), size)]
        await for_each(release, calls, concurrency=_CALLS)
        await table.released(name, number)
        released.pages += 1
        progress()
        await table.change(name, circuit, released_by(circuit, now(), owner))  # if not, another one continues, too
        (circuit,) = await table.read([name])
    return circuit


async def _change(table: BreakerTable, name: str, decide: Callable[[Circuit], Circuit | None]) -> Circuit:
    for _ in range(_ATTEMPTS):
        (circuit,) = await table.read([name])
        after = decide(circuit)
        if after is None:
            return circuit
        if await table.change(name, circuit, after):
            return after._replace(version=circuit.version + 1)
    raise FanfoldError(f"breaker {name!r} was not changed: functions kept changing it; run the command again")


async def _page(table: BreakerTable, name: str, number: int, released: Released) -> Sequence[Held]:
    try:
        return await table.page(name, number)
    except ServiceError as error:
        if error.code != UNREADABLE:
            raise
        released.unreadable += 1
        return ()
