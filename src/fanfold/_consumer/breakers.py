"""The breakers of a consumer in one execution environment."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from fanfold._base.dead_letter import configured_max_receives
from fanfold._base.log import logger
from fanfold._base.record import Record
from fanfold._breakers.breaker import QUEUE_VARIABLE, Breaker
from fanfold._breakers.breaker_limit import BreakerLimit
from fanfold._breakers.breaker_state import BreakerState
from fanfold._breakers.keeper import Keeper
from fanfold._breakers.shared_table import OpenedTable, SharedTable
from fanfold._consumer.admission import AdaptiveLimit, Admission, Policy

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._consumer.resources import Resources

TICK: Final = "breaker-tick"


class Breakers:
    """The breakers of a consumer in one execution environment.

    Args:
        breakers: Their settings.
        environment: The event loop, the threads, the settler, and what opens tables.
        clock: Returns the time of the deadlines.
    """

    def __init__(self, breakers: Sequence[Breaker], environment: Resources, clock: Callable[[], float]) -> None:
        self.keepers: Sequence[Keeper] = [_keeper(breaker, environment, clock) for breaker in breakers]
        """What reads and writes the state of each."""
        self.wait_in_invocation: bool = all(breaker.waits for breaker in breakers)
        """False in a simulation whose time stands still during an invocation."""
        self._breakers = breakers
        self._limits: list[BreakerLimit] = []

    @property
    def max_receives(self) -> int | None:
        """The receives after which a message is moved to the dead-letter queue; None if it is not known."""
        simulated = next((breaker.max_receives for breaker in self._breakers if breaker.max_receives), None)
        return simulated or configured_max_receives()

    @property
    def are_idle(self) -> bool:
        """True if nothing has to be read, written, or made visible."""
        return all(keeper.is_idle for keeper in self.keepers)

    @property
    def holding(self) -> Keeper | None:
        """The breaker that lets no record start; None if none does."""
        states = [limit.holding for limit in self._limits]
        return next((keeper for keeper in self.keepers if keeper.state in states), None)

    def keeper_of(self, error: BaseException) -> Keeper | None:
        """Return the breaker for which an error counts; None if there is none."""
        return next((keeper for keeper in self.keepers if keeper.state.breaker.counts(error)), None)

    def admission(self, policies: Sequence[Policy], inner: AdaptiveLimit | None, concurrency: int | None) -> Admission:
        """Return the limits of batches, with the breakers as the first one."""
        limit = BreakerLimit([keeper.state for keeper in self.keepers], inner, concurrency or sys.maxsize)
        admission = Admission(policies, adaptive=limit)
        self._limits.append(limit)

        def notify() -> None:
            limit.adjust()
            if admission.limit_changed():
                admission.slots.fill()

        for keeper in self.keepers:
            keeper.state.listeners.append(notify)
        return admission

    def log_not_stored(self) -> None:
        """Log that messages were hidden, or should have been, without a record in the table."""
        names = ", ".join(repr(breaker.name) for breaker in self._breakers)
        logger.warning(
            "breaker %s: not all hidden messages could be stored in time; they become visible at the end of their "
            "visibility timeout",
            names,
        )

    def is_tick(self, records: Sequence[Record]) -> bool:
        """Return whether a batch comes from the queue of tick messages."""
        url = os.environ.get(QUEUE_VARIABLE, "")
        return bool(url and records) and url.rsplit("/", 2)[1:] == records[0].queue_arn.split(":")[4:6]

    async def tick(self, record: Record) -> float | None:
        """Handle a tick message; return the seconds until the next one, None if no more is needed."""
        name = _breaker_of_tick(record.body)
        keeper = next((keeper for keeper in self.keepers if keeper.state.breaker.name == name), None)
        if keeper is None:
            logger.warning("a tick message names no breaker of this consumer, and is deleted: %s", record.body)
            return None
        return await keeper.tick()


def _keeper(breaker: Breaker, environment: Resources, clock: Callable[[], float]) -> Keeper:
    return Keeper(
        BreakerState(breaker, clock),
        SharedTable(breaker.name, _opened_table(breaker, environment), breaker.clock),
        environment.settler,
        environment.loop,
        environment.threads.run,
        _send_tick(environment),
    )


def _opened_table(breaker: Breaker, environment: Resources) -> OpenedTable | None:
    if breaker.open_table is not None:
        return environment.open_once(breaker.open_table, None)
    if table := breaker.table:
        return environment.open_table(table)
    return None


def _send_tick(environment: Resources) -> Callable[[str], Awaitable[object]] | None:
    url = os.environ.get(QUEUE_VARIABLE, "")
    if not url:
        return None
    open_queue = environment.open_queue(url)

    async def send(name: str) -> None:
        from fanfold._ports.queue import Message

        await (await open_queue()).send([Message(json.dumps({"fanfold": TICK, "breaker": name}))])

    return send


def _breaker_of_tick(body: str) -> object:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document.get("breaker") if isinstance(document, dict) and document.get("fanfold") == TICK else None
